"""When a rerun is due, and the claiming of what is due.

Any number of beats may tick at once: a due schedule is claimed with SKIP LOCKED, and a run exists
once for (schedule, due time). Times are computed in the schedule's own zone by a library, so an
hour that a clock change skips or repeats gives one run.
"""

from __future__ import annotations

import datetime as dt
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from cronsim import CronSim, CronSimError
from django.db import transaction

from apps.core import clock
from apps.core.errors import GovTrackError, InvalidInput
from apps.evaluations.models import Run, RunState, Schedule
from apps.evaluations.partitions import ensure_month

log = structlog.get_logger(__name__)
MIN_INTERVAL_SECONDS = 5
MAX_INTERVAL_SECONDS = 366 * 24 * 3600
# Later than this, a due time counts as missed (the rule "skip" then skips it).
GRACE = dt.timedelta(seconds=60)
CLAIM_LIMIT = 200


def check_timing(*, interval_seconds: int | None, cron: str, timezone: str) -> None:
    """Raise InvalidInput, naming the field, when this is no timing that can be computed."""
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"There is no time zone '{timezone[:60]}'.",
            field="timezone",
            remedy="Use a name such as UTC or Europe/Berlin.",
        ) from None
    if (interval_seconds is None) == (not cron):
        raise InvalidInput(
            "A schedule has either an interval or a cron expression.",
            field="interval_seconds",
            remedy="Fill in exactly one of the two.",
        )
    if interval_seconds is not None:
        if not MIN_INTERVAL_SECONDS <= interval_seconds <= MAX_INTERVAL_SECONDS:
            raise InvalidInput(
                f"The interval must lie between {MIN_INTERVAL_SECONDS} seconds and a year.",
                field="interval_seconds",
                remedy="Give the number of seconds between two runs.",
            )
        return
    try:
        next(CronSim(cron, clock.now().astimezone(ZoneInfo(timezone))))
    except (CronSimError, StopIteration):
        raise InvalidInput(
            f"'{cron[:60]}' is not a cron expression that ever comes due.",
            field="cron",
            remedy="Use five fields: minute hour day month weekday, such as '0 2 * * 1-5'.",
        ) from None


def next_due(
    after: dt.datetime,
    *,
    interval_seconds: int | None,
    cron: str,
    timezone: str,
    anchor: dt.datetime | None = None,
) -> dt.datetime:
    """The first due time later than `after`. Intervals are counted from `anchor`."""
    if interval_seconds is not None:
        start = anchor or after
        step = dt.timedelta(seconds=interval_seconds)
        steps = max(0, (after - start) // step) + 1
        return start + steps * step
    local = after.astimezone(ZoneInfo(timezone))
    for moment in CronSim(cron, local):
        if moment > local:
            return moment.astimezone(dt.UTC)
    raise InvalidInput("This cron expression never comes due again.", field="cron")


def preview(
    *,
    interval_seconds: int | None = None,
    cron: str = "",
    timezone: str = "UTC",
    count: int = 5,
    after: dt.datetime | None = None,
) -> list[dt.datetime]:
    """The next few due times, in the schedule's zone: shown before a schedule is saved.

    Raises InvalidInput as `check_timing` does.
    """
    check_timing(interval_seconds=interval_seconds, cron=cron, timezone=timezone)
    moment = after or clock.now()
    times = []
    for _ in range(count):
        moment = next_due(moment, interval_seconds=interval_seconds, cron=cron, timezone=timezone)
        times.append(moment.astimezone(ZoneInfo(timezone)))
    return times


def latest_due(schedule: Schedule, now: dt.datetime) -> dt.datetime:
    """The newest due time that has passed: what stands for all that were missed."""
    due = schedule.next_due_at
    if schedule.interval_seconds is not None:
        step = dt.timedelta(seconds=schedule.interval_seconds)
        return due + (now - due) // step * step
    local = (now + dt.timedelta(seconds=1)).astimezone(ZoneInfo(schedule.timezone))
    for moment in CronSim(schedule.cron, local, reverse=True):
        return max(due, moment.astimezone(dt.UTC))
    return due


def claim_due() -> list[Run]:
    """Create the runs of all due schedules, each in its own short transaction."""
    now = clock.now()
    due = Schedule.objects.filter(enabled=True, next_due_at__lte=now).order_by("next_due_at")
    ids = list(due.values_list("pk", flat=True)[:CLAIM_LIMIT])
    if not ids:
        return []
    ensure_month(clock.month_of(now))
    created: list[Run] = []
    for schedule_id in ids:
        try:
            run = _claim(schedule_id, now)
        except GovTrackError as error:
            log.warning("schedule_not_run", schedule_id=str(schedule_id), reason=str(error))
        except Exception:
            # One broken schedule must not hold back the others; it is tried again next tick.
            log.exception("schedule_claim_failed", schedule_id=str(schedule_id))
        else:
            created += [run] if run is not None else []
    return created


def _claim(schedule_id: UUID, now: dt.datetime) -> Run | None:
    from apps.evaluations import services  # they create schedules, so they import this module

    with transaction.atomic():
        schedule = (
            Schedule.objects.select_for_update(skip_locked=True)
            .filter(pk=schedule_id, enabled=True, next_due_at__lte=now)
            .first()
        )
        if schedule is None:  # another tick has it, or it was switched off meanwhile
            return None
        due_at = latest_due(schedule, now)
        schedule.next_due_at = next_due(
            now,
            interval_seconds=schedule.interval_seconds,
            cron=schedule.cron,
            timezone=schedule.timezone,
            anchor=due_at,
        )
        # Not save_versioned: the clock is no person, and must not make a form stale.
        schedule.save(update_fields=["next_due_at"])
        if now - due_at > GRACE and schedule.catch_up == Schedule.CatchUp.SKIP:
            log.info("schedule_skipped", schedule_id=str(schedule.pk), due_at=due_at.isoformat())
            return None
        # A run that takes longer than the interval would pile up: this due time is left out.
        if schedule.runs.filter(state__in=[RunState.QUEUED, RunState.RUNNING]).exists():
            log.info("schedule_still_running", schedule_id=str(schedule.pk))
            return None
        if Run.objects.filter(schedule=schedule, due_at=due_at).exists():
            return None
        try:
            with transaction.atomic():
                return services.create_scheduled_run(schedule=schedule, due_at=due_at)
        except GovTrackError as error:
            log.warning("schedule_not_run", schedule_id=str(schedule.pk), reason=str(error))
            return None
