"""How a run begins and ends: each move in one transaction with totals, audit entry and outbox."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef

from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.models import Outbox
from apps.evaluations import lifecycle, totals
from apps.evaluations.models import Run, RunState, Sample, Shard

log = structlog.get_logger(__name__)


def begin(run_ids: Iterable[UUID]) -> None:
    """Queued runs of which a shard was claimed are running now. Idempotent."""
    for run_id in Run.objects.filter(pk__in=set(run_ids), state=RunState.QUEUED).values_list(
        "pk", flat=True
    ):
        with transaction.atomic():
            run = Run.objects.select_for_update().get(pk=run_id)
            if run.state != RunState.QUEUED:
                continue
            move(run, "begin", actor=SYSTEM, summary="Began to run")


def complete_if_done(run_id: UUID) -> Run | None:
    """Complete the run when its last shard is done. Idempotent; None where nothing was to do."""
    # Two looks, so that each is answered from its own small index.
    undone = Shard.objects.filter(run=run_id, done=False)
    if undone.filter(lease_owner="").exists() or undone.exclude(lease_owner="").exists():
        return None
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if RunState(run.state) not in lifecycle.MOVES["complete"].sources:
            return None
        if Shard.objects.filter(run=run, done=False).exists():
            return None
        return move(run, "complete", actor=SYSTEM, summary="Completed")


def complete_done() -> int:
    """Complete every run whose shards are all done: what a worker that died left undone."""
    undone = Shard.objects.filter(run=OuterRef("pk"), done=False)
    ids = Run.objects.filter(~Exists(undone), state__in=lifecycle.CLAIMABLE).values_list(
        "pk", flat=True
    )
    return sum(complete_if_done(run_id) is not None for run_id in list(ids))


def fail(run_id: UUID, *, reason: str) -> Run | None:
    """Stop the run with a reason that says what to do. What was answered is kept."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if RunState(run.state) not in lifecycle.MOVES["fail"].sources:
            return None
        return move(run, "fail", actor=SYSTEM, summary="Failed", reason=reason)


def stop_for_budget(run_id: UUID, *, reason: str) -> Run | None:
    """No new call is made; what is under way is stored, and then the run ends as partial.
    Idempotent; None where the run is not on its way (any more)."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if RunState(run.state) not in lifecycle.MOVES["pause"].sources:
            return None
        move(run, "pause", actor=SYSTEM, summary="Reached a budget", reason=reason)
        run.budget_stop = True
        run.save_versioned("budget_stop")
    return run


def end_stopped() -> int:
    """End the runs that a budget stopped, once no call of theirs is under way."""
    leased = Shard.objects.filter(run=OuterRef("pk"), done=False).exclude(lease_owner="")
    ids = Run.objects.filter(~Exists(leased), state=RunState.PAUSED, budget_stop=True)
    return sum(_end_stopped(run_id) for run_id in list(ids.values_list("pk", flat=True)))


def _end_stopped(run_id: UUID) -> bool:
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        open_shards = Shard.objects.filter(run=run, done=False)
        if run.state != RunState.PAUSED or not run.budget_stop:
            return False
        if open_shards.exclude(lease_owner="").exists():
            return False
        done = Sample.objects.filter(month=run.month, run=run).count()
        if done >= run.total_slots:  # the limit was reached by the very last answer
            open_shards.update(done=True)
            move(run, "complete", actor=SYSTEM, summary="Completed")
            return True
        move(
            run,
            "spend",
            actor=SYSTEM,
            summary="Ended as partial",
            reason=f"{run.state_reason} {done:,} of {run.total_slots:,} slots were asked; what was "
            "answered is kept. A partial run proves nothing: it is not compared and cannot be a "
            "baseline. Raise the budget, then Retry failed.",
        )
    return True


def move(run: Run, name: str, *, actor: Actor, summary: str, reason: str = "") -> Run:
    """Make a move that `lifecycle` allows, on a run that the caller has locked.

    Raises Conflict when the run is not in a state for it.
    """
    step = lifecycle.check(run, name)
    before = run.state
    now = clock.now()
    run.state = step.target
    run.state_reason = reason
    fields = ["state", "state_reason"]
    if run.budget_stop and step.target != RunState.PARTIAL:
        run.budget_stop = False
        fields.append("budget_stop")
    if step.target == RunState.RUNNING and run.started_at is None:
        run.started_at = now
        fields.append("started_at")
    if step.target in lifecycle.FINISHED:
        run.finished_at = now
        run.totals = totals.of_run(run)
        fields += ["finished_at", "totals"]
    elif run.finished_at is not None:
        run.finished_at = None
        fields.append("finished_at")
    run.save_versioned(*fields)
    changes: dict[str, Any] = {"state": [before, run.state]}
    if reason:
        changes["reason"] = reason
    if step.target in lifecycle.FINISHED:
        changes["counts"] = {
            key: run.totals[key] for key in ("slots", "answered", "filtered", "refused", "error")
        }
        # A run that failed and was retried ends more than once, so the key names the ending.
        Outbox.put("run.finished", f"{run.pk}:{run.row_version}", run_id=str(run.pk))
    record(
        f"evaluations.run_{step.name}",
        actor=actor,
        obj=run,
        object_name=name_of(run),
        summary=f"{summary}: {name_of(run)}." + (f" {reason}" if reason else ""),
        changes=changes,
    )
    log.info("run_moved", run_id=str(run.pk), before=before, after=run.state, reason=reason)
    return run


def name_of(run: Run) -> str:
    return f"{run.model_version.label} on {run.suite_revision}"
