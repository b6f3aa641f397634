"""The Celery application. Messages only wake workers up; the database holds the work."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")

app = Celery("govtrack")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["govtrack"], related_name="pipeline")
