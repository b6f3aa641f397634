"""House-keeping at the door."""

from __future__ import annotations

from importlib import import_module

from celery import shared_task
from django.conf import settings

from apps.access import sessions


@shared_task
def end_overdue() -> int:
    """Sessions past their limits, and the rows that Django keeps for expired cookies."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    return sessions.end_overdue()
