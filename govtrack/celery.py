"""The Celery application. Messages only wake workers up; the database holds the work."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
# Django's checks import every page: `migrate` and the web process have run them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("govtrack")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# A runner only makes calls: what follows a run brings statistics along, 50 MB a process.
if os.environ.get("GOVTRACK_PROCESS") != "govtrack-runner":
    app.autodiscover_tasks(["govtrack"], related_name="pipeline")
app.autodiscover_tasks(["apps.drift"], related_name="probing_tasks")
