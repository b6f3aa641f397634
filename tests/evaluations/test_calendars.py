"""Calendar rules in words, blackout windows and jitter: when a schedule is due."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import clock
from apps.core.errors import InvalidInput
from apps.evaluations import blackouts, cadence, calendar, schedules, services
from apps.evaluations.models import Schedule
from apps.evaluations.schedules import Timing
from tests.fixtures.evaluations import make_owner, make_revision, make_version
from tests.world import approve, build_world

NOWHERE = "http://127.0.0.1:9/v1"
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: Any = dt.UTC) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


def starts(timing: Timing, after: str, count: int = 3) -> list[str]:
    return [f"{t:%a %Y-%m-%d %H:%M}" for t in timing.upcoming(count, at(after))]


# Words


@pytest.mark.parametrize(
    ("rule", "cron"),
    [
        ("every day at 02:00", "0 2 * * *"),
        ("Daily at 2:05", "5 2 * * *"),
        ("weekdays at 02:00", "0 2 * * 1-5"),
        ("weekends at 06:30", "30 6 * * 0,6"),
        ("mondays at 02:00", "0 2 * * 1"),
        ("Monday, wed and Fridays at 03:15", "15 3 * * 1,3,5"),
        ("first Monday of the month at 02:00", "0 2 * * 1#1"),
        ("last friday of each quarter at 22:00", "0 22 * 1,4,7,10 5L"),
        ("day 15 of the month at 04:00", "0 4 15 * *"),
        ("1st of every month at 00:00", "0 0 1 * *"),
        ("last day of month at 23:59", "59 23 L * *"),
        ("last weekday of the month at 09:30", "30 9 LW * *"),
    ],
)
def test_words_become_the_expression_that_they_mean(rule: str, cron: str) -> None:
    assert calendar.to_cron(rule) == cron
    assert schedules.preview(calendar=rule, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "now and then",
        "weekdays",
        "weekdays at 25:00",
        "weekdays at 02:61",
        "fifth monday of the month at 02:00",
        "day 31 of the month at 02:00",
        "moonday at 02:00",
        "m at 02:00",
        "first monday of the century at 02:00",
        "weekdays at 02:00; drop table",
    ],
)
def test_words_that_mean_nothing_are_refused_with_examples(rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        calendar.to_cron(rule)

    assert caught.value.field == "calendar"
    assert caught.value.remedy


def test_the_first_monday_is_the_first_monday_through_the_clock_changes_of_a_year() -> None:
    timing = Timing(cron=calendar.to_cron("first monday of the month at 02:30"), timezone="CET")
    found = timing.upcoming(12, at("2026-01-01"))

    assert [t.strftime("%a %H:%M") for t in found] == ["Mon 02:30"] * 12
    assert all(t.day <= 7 for t in found)
    assert [t.month for t in found] == list(range(1, 13))


# Blackouts


def test_due_times_within_a_window_are_left_out() -> None:
    nights = Timing(interval_seconds=6 * 3600, blackouts=("mon-fri 08:00-18:00",))
    # Friday 00:00 UTC: 06:00 is due, 12:00 is not, 18:00 (the end) is.
    assert starts(nights, "2026-11-27T00:00", 5) == [
        "Fri 2026-11-27 06:00",
        "Fri 2026-11-27 18:00",
        "Sat 2026-11-28 00:00",
        "Sat 2026-11-28 06:00",
        "Sat 2026-11-28 12:00",
    ]


def test_windows_are_read_in_the_schedule_s_zone_and_over_midnight() -> None:
    timing = Timing(cron="0 */2 * * *", timezone="Europe/Berlin", blackouts=("daily 22:00-05:00",))
    hours = {t.hour for t in timing.upcoming(40, at("2026-03-27T00:00"))}  # over the clock change
    assert hours == {6, 8, 10, 12, 14, 16, 18, 20}


def test_days_off_include_their_last_day() -> None:
    timing = Timing(cron="0 2 * * *", blackouts=("2026-12-24..2026-12-27",))
    assert starts(timing, "2026-12-22T12:00", 2) == ["Wed 2026-12-23 02:00", "Mon 2026-12-28 02:00"]


def test_a_schedule_that_could_never_run_is_refused() -> None:
    for window in ("daily 00:00-24:00", "daily 01:00-03:00"):
        with pytest.raises(InvalidInput) as caught:
            schedules.preview(cron="0 2 * * *", blackouts=[window])
        assert caught.value.field == "blackouts"


@pytest.mark.parametrize(
    "line",
    ["always", "mon 8:00-9:00", "mon 08:00-08:00", "mon 24:00-01:00", "xyz 08:00-09:00",
     "mon 08:00-25:00", "2026-12-27..2026-12-24", "2026-13-01..2026-13-02"],
)  # fmt: skip
def test_a_line_that_is_no_window_is_named(line: str) -> None:
    with pytest.raises(InvalidInput, match="is not a blackout window") as caught:
        blackouts.parse([line])
    assert caught.value.field == "blackouts"


@given(
    st.integers(0, 6), st.integers(0, 23 * 60), st.integers(1, 24 * 60),
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1)),
)  # fmt: skip
def test_the_end_of_a_window_lies_outside_of_it(
    day: int, start: int, length: int, moment: dt.datetime
) -> None:
    window = blackouts.Weekly(frozenset({day}), start, length)
    end = window.end_if_covering(moment)

    assert end is None or (end > moment and window.end_if_covering(end) is None)


# Jitter


def test_jitter_is_the_same_whoever_computes_it_and_differs_between_schedules() -> None:
    due = at("2026-11-25T02:00")
    one = Timing(cron="0 2 * * *", jitter_seconds=900, key="a")

    assert one.start_of(due) == Timing(cron="0 2 * * *", jitter_seconds=900, key="a").start_of(due)
    spread = {
        Timing(cron="0 2 * * *", jitter_seconds=900, key=str(n)).start_of(due) for n in range(50)
    }
    assert len(spread) > 40
    assert all(dt.timedelta(0) <= start - due <= dt.timedelta(seconds=900) for start in spread)


@pytest.mark.parametrize(
    "timing", [{"jitter_seconds": -1}, {"jitter_seconds": 60}, {"jitter_seconds": 10**6}]
)
def test_jitter_is_shorter_than_the_interval(timing: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        schedules.preview(interval_seconds=60, **timing)
    assert caught.value.field == "jitter_seconds"


# Stored


def plan(**fields: Any) -> Schedule:
    return services.create_schedule(
        actor=make_owner(),
        model_version=make_version(NOWHERE),
        suite_revision=make_revision(2),
        **fields,
    )


def due_since(schedule: Schedule, due: dt.datetime, start: dt.datetime | None = None) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        next_due_at=start or due, next_nominal_at=due if start else None
    )


@pytest.mark.django_db
def test_a_rule_in_words_is_kept_beside_its_expression_until_either_is_replaced() -> None:
    schedule = plan(calendar="weekdays at 02:00", timezone="Europe/Berlin")
    assert (schedule.cron, schedule.calendar) == ("0 2 * * 1-5", "weekdays at 02:00")

    owner = make_owner()
    changed = services.update_schedule(actor=owner, schedule=schedule, calendar="mondays at 03:00")
    assert changed.cron == "0 3 * * 1"
    changed = services.update_schedule(actor=owner, schedule=schedule, cron="5 4 * * *")
    assert (changed.cron, changed.calendar) == ("5 4 * * *", "")
    with pytest.raises(InvalidInput, match="not both"):
        plan(calendar="weekdays at 02:00", cron="0 2 * * *")


@pytest.mark.django_db
def test_a_jittered_schedule_keeps_its_due_time_and_starts_later() -> None:
    schedule = plan(interval_seconds=3600, jitter_seconds=1800)
    due = (schedule.next_nominal_at or schedule.next_due_at) - dt.timedelta(seconds=7200)
    due_since(schedule, due, Timing.of(schedule).start_of(due))

    (run,) = schedules.claim_due()

    assert run.due_at is not None
    assert (run.due_at - due).total_seconds() in (0, 3600)
    schedule.refresh_from_db()
    nominal = schedule.next_nominal_at or schedule.next_due_at
    assert schedule.next_due_at == Timing.of(schedule).start_of(nominal)
    assert schedule.next_due_at > clock.now()
    shown = schedules.upcoming(schedule)
    assert len(shown) == 5
    assert shown == sorted(shown)
    assert shown[0] == schedule.next_due_at


@pytest.mark.django_db
def test_what_was_missed_is_not_caught_up_within_a_blackout() -> None:
    now = clock.now().astimezone(BERLIN)
    until = now + dt.timedelta(hours=2)
    window = f"daily {now - dt.timedelta(hours=1):%H:%M}-{until:%H:%M}"
    schedule = plan(interval_seconds=600, timezone="Europe/Berlin", blackouts=[window])
    due_since(schedule, clock.now() - dt.timedelta(hours=3))

    assert schedules.claim_due() == []

    schedule.refresh_from_db()
    assert schedule.next_due_at is not None
    assert f"{schedule.next_due_at.astimezone(BERLIN):%H:%M}" == f"{until:%H:%M}"


@pytest.mark.django_db
def test_a_schedule_may_wait_for_an_alarm_alone() -> None:
    schedule = plan(on_alarm=True)
    assert schedule.next_due_at is None
    assert schedules.claim_due() == []
    assert schedules.upcoming(schedule) == []

    (run,) = services.start_urgent_runs(
        model_version=schedule.model_version, reason="The probe alarmed."
    )
    assert run.schedule == schedule
    with pytest.raises(InvalidInput, match="either an interval"):
        plan(on_alarm=False)


@pytest.mark.django_db
@pytest.mark.parametrize(("tier", "rule"), [(1, "every day"), (2, "weekdays"), (4, "first monday")])
def test_the_proposed_cadence_follows_the_highest_risk(tier: int, rule: str) -> None:
    world = build_world()
    assert cadence.proposed(world.version).tier is None
    approve(world, use_case=world.another_use_case("minor", risk_tier=4))
    if tier < 4:
        approve(world, use_case=world.another_use_case("major", risk_tier=tier))

    found = cadence.proposed(world.version)

    assert found.tier == tier
    assert found.calendar.startswith(rule)
    assert schedules.preview(calendar=found.calendar, jitter_seconds=found.jitter_seconds)
