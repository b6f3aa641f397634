"""Tasks are wake-up calls: they carry nothing, and whoever misses one is woken by the next tick."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.accounts.models import Role
from apps.audit.services import SYSTEM
from apps.core import clock
from apps.evaluations import lifecycle, schedules, services, tasks, wake
from apps.evaluations.models import Run, RunState, Schedule
from tests.evaluations.helpers import start
from tests.fixtures.evaluations import make_owner, make_revision, make_user, make_version
from tests.fixtures.provider import Provider

NOWHERE = "http://127.0.0.1:9/v1"
SEND = wake.workers  # before the fixtures silence it


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would go to the broker."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr("apps.evaluations.wake.workers", SEND)
    monkeypatch.setattr(
        "apps.evaluations.wake.current_app.send_task",
        lambda name, **options: messages.append({"name": name, **options}),
    )
    return messages


@pytest.mark.usefixtures("live")
def test_a_due_schedule_is_run_to_its_end_by_tick_and_work(provider: Provider) -> None:
    schedule = services.create_schedule(
        actor=SYSTEM,
        model_version=make_version(provider.url),
        suite_revision=make_revision(3),
        interval_seconds=3600,
    )
    due = clock.now() - dt.timedelta(seconds=2)
    Schedule.objects.filter(pk=schedule.pk).update(next_due_at=due)

    tasks.tick()
    tasks.work()

    run = Run.objects.get(schedule=schedule)
    assert (run.state, run.due_at, run.totals["answered"]) == (RunState.COMPLETE, due, 3)


@pytest.mark.django_db
def test_the_tick_wakes_workers_as_long_as_there_is_work(sent: list[dict[str, Any]]) -> None:
    run = start(NOWHERE, cases=100)

    tasks.tick()
    assert len(sent) == tasks.MAX_WAKE_UPS

    sent.clear()
    services.cancel_run(actor=make_owner(), run=run)
    tasks.tick()
    assert sent == []


@pytest.mark.django_db(transaction=False)
def test_a_started_run_wakes_a_worker_once_it_is_committed(
    sent: list[dict[str, Any]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        start(NOWHERE)
        assert sent == []

    assert [m["name"] for m in sent] == ["apps.evaluations.tasks.work"]


def test_a_wake_up_call_carries_nothing_and_expires(sent: list[dict[str, Any]]) -> None:
    wake.workers()

    (message,) = sent
    assert set(message) == {"name", "expires", "retry", "ignore_result"}
    assert message["expires"] <= 2 * 3600


def test_a_broker_that_is_down_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr("apps.evaluations.wake.current_app.send_task", refuse)

    SEND()


@pytest.mark.django_db
def test_a_step_of_the_tick_that_fails_does_not_stop_the_others(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(NOWHERE)

    def broken() -> None:
        raise RuntimeError("as told")

    monkeypatch.setattr(schedules, "claim_due", broken)
    monkeypatch.setattr(tasks, "close_old_connections", lambda: None)
    tasks.tick()

    assert len(sent) == 1


@pytest.mark.django_db
def test_work_without_work_returns_at_once() -> None:
    tasks.work()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "moves"),
    [
        (RunState.QUEUED, {"pause", "cancel", "extend"}),
        (RunState.RUNNING, {"pause", "cancel", "extend"}),
        (RunState.PAUSED, {"resume", "cancel", "extend"}),
        (RunState.FAILED, {"retry"}),
        (RunState.PARTIAL, {"retry"}),
        (RunState.COMPLETE, {"retry", "extend"}),
        (RunState.CANCELLED, set()),
    ],
)
def test_the_buttons_of_a_run_are_the_moves_that_the_person_may_make(
    state: RunState, moves: set[str]
) -> None:
    run = start(NOWHERE)
    run.state = state

    assert {m.name for m in lifecycle.moves_for(make_owner(), run)} == moves
    assert lifecycle.moves_for(make_user(Role.AUDITOR), run) == []
