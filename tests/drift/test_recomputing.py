"""Whoever doubts a verdict finds its numbers again from the file that a change offers."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from apps.core import clock
from apps.drift import evidence
from apps.drift.models import ChangeEvent, Probe, ProbeEvidence, ProbeRound
from apps.drift.recomputing import document
from apps.drift.services import open_or_extend_change_event
from apps.drift.stats.probes import RoundBets
from apps.drift.stats.recompute import recompute
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World, approve


@pytest.fixture
def told(world: World) -> dict[str, Any]:
    """Two quiet reruns and two changed ones, as the document and once through JSON."""
    approve(world)
    baseline_of(world, suite())
    for seed in (2, 3):
        compared(run_of(world.version, suite(), seed=seed))
    event = None
    for seed in (4, 5):
        run = run_of(world.version, suite(), seed=seed, changed=True)
        event = open_or_extend_change_event(comparison=compared(run))
    assert event is not None
    found: dict[str, Any] = json.loads(json.dumps(document(event), allow_nan=False))
    return found


def test_every_recorded_number_comes_out_again(told: dict[str, Any]) -> None:
    result = recompute(told)
    assert result.ok, result.differing[:3]
    assert result.looks == 4
    where = [check.where for check in result.checks]
    parts = ("accuracy: log e-value", "accuracy: effect, low", "version, look 4: combined log")
    for part in parts:
        assert any(part in said for said in where), part


def test_it_holds_scores_and_no_text_of_any_answer(told: dict[str, Any]) -> None:
    text = json.dumps(told)
    assert "Happy to help" not in text
    assert "desk" not in text


@pytest.mark.parametrize("place", ["answers", "recorded", "baseline", "weight", "life"])
def test_a_number_that_was_changed_is_found(told: dict[str, Any], place: str) -> None:
    forged = copy.deepcopy(told)
    baseline = forged["baselines"][0]
    look = baseline["looks"][2]
    if place == "answers":
        case = next(iter(look["answers"]["style.words"]))
        look["answers"]["style.words"][case] = [1.0]
    elif place == "recorded":
        look["recorded"]["log_e"] += 0.5
    elif place == "life":
        forged["lives"][0]["sources"][0]["weight"] /= 2
    elif place == "weight":
        baseline["metrics"][0]["weight"] += 0.1
        baseline["metrics"][1]["weight"] -= 0.1
    else:
        baseline["answers"]["accuracy"] = {
            case: [0.0 for _ in values] for case, values in baseline["answers"]["accuracy"].items()
        }
    assert recompute(told).ok
    assert not recompute(forged).ok


def test_a_change_found_by_a_probe_alone_comes_out_again(world: World) -> None:
    probe = Probe.objects.create(
        model_version=world.version,
        kind="logprob",
        interval_seconds=3600,
        collect_seconds=3600,
        days_wanted=1,
        rounds_wanted=2,
        alpha=0.01,
    )
    source = evidence.attach(
        model_version=world.version, kind=evidence.Kind.PROBE, key=str(probe.pk)
    )
    bets, rng = RoundBets(), random.Random(7)
    row = None
    for number in range(1, 9):
        ranks = {f"p{n}": rng.uniform(0.001, 1.0 if number < 6 else 0.05) for n in range(10)}
        if number > 1:  # the first round is the reference: it has no rank
            bets.update([ranks[p] for p in sorted(ranks)])
        row = ProbeRound.objects.create(
            probe=probe,
            number=number,
            due_at=clock.now(),
            phase="watching",
            asked=10,
            answered=10,
            ranks=ranks if number > 1 else {},
            log_e=bets.log_e,
            max_log_e=bets.max_log_e,
            started_at=clock.now(),
            finished_at=clock.now(),
        )
        evidence.advance(source=source, log_e=bets.log_e, ref=str(row.pk))
    event = ChangeEvent.objects.create(
        number=1,
        model_version=world.version,
        verdict="changed_immaterial",
        window_start=clock.now(),
        window_end=clock.now(),
        sentence="First tokens differ.",
    )
    assert row is not None
    ProbeEvidence.objects.create(change_event=event, round=row, sentence="First tokens differ.")
    told = json.loads(json.dumps(document(event), allow_nan=False))
    result = recompute(told)
    assert result.ok, result.differing[:3]
    assert {c.where.split(",")[0] for c in result.checks} == {"probe logprob", "version"}
    told["probes"][0]["rounds"][4]["ranks"][0] = 0.9999
    assert not recompute(told).ok


@pytest.mark.parametrize(
    "damage", [{"format": "other"}, {"baselines": [{}]}, {"baselines": [{"suite": 1}]}]
)
def test_a_damaged_file_is_refused_by_name(told: dict[str, Any], damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"format|baselines\[0\]"):
        recompute({**told, **damage})
