from celery import shared_task

from apps.registry import services


@shared_task
def expire_approvals() -> None:
    services.expire_due()
