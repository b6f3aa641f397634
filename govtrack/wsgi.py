import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
application = get_wsgi_application()

import govtrack.celery  # noqa: E402, F401  (tasks go to our broker, not to the default one)
