"""The verbs of schedules: plan reruns, change a plan, run one at once when something alarms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import blackouts as windows
from apps.evaluations import budgets, creating, finishing, lifecycle, schedules, wake
from apps.evaluations.models import Run, Schedule, SuiteRevision
from apps.evaluations.partitions import ensure_month
from apps.registry.models import ModelVersion

TIMING_FIELDS = frozenset(
    {"interval_seconds", "cron", "calendar", "timezone", "jitter_seconds", "blackouts"}
)
LIMIT_FIELDS = frozenset({"max_tokens", "max_cost", "currency"})
SCHEDULE_FIELDS = (
    TIMING_FIELDS
    | LIMIT_FIELDS
    | {"suite_revision", "replicates", "catch_up", "enabled", "on_alarm"}
)


def _require(actor: Any, action: str, obj: Any) -> None:
    if actor is not SYSTEM:
        require(actor, action, obj)


def _person(actor: Any) -> Any:
    return None if actor is SYSTEM else actor


def start_urgent_runs(*, model_version: ModelVersion, reason: str, key: str = "") -> list[Run]:
    """What a cheaper layer's alarm sets off: every schedule of the version that runs `on_alarm` is
    run at once, before all other work and whatever its blackout windows. A run of it that is still
    under way becomes urgent instead.

    The same `key` again (an alarm that is told twice) starts nothing new and returns the same runs.
    A schedule that cannot run (endpoint off, budget used up) is left out and says why on its page.
    """
    ensure_month(clock.month_of(clock.now()))
    plans = Schedule.objects.filter(model_version=model_version, enabled=True, on_alarm=True)
    runs = []
    for plan in plans.order_by("created_at", "pk"):
        try:
            runs.append(trigger_schedule(actor=SYSTEM, schedule=plan, reason=reason, key=key))
        except Conflict as problem:
            schedules.leave_out(plan, str(problem))
    return runs


def trigger_schedule(*, actor: Actor, schedule: Schedule, reason: str, key: str = "") -> Run:
    """Run a schedule now and urgently, outside its times. Raises NotAllowed, InvalidInput (no
    reason) and Conflict where it cannot run."""
    _require(actor, "run.start", schedule.model_version)
    reason = reason.strip()[:2000]
    if not reason:
        raise InvalidInput(
            "An urgent run needs a reason.",
            field="reason",
            remedy="Say what raised the alarm: the history and the run show it.",
        )
    ensure_month(clock.month_of(clock.now()))
    with transaction.atomic():
        plan = Schedule.objects.select_for_update().get(pk=schedule.pk)
        if key and (known := plan.runs.filter(trigger_key=key[:120]).first()):
            return known
        if running := plan.runs.filter(state__in=lifecycle.OPEN).order_by("-created_at").first():
            return _hurry(running, actor, reason)
        run = creating.create_run(
            actor=actor,
            model_version=plan.model_version,
            suite_revision=plan.suite_revision,
            purpose=Run.Purpose.SCHEDULED,
            replicates=plan.replicates,
            schedule=plan,
            **limits_of(plan),
            urgency=Run.Urgency.URGENT,
            reason=reason,
            trigger_key=key[:120],
        )
        record(
            "evaluations.run_triggered",
            actor=actor,
            obj=run,
            object_name=finishing.name_of(run),
            summary=f"Urgent rerun: {finishing.name_of(run)}. {reason}",
            changes={"schedule": str(plan.pk), "reason": reason, "slots": run.total_slots},
        )
    return run


def _hurry(run: Run, actor: Actor, reason: str) -> Run:
    """The run that is under way already answers the question: it goes first from now on."""
    locked = Run.objects.select_for_update().get(pk=run.pk)
    if locked.urgency == Run.Urgency.URGENT or locked.state not in lifecycle.OPEN:
        return locked
    locked.urgency, locked.reason = Run.Urgency.URGENT, reason
    locked.save_versioned("urgency", "reason")
    record(
        "evaluations.run_hurried",
        actor=actor,
        obj=locked,
        object_name=finishing.name_of(locked),
        summary=f"Made urgent: {finishing.name_of(locked)}. {reason}",
        changes={"reason": reason},
    )
    wake.workers_after_commit()
    return locked


def create_scheduled_run(*, schedule: Schedule, due_at: dt.datetime) -> Run:
    """The run of a schedule that is due; called by `schedules`, inside its transaction."""
    run = creating.create_run(
        actor=SYSTEM,
        model_version=schedule.model_version,
        suite_revision=schedule.suite_revision,
        purpose=Run.Purpose.SCHEDULED,
        replicates=schedule.replicates,
        schedule=schedule,
        due_at=due_at,
        **limits_of(schedule),
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


def start_top_up(*, run: Run, replicates: int, urgent: bool, reason: str, key: str) -> Run:
    """More answers to what `run` asked: a run of its own, since answers that were compared are
    sealed. The same version, suite revision and limits, and the whole suite; SYSTEM asks.

    Raises Conflict (endpoint off, suite archived, budget used up) and InvalidInput (no price for
    a limit of money). Called by `drift`, which keeps that there is one.
    """
    ensure_month(clock.month_of(clock.now()))
    with transaction.atomic():
        made = creating.create_run(
            actor=SYSTEM,
            model_version=run.model_version,
            suite_revision=run.suite_revision,
            purpose=Run.Purpose.TOP_UP,
            replicates=replicates,
            **{name: getattr(run, name) for name in sorted(LIMIT_FIELDS)},
            urgency=Run.Urgency.URGENT if urgent else Run.Urgency.NORMAL,
            reason=reason[:2000],
            trigger_key=key[:120],
        )
        record(
            "evaluations.run_topped_up",
            actor=SYSTEM,
            obj=made,
            object_name=finishing.name_of(made),
            summary=f"Top-up run: {finishing.name_of(made)}, {made.total_slots} answers. {reason}",
            changes={"tops_up": str(run.pk), "reason": reason, "slots": made.total_slots},
        )
    return made


def create_schedule(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    interval_seconds: int | None = None,
    cron: str = "",
    calendar: str = "",
    timezone: str = "UTC",
    replicates: int = 1,
    catch_up: str = "once",
    jitter_seconds: int = 0,
    blackouts: Sequence[str] = (),
    on_alarm: bool | None = None,
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
) -> Schedule:
    """Plan reruns by interval, cron or a calendar rule, and on alarms unless `on_alarm` is False;
    with none of the three and `on_alarm` True it runs on alarms alone.
    `max_tokens` and `max_cost` are each run's own budget. Raises InvalidInput naming the field,
    NotAllowed, and Conflict where this version and suite have a schedule already."""
    _require(actor, "schedule.edit", model_version)
    schedule = Schedule(
        model_version=model_version,
        suite_revision=suite_revision,
        interval_seconds=interval_seconds,
        cron=schedules.cron_of(cron=cron.strip(), calendar=calendar.strip()),
        calendar=calendar.strip(),
        timezone=timezone,
        replicates=replicates,
        catch_up=catch_up,
        jitter_seconds=jitter_seconds,
        blackouts=windows.normal(blackouts),
        on_alarm=on_alarm is not False,
        max_tokens=max_tokens,
        max_cost=max_cost,
        currency=currency,
        created_by=_person(actor),
    )
    _check_schedule(schedule, unplanned=on_alarm is True)
    schedules.plan_next(schedule, clock.now())
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
            fields = _apply(row, changes)
            _check_schedule(row)
            if fields & TIMING_FIELDS or (row.enabled and not was_enabled):
                schedules.plan_next(row, clock.now())
                fields |= {"next_due_at", "next_nominal_at"}
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


def _apply(row: Schedule, changes: dict[str, Any]) -> set[str]:
    """Put the changes on the row; which of its fields they touched. Words and expression of a
    calendar rule go together: a new one of either replaces the other."""
    for name, value in changes.items():
        setattr(row, name, windows.normal(value) if name == "blackouts" else value)
    fields = set(changes)
    if changes.get("calendar"):
        row.cron = schedules.cron_of(cron=changes.get("cron", ""), calendar=row.calendar.strip())
        fields.add("cron")
    elif "cron" in changes or "calendar" in changes:
        if "cron" not in changes:  # the words are taken back, and their expression with them
            row.cron = ""
        row.calendar = ""
        fields |= {"cron", "calendar"}
    return fields


def _check_schedule(schedule: Schedule, *, unplanned: bool = True) -> None:
    """`unplanned`: may it be without a time, waiting for alarms alone?"""
    timing = schedules.Timing.of(schedule)
    if timing.planned or not (schedule.on_alarm and unplanned):
        timing.check()
    elif schedule.timezone:
        schedules.check_zone(schedule.timezone)
    creating.check_replicates(schedule.replicates)
    budgets.check_limits(
        max_tokens=schedule.max_tokens, max_cost=schedule.max_cost, currency=schedule.currency
    )
    if schedule.catch_up not in Schedule.CatchUp.values:
        raise InvalidInput(
            f"There is no catch-up rule '{str(schedule.catch_up)[:40]}'.",
            field="catch_up",
            remedy="Use 'once' (one run for all that were missed) or 'skip'.",
        )


def limits_of(schedule: Schedule) -> dict[str, Any]:
    return {name: getattr(schedule, name) for name in sorted(LIMIT_FIELDS)}


def _schedule_values(schedule: Schedule) -> dict[str, Any]:
    values = {name: getattr(schedule, name) for name in SCHEDULE_FIELDS - {"suite_revision"}}
    values["max_cost"] = None if values["max_cost"] is None else str(values["max_cost"])
    return {**values, "suite_revision": str(schedule.suite_revision)}


def _schedule_name(schedule: Schedule) -> str:
    return f"{schedule.model_version.label} on {schedule.suite_revision}"


def _taken() -> Conflict:
    return Conflict(
        "This version is already rerun against this suite by a schedule.",
        field="suite_revision",
        remedy="Change that schedule instead.",
    )
