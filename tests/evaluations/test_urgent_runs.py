"""What an alarm of a cheaper layer sets off: urgent runs, before all other work."""

from __future__ import annotations

import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import InvalidInput, NotAllowed
from apps.evaluations import leases, services
from apps.evaluations.models import Run, Schedule
from tests.fixtures.evaluations import make_owner, make_revision, make_user, make_version

pytestmark = pytest.mark.django_db
NOWHERE = "http://127.0.0.1:9/v1"


def plan(**changes: object) -> Schedule:
    schedule = services.create_schedule(
        actor=make_owner(),
        model_version=make_version(NOWHERE),
        suite_revision=make_revision(2),
        interval_seconds=3600,
    )
    if changes:
        Schedule.objects.filter(pk=schedule.pk).update(**changes)
    return schedule


def alarm(schedule: Schedule, key: str = "") -> list[Run]:
    return services.start_urgent_runs(
        model_version=schedule.model_version, reason="The probe alarmed.", key=key
    )


def test_an_alarm_runs_the_version_s_schedules_at_once_and_says_why() -> None:
    schedule = plan()

    (run,) = alarm(schedule)

    assert (run.schedule, run.urgency, run.due_at) == (schedule, Run.Urgency.URGENT, None)
    assert run.reason == "The probe alarmed."
    entry = AuditEvent.objects.get(action="evaluations.run_triggered")
    assert "The probe alarmed." in entry.summary


def test_urgent_work_is_claimed_before_older_work() -> None:
    owner = make_owner()
    for _ in range(3):
        services.start_run(
            actor=owner, model_version=make_version(NOWHERE), suite_revision=make_revision(2)
        )
    (urgent,) = alarm(plan())

    (lease,) = leases.claim(owner="w1", limit=1)

    assert lease.run_id == urgent.pk


def test_the_same_alarm_told_twice_starts_one_run() -> None:
    schedule = plan()
    (first,) = alarm(schedule, key="alarm-1")
    services.cancel_run(actor=SYSTEM, run=first)

    (again,) = alarm(schedule, key="alarm-1")

    assert again.pk == first.pk
    assert Run.objects.count() == 1


def test_a_run_under_way_becomes_urgent_instead_of_a_second_one() -> None:
    schedule = plan()
    (first,) = alarm(schedule)
    Run.objects.filter(pk=first.pk).update(urgency=Run.Urgency.NORMAL)

    (same,) = alarm(schedule)

    assert (same.pk, same.urgency) == (first.pk, Run.Urgency.URGENT)
    assert AuditEvent.objects.filter(action="evaluations.run_hurried").count() == 1


@pytest.mark.parametrize("changes", [{"enabled": False}, {"on_alarm": False}])
def test_a_schedule_that_does_not_listen_to_alarms_stays_quiet(changes: dict[str, bool]) -> None:
    assert alarm(plan(**changes)) == []


def test_a_schedule_that_cannot_run_says_so_and_does_not_stop_the_alarm() -> None:
    schedule = plan()
    schedule.model_version.endpoint.active = False
    schedule.model_version.endpoint.save()

    assert alarm(schedule) == []

    schedule.refresh_from_db()
    assert "switched off" in schedule.skipped_reason


def test_a_person_triggers_a_schedule_with_a_reason() -> None:
    schedule = plan()
    with pytest.raises(NotAllowed):
        services.trigger_schedule(actor=make_user(Role.AUDITOR), schedule=schedule, reason="x")
    with pytest.raises(InvalidInput) as caught:
        services.trigger_schedule(actor=make_owner(), schedule=schedule, reason="  ")
    assert caught.value.field == "reason"

    run = services.trigger_schedule(actor=make_owner(), schedule=schedule, reason="A hunch.")

    assert run.requested_by is not None
