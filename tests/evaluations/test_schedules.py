"""When reruns are due: zones, clock changes, missed ticks, many beats at once."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed, StaleVersion
from apps.evaluations import planning, schedules, services, tasks
from apps.evaluations.models import Run, RunState, Schedule
from tests.fixtures.evaluations import make_owner, make_revision, make_user, make_version

UTC = dt.UTC
NOWHERE = "http://127.0.0.1:9/v1"


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


def plan(**fields: Any) -> Schedule:
    timing = {} if "cron" in fields else {"interval_seconds": 3600}
    return services.create_schedule(
        actor=make_owner(),
        model_version=make_version(NOWHERE),
        suite_revision=make_revision(2),
        **{**timing, **fields},
    )


def overdue(schedule: Schedule, **since: float) -> dt.datetime:
    due = clock.now() - dt.timedelta(**since)
    Schedule.objects.filter(pk=schedule.pk).update(next_due_at=due)
    schedule.refresh_from_db()
    return schedule.next_due_at


# Computing, without a database


def test_the_preview_shows_the_next_five_in_the_schedule_s_zone() -> None:
    times = schedules.preview(
        cron="0 2 * * 1-5", timezone="Europe/Berlin", after=at("2026-11-26T12:00")
    )

    assert [t.isoformat() for t in times] == [
        "2026-11-27T02:00:00+01:00",
        "2026-11-30T02:00:00+01:00",
        "2026-12-01T02:00:00+01:00",
        "2026-12-02T02:00:00+01:00",
        "2026-12-03T02:00:00+01:00",
    ]


def test_an_hour_that_summer_time_skips_still_gives_one_run_that_day() -> None:
    # In Berlin, 02:30 does not exist on 29 March 2026.
    times = schedules.preview(
        cron="30 2 * * *", timezone="Europe/Berlin", after=at("2026-03-27T12:00"), count=4
    )

    assert len({t.date() for t in times}) == 4
    assert [t.astimezone(UTC).hour for t in times] == [1, 1, 0, 0]


def test_an_hour_that_winter_time_repeats_gives_one_run_that_day() -> None:
    # In Berlin, 02:30 comes twice on 25 October 2026.
    times = schedules.preview(
        cron="30 2 * * *", timezone="Europe/Berlin", after=at("2026-10-23T12:00"), count=4
    )

    assert [t.date().day for t in times] == [24, 25, 26, 27]


def test_an_interval_keeps_its_grid_whatever_the_tick_s_delay() -> None:
    anchor = at("2026-11-24T10:00")

    due = schedules.next_due(
        at("2026-11-24T10:47:13"), interval_seconds=600, cron="", timezone="UTC", anchor=anchor
    )

    assert due == at("2026-11-24T10:50")


@pytest.mark.parametrize(
    ("timing", "field"),
    [
        ({"cron": "not a cron"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "0 2 * * *", "timezone": "Mars/Olympus"}, "timezone"),
        ({"cron": "0 2 * * *", "timezone": "../etc/passwd"}, "timezone"),
        ({"interval_seconds": 1}, "interval_seconds"),
        ({"interval_seconds": 10**9}, "interval_seconds"),
        ({"interval_seconds": 60, "cron": "0 2 * * *"}, "interval_seconds"),
        ({}, "interval_seconds"),
    ],
)
def test_a_timing_that_cannot_be_computed_names_its_field(
    timing: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        schedules.preview(**timing)

    assert caught.value.field == field
    assert caught.value.remedy


# Planning


@pytest.mark.django_db
def test_a_schedule_is_due_first_after_one_interval_and_is_audited() -> None:
    schedule = plan(interval_seconds=600)

    wait = (schedule.next_due_at - clock.now()).total_seconds()
    assert 590 < wait <= 600
    assert AuditEvent.objects.get(action="evaluations.schedule_created").actor_name == "Mara Owner"


@pytest.mark.django_db
def test_a_second_schedule_for_the_same_pair_is_refused() -> None:
    first = plan()

    with pytest.raises(Conflict, match="already rerun"):
        services.create_schedule(
            actor=make_owner(),
            model_version=first.model_version,
            suite_revision=first.suite_revision,
            interval_seconds=60,
        )

    assert Schedule.objects.count() == 1


@pytest.mark.django_db
def test_a_validator_may_not_plan_reruns() -> None:
    schedule = plan()

    with pytest.raises(NotAllowed):
        services.update_schedule(
            actor=make_user(Role.VALIDATOR), schedule=schedule, interval_seconds=60
        )


@pytest.mark.django_db
def test_changing_the_interval_moves_the_next_due_time() -> None:
    schedule = plan(interval_seconds=3600)

    changed = services.update_schedule(
        actor=make_owner(), schedule=schedule, row_version=1, interval_seconds=60
    )

    assert (changed.next_due_at - clock.now()).total_seconds() <= 60
    entry = AuditEvent.objects.get(action="evaluations.schedule_changed")
    assert '"interval_seconds":[3600,60]' in entry.body


@pytest.mark.django_db
def test_a_stale_form_does_not_overwrite_a_newer_schedule() -> None:
    schedule = plan()
    services.update_schedule(actor=make_owner(), schedule=schedule, row_version=1, replicates=2)

    with pytest.raises(StaleVersion):
        services.update_schedule(actor=make_owner(), schedule=schedule, row_version=1, replicates=3)

    schedule.refresh_from_db()
    assert schedule.replicates == 2


@pytest.mark.django_db
def test_the_clock_does_not_make_a_form_stale() -> None:
    schedule = plan()
    overdue(schedule, seconds=1)
    schedules.claim_due()

    services.update_schedule(actor=make_owner(), schedule=schedule, row_version=1, replicates=2)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong", [{"replicates": 0}, {"catch_up": "twice"}, {"colour": "red"}, {"timezone": "x"}]
)
def test_a_change_that_cannot_be_leaves_the_schedule_as_it_was(wrong: dict[str, Any]) -> None:
    schedule = plan()

    with pytest.raises(InvalidInput) as caught:
        services.update_schedule(actor=make_owner(), schedule=schedule, **wrong)

    assert caught.value.field == next(iter(wrong))
    schedule.refresh_from_db()
    assert schedule.row_version == 1


# Coming due


@pytest.mark.django_db
def test_a_due_schedule_becomes_a_run_and_moves_past_now() -> None:
    schedule = plan(interval_seconds=600, replicates=2)
    due = overdue(schedule, seconds=3)

    (run,) = schedules.claim_due()

    assert (run.due_at, run.purpose, run.total_slots) == (due, "scheduled", 4)
    schedule.refresh_from_db()
    assert schedule.next_due_at == due + dt.timedelta(seconds=600)
    assert schedules.claim_due() == []
    assert AuditEvent.objects.filter(action="evaluations.run_scheduled").count() == 1


@pytest.mark.django_db
def test_many_missed_times_give_one_run() -> None:
    schedule = plan(interval_seconds=600)
    due = overdue(schedule, hours=5, seconds=5)

    runs = schedules.claim_due()

    # It stands for the newest of them.
    assert [r.due_at for r in runs] == [due + dt.timedelta(hours=5)]
    schedule.refresh_from_db()
    assert schedule.next_due_at > clock.now()


@pytest.mark.django_db
def test_many_missed_times_of_a_cron_schedule_give_one_run() -> None:
    schedule = plan(cron="* * * * *")
    overdue(schedule, days=400)

    (run,) = schedules.claim_due()

    assert run.due_at
    assert (clock.now() - run.due_at).total_seconds() < 61


@pytest.mark.django_db
def test_a_schedule_that_skips_what_was_missed_makes_no_run_for_it() -> None:
    schedule = plan(interval_seconds=3600, catch_up="skip")
    overdue(schedule, minutes=20)

    assert schedules.claim_due() == []

    schedule.refresh_from_db()
    assert schedule.next_due_at > clock.now()


@pytest.mark.django_db
def test_a_tick_that_is_a_little_late_has_missed_nothing() -> None:
    schedule = plan(interval_seconds=3600, catch_up="skip")
    overdue(schedule, seconds=20)

    assert len(schedules.claim_due()) == 1


@pytest.mark.django_db
def test_a_due_time_while_the_last_run_still_runs_is_left_out() -> None:
    schedule = plan(interval_seconds=60)
    overdue(schedule, seconds=3)
    (first,) = schedules.claim_due()

    overdue(schedule, seconds=3)
    assert schedules.claim_due() == []

    Run.objects.filter(pk=first.pk).update(state=RunState.COMPLETE)
    overdue(schedule, seconds=2)
    assert len(schedules.claim_due()) == 1


@pytest.mark.django_db
def test_a_schedule_that_is_switched_off_is_never_due() -> None:
    schedule = plan()
    overdue(schedule, seconds=3)
    services.update_schedule(actor=make_owner(), schedule=schedule, enabled=False)
    overdue(schedule, seconds=3)

    assert schedules.claim_due() == []


@pytest.mark.django_db
def test_switching_on_again_does_not_run_what_was_missed_meanwhile() -> None:
    schedule = plan()
    services.update_schedule(actor=make_owner(), schedule=schedule, enabled=False)
    overdue(schedule, days=3)

    services.update_schedule(actor=make_owner(), schedule=schedule, enabled=True)

    assert schedules.claim_due() == []


@pytest.mark.django_db
def test_a_schedule_that_cannot_run_does_not_hold_back_the_others() -> None:
    broken, fine = plan(), plan()
    overdue(broken, seconds=9)
    overdue(fine, seconds=3)
    broken.model_version.endpoint.active = False
    broken.model_version.endpoint.save()

    runs = schedules.claim_due()

    assert [r.schedule for r in runs] == [fine]


@pytest.mark.django_db
def test_a_schedule_that_breaks_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = plan(), plan()
    due = overdue(broken, seconds=9)
    overdue(fine, seconds=3)
    create = planning.create_scheduled_run

    def create_or_break(*, schedule: Schedule, due_at: dt.datetime) -> Run:
        if schedule == broken:
            raise RuntimeError("a defect of ours")
        return create(schedule=schedule, due_at=due_at)

    monkeypatch.setattr(planning, "create_scheduled_run", create_or_break)
    assert [r.schedule for r in schedules.claim_due()] == [fine]

    broken.refresh_from_db()
    assert broken.next_due_at == due, "it stays due"
    monkeypatch.undo()
    assert [r.schedule for r in schedules.claim_due()] == [broken]


@pytest.mark.django_db
def test_a_claim_takes_few_queries(django_assert_max_num_queries: Any) -> None:
    version = make_version(NOWHERE)
    due = [
        services.create_schedule(
            actor=make_owner(),
            model_version=version,
            suite_revision=make_revision(2, slug=f"due-{n}"),
            interval_seconds=3600,
        )
        for n in range(2 * schedules.CLAIMED_TOGETHER)
    ]
    Schedule.objects.update(next_due_at=clock.now())

    with django_assert_max_num_queries(8 * len(due) + 20):
        assert len(schedules.claim_due()) == len(due)


@pytest.mark.usefixtures("live")
def test_many_beats_at_once_claim_many_schedules_once_each() -> None:
    due = [plan() for _ in range(3)]
    for schedule in due:
        overdue(schedule, seconds=3)
    barrier = threading.Barrier(4)
    created: list[Run] = []

    def beat() -> None:
        barrier.wait()
        created.extend(schedules.claim_due())
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(created) == 3
    assert {run.schedule_id for run in created} == {schedule.pk for schedule in due}


@pytest.mark.usefixtures("live")
def test_many_beats_at_once_make_one_run() -> None:
    schedule = plan(interval_seconds=600)
    overdue(schedule, seconds=3)
    barrier = threading.Barrier(6)

    def beat() -> None:
        barrier.wait()
        tasks.tick()
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Run.objects.filter(schedule=schedule).count() == 1
