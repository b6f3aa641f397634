"""Whole outputs as watched metrics."""

from __future__ import annotations

import pytest

from apps.drift import wholes
from apps.drift.answered import answered
from apps.drift.metrics import watches_of
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World


def test_a_baseline_with_replicates_watches_whole_outputs_without_a_margin(world: World) -> None:
    baseline = baseline_of(world, suite())
    whole = [m for m in watches_of(baseline) if m.key in wholes.KEYS]
    assert [(m.key, m.margin) for m in whole] == [(k, None) for k in wholes.KEYS]
    assert abs(sum(m.weight for m in watches_of(baseline)) - 1) < 1e-9
    assert not set(wholes.KEYS) & set(baseline.summary["first_rerun"]["weights"])
    values = wholes.of_baseline(answered(baseline.runs.all()))["whole.match"]
    assert {len(v) for v in values.values()} == {2}, "the reference has no score of its own"


def test_a_single_replicate_leaves_nothing_to_compare_whole_outputs_with(world: World) -> None:
    baseline = baseline_of(world, suite(), replicates=1)
    assert not {m.key for m in watches_of(baseline)} & set(wholes.KEYS)


def test_other_words_of_the_same_length_and_score_move_the_whole_output(world: World) -> None:
    baseline_of(world, suite(), texts=["motor desk, as agreed"], value=1.0)
    for _ in range(4):
        comparison = compared(
            run_of(world.version, suite(), texts=["claim site, by lawyer"], value=1.0)
        )
    match = comparison.metrics.get(metric_key="whole.match")
    assert match.baseline_mean == pytest.approx(1.0)
    assert match.current_mean == 0.0
    assert match.log_e > comparison.metrics.get(metric_key="accuracy").log_e + 3
