from django.apps import AppConfig


class DriftConfig(AppConfig):
    name = "apps.drift"
    label = "drift"
    default_auto_field = "django.db.models.BigAutoField"
