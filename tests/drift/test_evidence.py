"""One error rate for a version: weights dealt before looking, joined from the reserve only."""

from __future__ import annotations

import math

import pytest

from apps.drift import evidence
from apps.drift.models import EvidenceLook
from apps.drift.services import close_change_event, open_or_extend_change_event
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World

LINE = -math.log(0.01)


def test_sources_that_join_never_raise_what_is_at_stake(world: World) -> None:
    kinds = [("suite", "a"), ("probe", "p"), ("identity", "i"), ("suite", "b"), ("suite", "c")]
    for number, (kind, key) in enumerate(kinds):
        source = evidence.attach(model_version=world.version, kind=kind, key=key)
        evidence.advance(source=source, log_e=0.0, ref=f"{number}")
        life = evidence.current(world.version)
        assert life is not None
        assert life.log_e == pytest.approx(0.0, abs=1e-12)
        assert sum(s.weight or 0 for s in life.sources.all()) < 1.0


def test_a_late_source_leaves_the_earlier_weights_alone(world: World) -> None:
    first = evidence.attach(model_version=world.version, kind="suite", key="a")
    evidence.advance(source=first, log_e=1.0, ref="1")
    first.refresh_from_db()
    late = evidence.attach(model_version=world.version, kind="probe", key="p")
    evidence.advance(source=late, log_e=0.0, ref="1")
    before = first.weight
    first.refresh_from_db()
    late.refresh_from_db()
    assert first.weight == before == pytest.approx(0.9)
    assert late.weight == pytest.approx(0.05)


def test_the_same_look_is_recorded_once(world: World) -> None:
    source = evidence.attach(model_version=world.version, kind="probe", key="p")
    first = evidence.advance(source=source, log_e=2.0, ref="round-1")
    assert evidence.advance(source=source, log_e=9.0, ref="round-1") == first
    assert EvidenceLook.objects.count() == 1


def test_two_suites_share_one_alarm_line_and_probes_add_to_them(world: World) -> None:
    for slug in ("one", "two"):
        baseline_of(world, suite(slug))
    compared(run_of(world.version, suite("one"), seed=2))
    life = evidence.current(world.version)
    assert life is not None
    assert [s.weight for s in life.sources.all()] == pytest.approx([0.45, 0.45])
    probe = evidence.attach(model_version=world.version, kind="probe", key="logprobs")
    look = evidence.advance(source=probe, log_e=math.log(3000.0), ref="round-1")
    assert look.log_e >= LINE, "0.05 of 3,000 is beyond 100"
    after = compared(run_of(world.version, suite("two"), seed=3))
    assert after.verdict.startswith("changed"), "the version has changed, whoever saw it"


def test_a_decision_begins_a_new_life_with_an_alpha_of_its_own(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), seed=2, changed=True))
    event = open_or_extend_change_event(comparison=comparison)
    assert event is not None
    old = evidence.current(world.version)
    assert old is not None
    assert evidence.alarmed(old)
    close_change_event(actor=world.owner, change_event=event, reason="false alarm")
    new = evidence.current(world.version)
    assert new is not None
    assert (new.log_e, new.sources.count()) == (0.0, 1)
    old.refresh_from_db()
    assert old.ended_at is not None
