from django.apps import AppConfig


class EvaluationsConfig(AppConfig):
    name = "apps.evaluations"
    label = "evaluations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.evaluations.selectors import metric_keys
        from apps.registry import suite_metrics

        suite_metrics.tell(metric_keys)
