"""Days that move whole runs move a large suite more, measured in its own noise: the error rate must
hold there too, for every kind of baseline. All layers together, as `make bench-detection` has them.

100 lives at the promised 1 % have more than four alarms with a probability of 0.3 %.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
from apps.drift.stats.run_effect import design_effect
from apps.drift.stats.watch import CaseWatch
from benchmarks.detection.lifetimes import Lives


@pytest.mark.parametrize(
    ("cases", "replicates", "occasions"),
    [(100, 1, False), (100, 5, False), (100, 5, True), (250, 1, False), (250, 5, True)],
    ids=lambda value: str(value),
)
def test_an_unchanged_version_with_a_large_suite_raises_no_more_alarms(
    cases: int, replicates: int, occasions: bool
) -> None:
    lives = Lives(100, seed=31, cases=cases, replicates=replicates, occasions=occasions)
    assert (lives.run(25) > 0).sum() <= 4


def test_a_large_suite_finds_a_change_all_the_same() -> None:
    lives = Lives(40, seed=32, cases=100, occasions=True)
    found = lives.run(12, change=5, drop=0.2)
    assert (found > 5).sum() >= 36


def alarmed(seed: int, *, cases: int, replicates: int, one_day: bool) -> bool:
    """One unchanged life of 20 reruns with several answers a case, by accuracy alone."""
    random = np.random.default_rng(seed)
    rates = np.clip(random.beta(2, 1, cases), 1e-4, 1 - 1e-4)

    def answers(days: int, each: int) -> dict[str, list[float]]:
        logits = np.log(rates / (1 - rates))[:, None] + random.normal(0, 0.3, days)
        shares = np.repeat(1 / (1 + np.exp(-logits)), each, axis=1)
        drawn = (random.random(shares.shape) < shares).astype(float)
        return {f"c{i}": row.tolist() for i, row in enumerate(drawn)}

    baseline = answers(1, 5) if one_day else answers(5, 1)
    watch = CaseWatch.start(baseline, "w", one_day=one_day)
    for day in range(20):
        watch.observe_run(f"{day}", answers(1, replicates))
    return watch.max_log_e >= math.log(100)


@pytest.mark.parametrize("one_day", [True, False])
def test_nor_does_one_whose_reruns_have_several_answers_a_case(one_day: bool) -> None:
    found = sum(alarmed(s, cases=60, replicates=5, one_day=one_day) for s in range(80))
    assert found <= 4


def test_what_was_measured_is_carried_over_to_runs_of_another_size() -> None:
    seen = 200 * [1.5 * 0.4549]  # half as much again as independent answers of 20 cases
    assert design_effect(seen, answers=20, sizes=[20] * 200) == pytest.approx(1.5)
    assert design_effect(seen, answers=100, sizes=[20] * 200) == pytest.approx(3.5)
    assert design_effect(seen, answers=100, sizes=[100] * 200) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="zip"):
        design_effect(seen, answers=20, sizes=[20])
