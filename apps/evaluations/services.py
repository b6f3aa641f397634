"""The verbs: import a suite, start and steer a run, plan reruns. See docs/architecture.md."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Max

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import finishing, schedules, stored, suitefile, wake
from apps.evaluations.models import (
    Run,
    RunState,
    Schedule,
    Shard,
    Suite,
    SuiteCase,
    SuiteRevision,
)
from apps.evaluations.partitions import ensure_month
from apps.registry.models import ModelVersion

MAX_REPLICATES = 100
MAX_SLOTS = 100_000
SCHEDULE_FIELDS = frozenset(
    {
        "suite_revision",
        "interval_seconds",
        "cron",
        "timezone",
        "replicates",
        "catch_up",
        "enabled",
    }
)
TIMING_FIELDS = frozenset({"interval_seconds", "cron", "timezone"})


def _require(actor: Any, action: str, obj: Any) -> None:
    if actor is not SYSTEM:
        require(actor, action, obj)


def _person(actor: Any) -> Any:
    return None if actor is SYSTEM else actor


def import_suite(*, actor: Actor, suite: suitefile.Suite) -> tuple[SuiteRevision, bool]:
    """Store a checked suite as a new revision. The same content again gives the stored revision
    and False. Raises NotAllowed."""
    row = Suite.objects.filter(slug=suite.slug).first()
    _require(actor, "suite.edit", row or Suite(slug=suite.slug))
    with transaction.atomic():
        Suite.objects.bulk_create(
            [Suite(slug=suite.slug, name=suite.name, summary=suite.summary)],
            ignore_conflicts=True,
        )
        row = Suite.objects.select_for_update().get(slug=suite.slug)
        known = row.revisions.filter(content_hash=suite.content_hash).first()
        if known is not None:
            return known, False
        latest = row.revisions.aggregate(latest=Max("number"))["latest"] or 0
        if (row.name, row.summary) != (suite.name, suite.summary):
            row.name, row.summary = suite.name, suite.summary
            row.save_versioned("name", "summary")
        revision = SuiteRevision.objects.create(
            suite=row,
            number=latest + 1,
            content_hash=suite.content_hash,
            document=stored.document_of(suite),
            case_count=len(suite.cases),
            imported_by=_person(actor),
        )
        SuiteCase.objects.bulk_create(
            [
                SuiteCase(
                    revision=revision,
                    position=position,
                    case_id=case.id,
                    content_hash=case.content_hash,
                    document=case.canonical(),
                )
                for position, case in enumerate(suite.cases)
            ],
            batch_size=1000,
        )
        record(
            "evaluations.suite_imported",
            actor=actor,
            obj=revision,
            summary=f"Imported {revision} ({len(suite.cases)} cases).",
            changes={"content_hash": suite.content_hash, "cases": len(suite.cases)},
        )
    return revision, True


def start_run(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    purpose: str = "manual",
    replicates: int = 1,
) -> Run:
    """Queue a run, cut into shards, and wake workers up.

    Raises NotAllowed, InvalidInput (purpose, replicates) and Conflict (endpoint switched off,
    suite archived).
    """
    _require(actor, "run.start", model_version)
    if purpose not in (Run.Purpose.BASELINE, Run.Purpose.MANUAL):
        raise InvalidInput(
            f"There is no run for the purpose '{str(purpose)[:40]}'.",
            field="purpose",
            remedy="Use 'baseline' or 'manual'.",
        )
    ensure_month(clock.month_of(clock.now()))
    with transaction.atomic():
        run = _create_run(
            actor=actor,
            model_version=model_version,
            suite_revision=suite_revision,
            purpose=purpose,
            replicates=replicates,
        )
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
            },
        )
    return run


def create_scheduled_run(*, schedule: Schedule, due_at: dt.datetime) -> Run:
    """The run of a schedule that is due; called by `schedules`, inside its transaction."""
    run = _create_run(
        actor=SYSTEM,
        model_version=schedule.model_version,
        suite_revision=schedule.suite_revision,
        purpose=Run.Purpose.SCHEDULED,
        replicates=schedule.replicates,
        schedule=schedule,
        due_at=due_at,
    )
    record(
        "evaluations.run_scheduled",
        actor=SYSTEM,
        obj=run,
        object_name=finishing.name_of(run),
        summary=f"Scheduled rerun: {finishing.name_of(run)}, {run.total_slots} answers.",
        changes={"schedule": str(schedule.pk), "due_at": due_at, "slots": run.total_slots},
    )
    return run


def _create_run(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    purpose: str,
    replicates: int,
    schedule: Schedule | None = None,
    due_at: dt.datetime | None = None,
) -> Run:
    _check_replicates(replicates)
    if not model_version.endpoint.active:
        raise Conflict(
            f"The endpoint '{model_version.endpoint.name}' is switched off.",
            field="model_version",
            remedy="Switch the endpoint on, or choose another version.",
        )
    if suite_revision.suite.archived:
        raise Conflict(
            f"The suite '{suite_revision.suite.name}' is archived.",
            field="suite_revision",
            remedy="Choose another suite.",
        )
    slots = suite_revision.case_count * replicates
    if slots > MAX_SLOTS:
        raise InvalidInput(
            f"This run would ask for {slots:,} answers; the most is {MAX_SLOTS:,}.",
            field="replicates",
            remedy="Take fewer replicates, or split the suite.",
        )
    run = Run.objects.create(
        model_version=model_version,
        suite_revision=suite_revision,
        schedule=schedule,
        due_at=due_at,
        purpose=purpose,
        replicates=replicates,
        month=clock.month_of(clock.now()),
        total_slots=slots,
        requested_by=_person(actor),
    )
    # A shard is about SHARD_CASES calls, so that a lease is short whatever the replicates.
    size = max(1, settings.GOVTRACK["SHARD_CASES"] // replicates)
    starts = range(0, suite_revision.case_count, size)
    Shard.objects.bulk_create(
        [
            Shard(
                run=run,
                index=index,
                first_position=first,
                last_position=min(first + size, suite_revision.case_count) - 1,
            )
            for index, first in enumerate(starts)
        ],
        batch_size=1000,
    )
    wake.workers_after_commit()
    return run


def _check_replicates(replicates: int) -> None:
    if not 1 <= replicates <= MAX_REPLICATES:
        raise InvalidInput(
            f"Replicates must lie between 1 and {MAX_REPLICATES}.",
            field="replicates",
            remedy="3 to 5 show a model's own randomness; 1 is enough for a rerun.",
        )


def pause_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """No new call is made within seconds; calls under way are kept. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "pause", "Paused", reason)


def resume_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """Go on where it was paused. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "resume", "Resumed", reason)


def cancel_run(*, actor: Actor, run: Run, reason: str = "") -> Run:
    """Stop for good, within seconds; what was answered is kept. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "cancel", "Cancelled", reason)


def retry_failed(*, actor: Actor, run: Run) -> Run:
    """Go on with a failed run: slots that have an answer keep it. Raises Conflict, NotAllowed."""
    return _steer(actor, run, "retry", "Retried", "")


def _steer(actor: Actor, run: Run, name: str, summary: str, reason: str) -> Run:
    _require(actor, "run.control", run)
    with transaction.atomic():
        locked = Run.objects.select_for_update().get(pk=run.pk)
        finishing.move(locked, name, actor=actor, summary=summary, reason=reason.strip()[:2000])
        if locked.state == RunState.QUEUED:
            # A raised fence keeps out whoever still holds a lease from before.
            locked.shards.filter(done=False).update(
                lease_owner="",
                lease_until=None,
                fence=F("fence") + 1,
                attempts=0,
                not_before=clock.now(),
            )
            wake.workers_after_commit()
    return locked


def create_schedule(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    interval_seconds: int | None = None,
    cron: str = "",
    timezone: str = "UTC",
    replicates: int = 1,
    catch_up: str = "once",
) -> Schedule:
    """Plan reruns by interval or cron. Raises InvalidInput naming the field, NotAllowed, and
    Conflict where this version and suite have a schedule already."""
    _require(actor, "schedule.edit", model_version)
    schedule = Schedule(
        model_version=model_version,
        suite_revision=suite_revision,
        interval_seconds=interval_seconds,
        cron=cron.strip(),
        timezone=timezone,
        replicates=replicates,
        catch_up=catch_up,
        created_by=_person(actor),
    )
    _check_schedule(schedule)
    schedule.next_due_at = _first_due(schedule)
    try:
        with transaction.atomic():
            schedule.save(force_insert=True)
            record(
                "evaluations.schedule_created",
                actor=actor,
                obj=schedule,
                object_name=_schedule_name(schedule),
                summary=f"Planned reruns of {_schedule_name(schedule)}.",
                changes=_schedule_values(schedule),
            )
    except IntegrityError:
        raise _taken() from None
    return schedule


def update_schedule(
    *, actor: Actor, schedule: Schedule, row_version: int | None = None, **changes: Any
) -> Schedule:
    """Change a schedule. Raises InvalidInput, NotAllowed, StaleVersion and Conflict."""
    _require(actor, "schedule.edit", schedule.model_version)
    unknown = sorted(set(changes) - SCHEDULE_FIELDS)
    if unknown:
        raise InvalidInput(
            f"A schedule's {unknown[0]} cannot be changed.",
            field=unknown[0],
            remedy="Create another schedule.",
        )
    try:
        with transaction.atomic():
            row = Schedule.objects.select_for_update().get(pk=schedule.pk)
            before = _schedule_values(row)
            was_enabled = row.enabled
            row.row_version = row.row_version if row_version is None else row_version
            for name, value in changes.items():
                setattr(row, name, value)
            _check_schedule(row)
            fields = set(changes)
            if fields & TIMING_FIELDS or (row.enabled and not was_enabled):
                row.next_due_at = _first_due(row)
                fields.add("next_due_at")
            row.save_versioned(*sorted(fields))
            after = _schedule_values(row)
            record(
                "evaluations.schedule_changed",
                actor=actor,
                obj=row,
                object_name=_schedule_name(row),
                summary=f"Changed the reruns of {_schedule_name(row)}.",
                changes={k: [before[k], v] for k, v in after.items() if before[k] != v},
            )
    except IntegrityError:
        raise _taken() from None
    return row


def _check_schedule(schedule: Schedule) -> None:
    schedules.check_timing(
        interval_seconds=schedule.interval_seconds,
        cron=schedule.cron,
        timezone=schedule.timezone,
    )
    _check_replicates(schedule.replicates)
    if schedule.catch_up not in Schedule.CatchUp.values:
        raise InvalidInput(
            f"There is no catch-up rule '{str(schedule.catch_up)[:40]}'.",
            field="catch_up",
            remedy="Use 'once' (one run for all that were missed) or 'skip'.",
        )


def _first_due(schedule: Schedule) -> dt.datetime:
    return schedules.next_due(
        clock.now(),
        interval_seconds=schedule.interval_seconds,
        cron=schedule.cron,
        timezone=schedule.timezone,
    )


def _schedule_values(schedule: Schedule) -> dict[str, Any]:
    values = {name: getattr(schedule, name) for name in SCHEDULE_FIELDS - {"suite_revision"}}
    return {**values, "suite_revision": str(schedule.suite_revision)}


def _schedule_name(schedule: Schedule) -> str:
    return f"{schedule.model_version.label} on {schedule.suite_revision}"


def _taken() -> Conflict:
    return Conflict(
        "This version is already rerun against this suite by a schedule.",
        field="suite_revision",
        remedy="Change that schedule instead.",
    )
