"""The verbs of runs: start, steer, retry, extend. Those of suites are in `suites.py`, those of
schedules in `planning.py`, of prices and budgets in `prices.py` and `budgets.py`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import budgets, creating, finishing, lifecycle, retrying, wake
from apps.evaluations.creating import MAX_REPLICATES as MAX_REPLICATES
from apps.evaluations.models import Run, RunState, SuiteRevision
from apps.evaluations.partitions import ensure_month
from apps.evaluations.planning import create_schedule as create_schedule
from apps.evaluations.planning import create_scheduled_run as create_scheduled_run
from apps.evaluations.planning import start_top_up as start_top_up
from apps.evaluations.planning import start_urgent_runs as start_urgent_runs
from apps.evaluations.planning import trigger_schedule as trigger_schedule
from apps.evaluations.planning import update_schedule as update_schedule
from apps.evaluations.suites import import_suite as import_suite
from apps.registry.models import ModelVersion


def _require(actor: Any, action: str, obj: Any) -> None:
    if actor is not SYSTEM:
        require(actor, action, obj)


def start_run(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    purpose: str = "manual",
    replicates: int = 1,
    urgency: int = Run.Urgency.NORMAL,
    reason: str = "",
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
) -> Run:
    """Queue a run, cut into shards, and wake workers up. `max_tokens` and `max_cost` are the run's
    own budget: reaching it ends the run as partial.

    Raises NotAllowed, InvalidInput (purpose, replicates, urgency, limits) and Conflict (endpoint
    switched off, suite archived, budget used up).
    """
    _require(actor, "run.start", model_version)
    if purpose not in (Run.Purpose.BASELINE, Run.Purpose.MANUAL):
        raise InvalidInput(
            f"There is no run for the purpose '{str(purpose)[:40]}'.",
            field="purpose",
            remedy="Use 'baseline' or 'manual'.",
        )
    if urgency not in Run.Urgency.values:
        raise InvalidInput(
            "There is no such urgency.", field="urgency", remedy="Use 0 (low), 1 or 2 (urgent)."
        )
    ensure_month(clock.month_of(clock.now()))
    with transaction.atomic():
        run = creating.create_run(
            actor=actor,
            model_version=model_version,
            suite_revision=suite_revision,
            purpose=purpose,
            replicates=replicates,
            urgency=urgency,
            reason=reason.strip()[:2000],
            max_tokens=max_tokens,
            max_cost=max_cost,
            currency=currency,
        )
        limits = {"max_tokens": max_tokens, "max_cost": max_cost and f"{max_cost} {currency}"}
        record(
            "evaluations.run_requested",
            actor=actor,
            obj=run,
            object_name=finishing.name_of(run),
            summary=f"Asked for a {run.purpose} run: "
            f"{finishing.name_of(run)}, {run.total_slots} answers.",
            changes={
                "model_version": model_version,
                "suite_revision": suite_revision,
                "replicates": replicates,
                "slots": run.total_slots,
                **{name: value for name, value in limits.items() if value is not None},
            },
        )
    return run


def pause_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """No new call is made within seconds; calls under way are kept. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "pause", "Paused", reason)


def resume_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """Go on where it was paused. Raises NotAllowed, and Conflict where a budget is used up."""
    return _steer(actor, run, "resume", "Resumed", reason)


def cancel_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """Stop for good, within seconds; what was answered is kept. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "cancel", "Cancelled", reason)


def _steer(actor: Actor, run: Run, name: str, summary: str, reason: str) -> Run:
    _require(actor, "run.control", run)
    with transaction.atomic():
        locked = Run.objects.select_for_update().get(pk=run.pk)
        lifecycle.check(locked, name)
        if name == "resume":
            _check_budget(locked)
        finishing.move(locked, name, actor=actor, summary=summary, reason=reason.strip()[:2000])
        if locked.state == RunState.QUEUED:
            _requeue(locked)
    return locked


def _requeue(run: Run) -> None:
    # A raised fence keeps out whoever still holds a lease from before.
    run.shards.filter(done=False).update(
        lease_owner="",
        lease_until=None,
        fence=F("fence") + 1,
        attempts=0,
        not_before=Now(),
    )
    wake.workers_after_commit()


def _check_budget(run: Run) -> None:
    if said := budgets.reached(run):
        raise Conflict(
            f"{said} The run would stop at once.",
            field="budget",
            remedy="Raise the budget first, or start a run with a larger one of its own.",
            code="budget_used_up",
        )


def retry_failed(*, actor: Actor, run: Run, error_kinds: Sequence[str] | None = None) -> Run:
    """Go on with a run that failed or ended at a budget, and ask once more where a slot of a
    finished run came to an error; of `error_kinds`, only where it came to one of these classes.

    Nothing stored is overwritten: a slot that came to an error keeps it, and its case gets another
    slot. Slots that have an answer keep it. Raises NotAllowed, InvalidInput (error_kinds), and
    Conflict where nothing (of a class) is wanting, a budget is used up, or a baseline or
    comparison rests on the answers.
    """
    _require(actor, "run.control", run)
    with transaction.atomic():
        locked = Run.objects.select_for_update().get(pk=run.pk)
        lifecycle.check(locked, "retry")
        _check_budget(locked)
        slots = retrying.open_slots(locked)
        if locked.state == RunState.COMPLETE and not slots and error_kinds is None:
            raise Conflict(
                "No slot of this run came to an error: there is nothing to retry.", field="state"
            )
        asked = slots if error_kinds is None else retrying.of_kinds(locked, slots, error_kinds)
        counts = retrying.by_kind(asked)
        if asked:
            _check_unsealed(locked)
            first = creating.next_replicate(locked)
            for kind in counts:
                of_kind = [slot for slot in asked if slot.kind == kind]
                for count, positions in retrying.stretches(of_kind).items():
                    creating.add_shards(
                        locked, positions, replicates=count, first_replicate=first, error_kind=kind
                    )
                first += max(slot.count for slot in of_kind)
            locked.total_slots += sum(counts.values())
            locked.save_versioned("total_slots")
        said = f"{sum(counts.values()):,} slots are asked once more" if asked else ""
        if error_kinds is not None:
            left = sum(slot.count for slot in slots) - sum(counts.values())
            said += f" ({', '.join(counts)}); left as they are: {left:,} of other classes"
        said = f"{said}." if said else ""
        finishing.move(locked, "retry", actor=actor, summary="Retried", reason=said)
        _requeue(locked)
    return locked


def extend_run(*, actor: Actor, run: Run, replicates: int) -> Run:
    """`replicates` more answers to every case: new slots of the same run, next to those it has.

    Raises NotAllowed, InvalidInput (replicates), and Conflict where the run ended otherwise than
    complete, a budget is used up, or a baseline or comparison rests on its answers.
    """
    _require(actor, "run.control", run)
    creating.check_replicates(replicates)
    with transaction.atomic():
        locked = Run.objects.select_for_update().get(pk=run.pk)
        lifecycle.check(locked, "extend")
        _check_unsealed(locked)
        _check_budget(locked)
        creating.check_replicates(locked.replicates + replicates)
        cases = locked.suite_revision.case_count
        creating.check_slots(locked.total_slots + cases * replicates)
        creating.add_shards(
            locked,
            [(0, cases - 1)],
            replicates=replicates,
            first_replicate=creating.next_replicate(locked),
        )
        before = locked.replicates
        locked.replicates += replicates
        locked.total_slots += cases * replicates
        locked.save_versioned("replicates", "total_slots")
        record(
            "evaluations.run_extended",
            actor=actor,
            obj=locked,
            object_name=finishing.name_of(locked),
            summary=f"Extended {finishing.name_of(locked)} to {locked.replicates} answers a case.",
            changes={"replicates": [before, locked.replicates], "slots": locked.total_slots},
        )
        if locked.state == RunState.COMPLETE:
            finishing.move(locked, "extend", actor=actor, summary="Went on with")
        wake.workers_after_commit()
    return locked


def change_budget(
    *,
    actor: Actor,
    run: Run,
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
) -> Run:
    """Set the run's own budget anew (None: no limit of that kind). A run that it has ended goes on
    by `retry_failed`. Raises NotAllowed, InvalidInput (limits), and Conflict for an ended run."""
    _require(actor, "run.start", run.model_version)
    budgets.check_limits(max_tokens=max_tokens, max_cost=max_cost, currency=currency)
    with transaction.atomic():
        locked = Run.objects.select_for_update().get(pk=run.pk)
        if locked.state not in lifecycle.OPEN | {RunState.PARTIAL}:
            raise Conflict(
                f"This run is {locked.get_state_display().lower()}: its budget counts no more.",
                field="state",
            )
        if max_cost is not None:
            budgets.check_open(locked.model_version, max_cost=max_cost, currency=currency)
        before = [locked.max_tokens, locked.max_cost and str(locked.max_cost)]
        locked.max_tokens, locked.max_cost, locked.currency = max_tokens, max_cost, currency
        locked.save_versioned("max_tokens", "max_cost", "currency")
        record(
            "evaluations.run_budget_changed",
            actor=actor,
            obj=locked,
            object_name=finishing.name_of(locked),
            summary=f"Changed the budget of {finishing.name_of(locked)}.",
            changes={"budget": [before, [max_tokens, max_cost and f"{max_cost} {currency}"]]},
        )
    return locked


def _check_unsealed(run: Run) -> None:
    if run.sealed:
        raise Conflict(
            f"No answer can be added to this run: {run.sealed}",
            field="state",
            remedy="Start another run: its answers are compared, and pooled, as well.",
        )


def seal_run(*, run: Run, because: str) -> bool:
    """Something is computed from the run's answers now: none is added from here on. False where
    the run is not complete (any more). Idempotent; called by `drift` before it reads answers."""
    rows = Run.objects.filter(pk=run.pk, state=RunState.COMPLETE)
    rows.filter(sealed="").update(sealed=because[:200])
    return rows.exists()


def run_by_id(pk: UUID) -> Run:
    """With all that the run's record shows."""
    return Run.objects.select_related(
        "model_version__model__provider",
        "model_version__endpoint__provider",
        "suite_revision__suite",
        "requested_by",
        "schedule",
    ).get(pk=pk)
