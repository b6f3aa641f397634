"""Wake workers up. The queue holds no work: a message that is lost costs a delay."""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import transaction

log = structlog.get_logger(__name__)
WORK = "apps.evaluations.tasks.work"
# A message that nobody took by then is not needed: the tick sends new ones.
EXPIRES_SECONDS = 15.0


def workers(count: int = 1) -> None:
    """Send `count` wake-up calls now. Never raises: the tick sends more within seconds."""
    try:
        for _ in range(count):
            current_app.send_task(WORK, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except Exception as error:  # the broker is down: nothing is lost but time
        log.warning("wake_up_not_sent", error=type(error).__name__)


def workers_after_commit() -> None:
    transaction.on_commit(workers)
