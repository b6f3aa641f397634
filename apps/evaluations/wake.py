"""Wake workers up. The queue holds no work: a message that is lost costs a delay."""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import transaction

log = structlog.get_logger(__name__)
WORK = "apps.evaluations.tasks.work"
SCORE = "apps.evaluations.tasks.score"
# A message that nobody took by then is not needed: the tick sends new ones. Receivers compare this
# with their own clock, so it is longer than a clock may be wrong.
EXPIRES_SECONDS = 4200.0
# More are woken by those that are awake, and by the tick.
MAX_WAKE_UPS = 4


def workers(count: int = 1) -> None:
    """Send `count` wake-up calls now. Never raises: the tick sends more within seconds."""
    try:
        for _ in range(count):
            current_app.send_task(WORK, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except Exception as error:  # the broker is down: nothing is lost but time
        log.warning("wake_up_not_sent", error=type(error).__name__)


def scorers() -> None:
    """Wake one worker up to score what is stored. Never raises, as above."""
    try:
        current_app.send_task(SCORE, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except Exception as error:
        log.warning("wake_up_not_sent", error=type(error).__name__)


def workers_after_commit(count: int = 1) -> None:
    """Wake as many as the work is for: each message wakes one."""
    transaction.on_commit(lambda: workers(min(count, MAX_WAKE_UPS)))
