from celery import shared_task

from apps.audit import services


@shared_task
def sequence() -> None:
    while services.sequence() == 2000:
        pass
