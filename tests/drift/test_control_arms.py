"""A control arm: what moves both the version and its pinned control is ours."""

from __future__ import annotations

import pytest

from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.drift import control_arms, services
from apps.drift.models import ChangeEvent, ControlFinding
from govtrack import pipeline
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def pinned(world: World):
    return world.another_version()


def change(world: World, pinned, *, control_moves: bool) -> ChangeEvent:
    revision = suite()
    baseline_of(world, revision)
    control = run_of(pinned, revision, purpose="baseline", replicates=3, seed=5)
    services.create_baseline(
        actor=world.owner, model_version=pinned, suite_revision=revision, runs=[control]
    )
    for seed in range(2):
        compared(run_of(pinned, revision, seed=seed + 9, changed=control_moves))
        compared(run_of(world.version, revision, seed=seed, changed=True))
        pipeline.drain_once()
    return ChangeEvent.objects.get(model_version=world.version)


def test_a_control_that_stays_says_that_it_is_not_us(world, pinned):
    control_arms.add_control(actor=world.owner, model_version=world.version, control_version=pinned)
    event = change(world, pinned, control_moves=False)
    finding = ControlFinding.objects.latest("created_at")
    assert (finding.change_event, finding.together) == (event, False)
    assert f"The control {pinned} did not move" in event.sentence


def test_a_control_that_moves_too_says_that_it_is_us(world, pinned):
    control_arms.add_control(actor=world.owner, model_version=world.version, control_version=pinned)
    event = change(world, pinned, control_moves=True)
    assert ControlFinding.objects.latest("created_at").together
    assert "before blaming the provider" in event.sentence


def test_without_a_control_nothing_is_said(world, pinned):
    event = change(world, pinned, control_moves=True)
    assert not ControlFinding.objects.exists()
    assert "control" not in event.sentence.lower()


def test_an_alias_is_no_control_and_nobody_controls_itself(world, pinned):
    with pytest.raises(InvalidInput, match="own control"):
        control_arms.add_control(actor=world.owner, model_version=pinned, control_version=pinned)
    with pytest.raises(InvalidInput, match="alias"):
        control_arms.add_control(
            actor=world.owner, model_version=pinned, control_version=world.version
        )
    control_arms.add_control(actor=world.owner, model_version=world.version, control_version=pinned)
    with pytest.raises(Conflict):
        control_arms.add_control(
            actor=world.owner, model_version=world.version, control_version=pinned
        )
    with pytest.raises(NotAllowed):
        control_arms.add_control(
            actor=world.auditor, model_version=world.version, control_version=pinned
        )


def test_another_client_since_the_baseline_is_written_on_the_comparison(world):
    revision = suite()
    baseline = baseline_of(world, revision)
    baseline.runs.update(client_version="openai/1 httpx/1")
    run = run_of(world.version, revision, seed=3)
    run.client_version = "openai/2 httpx/1"
    run.save(update_fields=["client_version"])
    [note] = [n for n in compared(run).method["confounders"] if n["what"] == "client"]
    assert (note["before"], note["now"]) == (["openai/1 httpx/1"], "openai/2 httpx/1")
