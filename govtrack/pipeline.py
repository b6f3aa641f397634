"""How a silent change becomes a ticket: read `STEPS` from top to bottom.

What ends leaves an outbox row in its own transaction (apps.core.models.Outbox). `drain` takes such
rows with SKIP LOCKED and makes the next call. Every call is idempotent: a row whose worker died
between the call and the mark is simply done again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import structlog
from celery import shared_task
from django.db import transaction

from apps.core import clock, heartbeat
from apps.core.models import Outbox
from apps.drift.models import ChangeEvent, Comparison
from apps.drift.services import attach_baselines, compare_run, open_or_extend_change_event
from apps.evaluations.models import Run
from apps.registry.models import Approval
from apps.tickets.controls import apply_policy
from apps.tickets.models import Ticket
from apps.tickets.services import open_or_update_ticket
from apps.vendors.services import classify

log = structlog.get_logger(__name__)


def _approval_requested(payload: dict[str, Any]) -> None:
    attach_baselines(approval=Approval.objects.get(pk=payload["approval_id"]))


def _run_finished(payload: dict[str, Any]) -> None:
    compare_run(run=Run.objects.get(pk=payload["run_id"]))


def _comparison_made(payload: dict[str, Any]) -> None:
    open_or_extend_change_event(
        comparison=Comparison.objects.select_related("baseline").get(pk=payload["comparison_id"])
    )


def _change_seen(payload: dict[str, Any]) -> None:
    event = ChangeEvent.objects.get(pk=payload["change_event_id"])
    open_or_update_ticket(change_event=classify(change_event=event))


def _ticket_seen(payload: dict[str, Any]) -> None:
    apply_policy(ticket=Ticket.objects.get(pk=payload["ticket_id"]))


STEPS: dict[str, Callable[[dict[str, Any]], None]] = {
    "approval.requested": _approval_requested,  # an approval rests on the baselines of its day
    "run.finished": _run_finished,  # is it still the same model?
    "comparison.made": _comparison_made,  # a change begins, or goes on
    "change.opened": _change_seen,  # announced? who must decide, by when?
    "change.extended": _change_seen,
    "ticket.opened": _ticket_seen,  # hold the gate, ask for fresh sign-ins
    "ticket.raised": _ticket_seen,
}
MAX_BACKOFF_SECONDS = 300


def drain_once(*, limit: int = 100) -> int:
    """Make the calls that are due. Returns how many rows were taken (done or put off)."""
    taken = 0
    while taken < limit:
        with transaction.atomic():
            row = (
                Outbox.objects.select_for_update(skip_locked=True)
                .filter(done_at__isnull=True, available_at__lte=clock.now())
                .order_by("id")
                .first()
            )
            if row is None:
                return taken
            taken += 1
            try:
                with transaction.atomic():
                    STEPS[row.topic](row.payload)
            except Exception as error:
                # One poisoned row must not stop the others; it is retried later, and seen.
                row.attempts += 1
                row.last_error = f"{type(error).__name__}: {error}"[:2000]
                wait = min(2**row.attempts, MAX_BACKOFF_SECONDS)
                row.available_at = clock.now() + dt.timedelta(seconds=wait)
                row.save(update_fields=["attempts", "last_error", "available_at"])
                log.exception("pipeline_step_failed", topic=row.topic, key=row.key)
            else:
                row.done_at = clock.now()
                row.save(update_fields=["done_at"])
    return taken


@shared_task
def drain() -> None:
    heartbeat.beat()
    drain_once()
