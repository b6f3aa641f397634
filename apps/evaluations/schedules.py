"""When a rerun is due, and the claiming of what is due.

Any number of beats may tick at once: a due schedule is claimed with SKIP LOCKED, and a run exists
once for (schedule, due time). Times are computed in the schedule's own zone by a library, so an
hour that a clock change skips or repeats gives one run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from cronsim import CronSim, CronSimError
from django.db import transaction
from django.db.models import Q, QuerySet

from apps.core import clock
from apps.core.errors import GovTrackError, InvalidInput
from apps.evaluations import blackouts
from apps.evaluations import calendar as rules
from apps.evaluations.models import Run, RunState, Schedule
from apps.evaluations.partitions import ensure_month

log = structlog.get_logger(__name__)
MIN_INTERVAL_SECONDS = 5
MAX_INTERVAL_SECONDS = 366 * 24 * 3600
MAX_JITTER_SECONDS = 12 * 3600
# After so many windows in a row a schedule counts as never due (once a year, when a clock change
# moves it out of its window, is never too).
MAX_BLACKOUTS_IN_A_ROW = 60
# Later than this, a due time counts as missed (the rule "skip" then skips it).
GRACE = dt.timedelta(seconds=60)
CLAIM_LIMIT = 200
CLAIMED_TOGETHER = 20


def check_zone(timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"There is no time zone '{timezone[:60]}'.",
            field="timezone",
            remedy="Use a name such as UTC or Europe/Berlin.",
        ) from None


def check_timing(*, interval_seconds: int | None, cron: str, timezone: str) -> None:
    """Raise InvalidInput, naming the field, when this is no timing that can be computed."""
    check_zone(timezone)
    if (interval_seconds is None) == (not cron):
        raise InvalidInput(
            "A schedule has either an interval, or a cron expression or calendar rule.",
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


@dataclass(frozen=True)
class Timing:
    """All that decides when a schedule is due. `key` makes the jitter: the schedule's id."""

    interval_seconds: int | None = None
    cron: str = ""
    timezone: str = "UTC"
    jitter_seconds: int = 0
    blackouts: tuple[str, ...] = ()
    key: str = ""

    @classmethod
    def of(cls, schedule: Schedule) -> Timing:
        return cls(
            interval_seconds=schedule.interval_seconds,
            cron=schedule.cron,
            timezone=schedule.timezone,
            jitter_seconds=schedule.jitter_seconds,
            blackouts=tuple(schedule.blackouts),
            key=str(schedule.pk),
        )

    @property
    def planned(self) -> bool:
        """False: it runs only when something alarms."""
        return self.interval_seconds is not None or bool(self.cron)

    def check(self) -> None:
        """Raises InvalidInput, naming the field, when no due time can be computed from this."""
        check_timing(interval_seconds=self.interval_seconds, cron=self.cron, timezone=self.timezone)
        most = MAX_JITTER_SECONDS
        if self.interval_seconds is not None:
            most = min(most, self.interval_seconds - 1)
        if not 0 <= self.jitter_seconds <= most:
            raise InvalidInput(
                f"The jitter must lie between 0 and {most:,} seconds.",
                field="jitter_seconds",
                remedy="It is at most twelve hours, and shorter than the interval.",
            )
        blackouts.parse(self.blackouts)
        self.next_after(clock.now())

    def next_after(self, moment: dt.datetime, anchor: dt.datetime | None = None) -> dt.datetime:
        """The first due time later than `moment` that no blackout covers, without its jitter."""
        windows = blackouts.parse(self.blackouts)
        anchor = anchor or moment
        for _ in range(MAX_BLACKOUTS_IN_A_ROW):
            moment = next_due(
                moment,
                interval_seconds=self.interval_seconds,
                cron=self.cron,
                timezone=self.timezone,
                anchor=anchor,
            )
            end = blackouts.end_of(windows, moment.astimezone(ZoneInfo(self.timezone)))
            if end is None:
                return moment
            moment = end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)
        raise InvalidInput(
            "Every due time of this schedule lies in a blackout window: it would never run.",
            field="blackouts",
            remedy="Shorten the windows, or choose another time.",
        )

    def start_of(self, due: dt.datetime) -> dt.datetime:
        """When a due time starts: the same delay whoever computes it, spread over the jitter."""
        if not self.jitter_seconds:
            return due
        seed = f"{self.key}:{due.astimezone(dt.UTC).isoformat()}".encode()
        share = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") / 2**64
        return due + dt.timedelta(seconds=int(share * (self.jitter_seconds + 1)))

    def upcoming(self, count: int = 5, after: dt.datetime | None = None) -> list[dt.datetime]:
        """The next starts in the schedule's zone, jitter included where it has a key."""
        moment = anchor = after or clock.now()
        times = []
        for _ in range(count if self.planned else 0):
            moment = self.next_after(moment, anchor)
            start = self.start_of(moment) if self.key else moment
            times.append(start.astimezone(ZoneInfo(self.timezone)))
        return times


def preview(
    *,
    interval_seconds: int | None = None,
    cron: str = "",
    calendar: str = "",
    timezone: str = "UTC",
    jitter_seconds: int = 0,
    blackouts: Sequence[str] = (),
    count: int = 5,
    after: dt.datetime | None = None,
) -> list[dt.datetime]:
    """The next few due times, in the schedule's zone: shown before a schedule is saved.

    Raises InvalidInput naming the field, as saving would.
    """
    timing = Timing(
        interval_seconds=interval_seconds,
        cron=cron_of(cron=cron, calendar=calendar),
        timezone=timezone,
        jitter_seconds=jitter_seconds,
        blackouts=tuple(blackouts),
    )
    timing.check()
    return timing.upcoming(count, after)


def cron_of(*, cron: str, calendar: str) -> str:
    """The expression that counts. Raises InvalidInput where words and expression are both given."""
    if not calendar:
        return cron
    if cron:
        raise InvalidInput(
            "A schedule has a calendar rule or a cron expression, not both.",
            field="calendar",
            remedy="Empty one of the two.",
        )
    return rules.to_cron(calendar)


def upcoming(schedule: Schedule, count: int = 5) -> list[dt.datetime]:
    """The next starts of a stored schedule, in its zone; none where it is off or only on alarm."""
    if not schedule.enabled or schedule.next_due_at is None:
        return []
    timing = Timing.of(schedule)
    nominal = schedule.next_nominal_at or schedule.next_due_at
    first = schedule.next_due_at.astimezone(ZoneInfo(schedule.timezone))
    return [first, *timing.upcoming(count - 1, after=nominal)]


def plan_next(schedule: Schedule, after: dt.datetime, anchor: dt.datetime | None = None) -> None:
    """Set (without saving) when the schedule starts next: the first start later than `after`."""
    timing = Timing.of(schedule)
    if not timing.planned:
        schedule.next_due_at = schedule.next_nominal_at = None
        return
    due = timing.next_after(after - dt.timedelta(seconds=timing.jitter_seconds), anchor or after)
    while timing.start_of(due) <= after:
        due = timing.next_after(due, anchor or after)
    schedule.next_due_at = timing.start_of(due)
    schedule.next_nominal_at = due if schedule.next_due_at != due else None


def latest_due(schedule: Schedule, now: dt.datetime) -> dt.datetime:
    """The newest due time whose start has passed: what stands for all that were missed."""
    timing = Timing.of(schedule)
    due = schedule.next_nominal_at or schedule.next_due_at
    assert due is not None
    windows = blackouts.parse(timing.blackouts)
    zone = ZoneInfo(schedule.timezone)
    for moment in _backwards(timing, due, now):
        if moment <= due:
            break
        if blackouts.end_of(windows, moment.astimezone(zone)) is None and (
            timing.start_of(moment) <= now
        ):
            return moment
    return due


def _backwards(timing: Timing, due: dt.datetime, now: dt.datetime) -> Iterator[dt.datetime]:
    """Due times from `now` back, a bounded number of them."""
    if timing.interval_seconds is not None:
        step = dt.timedelta(seconds=timing.interval_seconds)
        newest = due + (now - due) // step * step
        yield from (newest - back * step for back in range(MAX_BLACKOUTS_IN_A_ROW))
        return
    local = (now + dt.timedelta(seconds=1)).astimezone(ZoneInfo(timing.timezone))
    past = islice(CronSim(timing.cron, local, reverse=True), MAX_BLACKOUTS_IN_A_ROW)
    yield from (moment.astimezone(dt.UTC) for moment in past)


def claim_due() -> list[Run]:
    """Create the runs of all due schedules. Any number of processes may call it at once."""
    now = clock.now()
    if not _due(now).exists():
        return []
    ensure_month(clock.month_of(now))
    created: list[Run] = []
    seen: list[UUID] = []
    while len(seen) < CLAIM_LIMIT:
        found, runs = _claim_some(now, seen)
        if not found:
            break
        seen += found
        created += runs
    return created


def _due(now: dt.datetime) -> QuerySet[Schedule]:
    return Schedule.objects.filter(enabled=True, next_due_at__lte=now)


def _locked(now: dt.datetime) -> QuerySet[Schedule]:
    """Due ones that no other tick has, with all that their runs are made from."""
    related = ("model_version__endpoint", "suite_revision__suite")
    rows = _due(now).select_for_update(of=("self",), skip_locked=True)
    return rows.select_related(*related).order_by("next_due_at")


def _claim_some(now: dt.datetime, seen: list[UUID]) -> tuple[list[UUID], list[Run]]:
    """A few schedules in one transaction, since each commit waits for the disk. Where one of them
    breaks it, they are claimed one by one."""
    found: list[UUID] = []
    try:
        with transaction.atomic():
            rows = list(_locked(now).exclude(pk__in=seen)[:CLAIMED_TOGETHER])
            found = [schedule.pk for schedule in rows]
            runs = [_claim(schedule, now) for schedule in rows]
    except Exception:
        if not found:
            raise
        runs = [_claim_alone(schedule_id, now) for schedule_id in found]
    return found, [run for run in runs if run is not None]


def _claim_alone(schedule_id: UUID, now: dt.datetime) -> Run | None:
    try:
        with transaction.atomic():
            schedule = _locked(now).filter(pk=schedule_id).first()
            return None if schedule is None else _claim(schedule, now)
    except GovTrackError as error:
        log.info("schedule_not_run", schedule_id=str(schedule_id), reason=str(error))
    except Exception:
        # One broken schedule must not hold back the others; it is tried again next tick.
        log.exception("schedule_claim_failed", schedule_id=str(schedule_id))
    return None


def leave_out(schedule: Schedule, reason: str) -> None:
    """A due time without a run says so on the schedule's page."""
    Schedule.objects.filter(pk=schedule.pk).update(
        skipped_at=clock.now(), skipped_reason=reason[:2000]
    )
    log.info("schedule_not_run", schedule_id=str(schedule.pk), reason=reason)


def _claim(schedule: Schedule, now: dt.datetime) -> Run | None:
    """The run of a due schedule that the caller has locked, and its next due time."""
    from apps.evaluations import planning  # it plans schedules, so it imports this module

    timing = Timing.of(schedule)
    # What was missed is not caught up within a blackout either: it waits for its end.
    zone = ZoneInfo(schedule.timezone)
    end = blackouts.end_of(blackouts.parse(schedule.blackouts), now.astimezone(zone))
    if end is not None:
        schedule.next_nominal_at = schedule.next_nominal_at or schedule.next_due_at
        schedule.next_due_at = end.astimezone(dt.UTC)
        schedule.save(update_fields=["next_due_at", "next_nominal_at"])
        return None
    due_at = latest_due(schedule, now)
    plan_next(schedule, now, anchor=due_at)
    # Not save_versioned: the clock is no person, and must not make a form stale.
    schedule.save(update_fields=["next_due_at", "next_nominal_at"])
    if now - timing.start_of(due_at) > GRACE and schedule.catch_up == Schedule.CatchUp.SKIP:
        leave_out(schedule, "It was missed while nothing ran, and its rule is to skip that.")
        return None
    under_way = [RunState.QUEUED, RunState.RUNNING]
    before = schedule.runs.filter(Q(state__in=under_way) | Q(due_at=due_at))
    states = list(before.values_list("state", flat=True))
    # A run that takes longer than the interval would pile up: this due time is left out.
    if any(state in under_way for state in states):
        leave_out(schedule, "Its run before was still under way.")
    if states:
        return None
    try:
        with transaction.atomic():
            return planning.create_scheduled_run(schedule=schedule, due_at=due_at)
    except GovTrackError as error:
        leave_out(schedule, str(error))
        return None
