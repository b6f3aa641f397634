"""The whole chain from a finished run to a held gate, and what happens when a step fails."""

from __future__ import annotations

from typing import Any

import pytest

from apps.access.models import ReauthDemand
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.models import Outbox
from apps.drift.models import ChangeEvent, Comparison
from apps.evaluations.models import Run
from apps.registry import gate
from apps.tickets.models import ControlAction, Ticket
from govtrack import pipeline
from govtrack.pipeline import drain_once
from tests.drift.story import baseline_of, run_of, suite
from tests.world import World, approve, world

__all__ = ["world"]


@pytest.fixture
def approved(world: World) -> World:
    approve(world)
    baseline_of(world, suite())
    drain_once()
    return world


def finish(run: Run) -> Run:
    """The word that a worker leaves in the transaction that ends a run."""
    Outbox.put("run.finished", run.pk, run_id=str(run.pk))
    return run


def changed_run(world: World, slug: str = "claims-triage") -> Run:
    return finish(run_of(world.version, suite(slug), seed=9, changed=True))


def answer(world: World) -> str:
    return str(gate.check(use_case=world.use_case, model_version=world.version).answer)


def counts() -> tuple[int, ...]:
    return tuple(
        model.objects.count()
        for model in (Comparison, ChangeEvent, Ticket, ControlAction, ReauthDemand, AuditEvent)
    )


def due_now() -> None:
    Outbox.objects.filter(done_at__isnull=True).update(available_at=clock.now())


def test_a_silent_change_ends_in_one_ticket_a_held_gate_and_fresh_sign_ins(
    approved: World,
) -> None:
    assert answer(approved) == "allow"
    changed_run(approved)
    drain_once()
    ticket = Ticket.objects.get()
    assert ticket.change_event == ChangeEvent.objects.get()
    assert ticket.severity == "critical"
    assert answer(approved) == "hold"
    demanded = set(ReauthDemand.objects.values_list("user__display_name", flat=True))
    assert demanded >= {"Greta Lead", "Henrik Lead"}
    assert "Aaron Auditor" not in demanded


def test_unchanged_reruns_end_in_nothing(approved: World) -> None:
    for seed in range(2, 7):
        finish(run_of(approved.version, suite(), seed=seed))
        drain_once()
    assert Comparison.objects.count() == 5
    assert not ChangeEvent.objects.exists()
    assert not Ticket.objects.exists()
    assert answer(approved) == "allow"


def test_draining_twice_does_nothing_twice(approved: World) -> None:
    changed_run(approved)
    drain_once()
    before = counts()
    assert drain_once() == 0
    assert counts() == before


def test_every_row_done_again_changes_nothing(approved: World) -> None:
    changed_run(approved)
    drain_once()
    before = counts()
    Outbox.objects.update(done_at=None)
    drain_once()
    assert counts() == before
    assert not Outbox.objects.filter(attempts__gt=0).exists()


def test_two_suites_are_one_ticket(approved: World) -> None:
    baseline_of(approved, suite("claims-style"))
    changed_run(approved)
    changed_run(approved, "claims-style")
    drain_once()
    assert Ticket.objects.count() == 1
    assert ChangeEvent.objects.get().comparisons.count() == 2


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("no.such.topic", {}),
        ("run.finished", {}),
        ("run.finished", {"run_id": "not a uuid"}),
        ("run.finished", {"run_id": "00000000-0000-0000-0000-000000000000"}),
    ],
)
def test_a_poisoned_row_is_put_off_and_the_others_go_on(
    approved: World, topic: str, payload: dict[str, Any]
) -> None:
    Outbox.put(topic, "poison", **payload)
    changed_run(approved)
    drain_once()
    poison = Outbox.objects.get(key="poison")
    assert poison.done_at is None
    assert poison.attempts == 1
    assert poison.last_error
    assert poison.available_at > clock.now()
    assert Ticket.objects.count() == 1


def test_a_row_that_keeps_failing_waits_longer_but_not_for_ever(approved: World) -> None:
    Outbox.put("no.such.topic", "poison")
    Outbox.objects.filter(key="poison").update(attempts=4_000)
    drain_once()
    wait = (Outbox.objects.get(key="poison").available_at - clock.now()).total_seconds()
    assert 0 < wait <= pipeline.MAX_BACKOFF_SECONDS


class Killed(BaseException):
    """Not an Exception: what a worker's end looks like from inside."""


@pytest.mark.parametrize("death", [RuntimeError, Killed])
@pytest.mark.parametrize(
    "topic", ["run.finished", "comparison.made", "change.opened", "ticket.opened"]
)
def test_a_worker_that_dies_between_call_and_mark_leaves_the_step_to_the_next(
    approved: World, monkeypatch: pytest.MonkeyPatch, topic: str, death: type[BaseException]
) -> None:
    step = pipeline.STEPS[topic]

    def die(payload: dict[str, Any]) -> None:
        step(payload)
        raise death("between call and mark")

    changed_run(approved)
    with monkeypatch.context() as patch:
        patch.setitem(pipeline.STEPS, topic, die)
        try:
            drain_once()
        except Killed:
            assert death is Killed
    assert Outbox.objects.filter(topic=topic, done_at__isnull=True).count() == 1
    due_now()
    drain_once()
    assert not Outbox.objects.filter(done_at__isnull=True).exists()
    assert Comparison.objects.count() == 1
    assert Ticket.objects.count() == 1
    assert answer(approved) == "hold"
    kinds = list(ControlAction.objects.values_list("kind", "target_id"))
    assert len(kinds) == len(set(kinds))


def test_a_limit_leaves_the_rest_for_the_next_tick(approved: World) -> None:
    changed_run(approved)
    assert drain_once(limit=1) == 1
    assert Comparison.objects.count() == 1
    assert not ChangeEvent.objects.exists()


def test_a_step_that_fails_leaves_nothing_half_written(
    approved: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = pipeline.STEPS["run.finished"]

    def fail(payload: dict[str, Any]) -> None:
        step(payload)
        raise RuntimeError("after the writes")

    monkeypatch.setitem(pipeline.STEPS, "run.finished", fail)
    before = counts()
    run = changed_run(approved)
    drain_once()
    assert counts() == before
    assert Outbox.objects.get(topic="run.finished", key=str(run.pk)).attempts == 1
    assert not Outbox.objects.filter(topic="comparison.made").exists()
