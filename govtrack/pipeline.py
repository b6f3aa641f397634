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
from django.db.models.functions import Now

from apps.core import clock, heartbeat
from apps.core.models import Outbox
from apps.drift import control_arms
from apps.drift.models import ChangeEvent, Comparison, IdentityFinding, ProbeRound
from apps.drift.probes_events import answer_alarm, answer_finding, complete
from apps.drift.services import attach_baselines, compare_run, open_or_extend_change_event
from apps.drift.topups import top_up
from apps.evaluations.confounding import flag_judged_by
from apps.evaluations.models import Run, Scoring
from apps.registry.models import Approval
from apps.tickets.controls import apply_policy
from apps.tickets.models import Ticket
from apps.tickets.policy import top_up_rule
from apps.tickets.services import open_or_update_ticket
from apps.vendors.services import classify

log = structlog.get_logger(__name__)


def _approval_requested(payload: dict[str, Any]) -> None:
    attach_baselines(approval=Approval.objects.get(pk=payload["approval_id"]))


def _run_finished(payload: dict[str, Any]) -> None:
    compare_run(run=Run.objects.get(pk=payload["run_id"]))


def _comparison_made(payload: dict[str, Any]) -> None:
    comparison = Comparison.objects.select_related("baseline").get(pk=payload["comparison_id"])
    open_or_extend_change_event(comparison=comparison)
    complete(comparison=comparison)
    control_arms.judge(comparison=comparison)


def _comparison_inconclusive(payload: dict[str, Any]) -> None:
    comparison = Comparison.objects.select_related("run", "baseline__model_version").get(
        pk=payload["comparison_id"]
    )
    rule = top_up_rule(comparison.baseline.model_version)
    if rule is not None:
        top_up(comparison=comparison, rule=rule)


def _probe_alarmed(payload: dict[str, Any]) -> None:
    answer_alarm(
        round=ProbeRound.objects.select_related("probe__model_version").get(pk=payload["round_id"])
    )


def _identity_changed(payload: dict[str, Any]) -> None:
    answer_finding(
        finding=IdentityFinding.objects.select_related("model_version").get(
            pk=payload["finding_id"]
        )
    )


def _scoring_done(payload: dict[str, Any]) -> None:
    scoring = Scoring.objects.get(pk=payload["scoring_id"])
    for event in ChangeEvent.objects.filter(model_version=scoring.by_version, state="open"):
        _flag_what_it_judged(event)


def _flag_what_it_judged(event: ChangeEvent) -> None:
    flag_judged_by(
        model_version=event.model_version,
        since=event.window_start,
        reason=f"The judge itself began to behave differently: {event}.",
    )


def _change_seen(payload: dict[str, Any]) -> None:
    event = ChangeEvent.objects.get(pk=payload["change_event_id"])
    control_arms.ask(change_event=event)
    _flag_what_it_judged(event)
    open_or_update_ticket(change_event=classify(change_event=event))


def _ticket_seen(payload: dict[str, Any]) -> None:
    apply_policy(ticket=Ticket.objects.get(pk=payload["ticket_id"]))


STEPS: dict[str, Callable[[dict[str, Any]], None]] = {
    "approval.requested": _approval_requested,  # an approval rests on the baselines of its day
    "run.finished": _run_finished,  # is it still the same model?
    "scoring.done": _scoring_done,  # is the judge itself under suspicion?
    "comparison.made": _comparison_made,  # a change begins, or goes on
    "comparison.inconclusive": _comparison_inconclusive,  # a few more answers, where they settle it
    "probe.alarmed": _probe_alarmed,  # a cheap layer saw it first: suites at once, and an event
    "identity.changed": _identity_changed,  # it says that it is another: suites at once
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
                .filter(done_at__isnull=True, available_at__lte=Now())
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
                row.available_at = Now() + dt.timedelta(seconds=wait)  # type: ignore[assignment]
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
