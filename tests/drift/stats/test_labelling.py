"""The first rerun's test: exact over all namings, blind to units, quick to see many features."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from apps.drift.stats import first_rerun_log_e

WEIGHTS = {"length": 0.5, "ends": 0.25, "score": 0.25}


def split(bags, named):
    """Baseline and current out of bags of whole answers (tuples of features)."""
    before = {f: {} for f in WEIGHTS}
    now = {f: {} for f in WEIGHTS}
    for case, (bag, new) in enumerate(zip(bags, named, strict=True)):
        for i, feature in enumerate(WEIGHTS):
            values = [answer[i] for answer in bag]
            now[feature][f"c{case}"] = [values[new]]
            before[feature][f"c{case}"] = values[:new] + values[new + 1 :]
    return before, now


@pytest.mark.parametrize("replicates", [1, 2])
def test_over_all_namings_the_mean_is_exactly_1_and_with_more_answers_less(replicates):
    rng = np.random.default_rng(5)
    sizes = [replicates + 1] * 4
    bags = [
        [
            (float(rng.integers(0, 3)), float(rng.integers(0, 2)), float(rng.normal()))
            for _ in "x" * n
        ]
        for n in sizes
    ]
    values = [
        math.exp(first_rerun_log_e(*split(bags, named), weights=WEIGHTS, key="k"))
        for named in itertools.product(*(range(n) for n in sizes))
    ]
    if replicates == 1:
        assert np.mean(values) == pytest.approx(1.0, abs=1e-9)
    assert 0.5 < np.mean(values) <= 1.0 + 1e-9


def lives(changed, cases, *, seed, replicates=1):
    rng = np.random.default_rng(seed)
    shift = 3.0 if changed else 0.0
    bags = [
        [tuple(rng.normal(size=3)) for _ in range(replicates)] + [tuple(rng.normal(size=3) + shift)]
        for _ in range(cases)
    ]
    return split(bags, [replicates] * cases)


def test_an_unchanged_model_alarms_at_most_at_rate_alpha_with_few_and_with_many_cases():
    few = [
        first_rerun_log_e(*lives(False, 8, seed=s), weights=WEIGHTS, key=str(s)) for s in range(300)
    ]
    many = [
        first_rerun_log_e(*lives(False, 20, seed=s), weights=WEIGHTS, key=str(s)) for s in range(40)
    ]
    assert np.mean([log_e >= math.log(20) for log_e in few]) <= 0.08
    assert np.mean(np.exp(few)) < 1.6
    assert sum(log_e >= math.log(100) for log_e in many) <= 2


def test_ten_pairs_that_moved_together_are_beyond_a_hundred():
    assert first_rerun_log_e(*lives(True, 10, seed=1), weights=WEIGHTS, key="k") > math.log(200)


def test_units_do_not_matter_and_the_same_answers_give_the_same_number():
    before, now = lives(True, 9, seed=2)
    one = first_rerun_log_e(before, now, weights=WEIGHTS, key="k")
    scaled = [
        {f: {c: [math.exp(v) for v in vs] for c, vs in cases.items()} for f, cases in arm.items()}
        for arm in (before, now)
    ]
    assert first_rerun_log_e(*scaled, weights=WEIGHTS, key="k") == one


def test_identical_answers_are_no_evidence():
    bags = [[(1.0, 2.0, 3.0)] * 2 for _ in range(30)]
    assert first_rerun_log_e(*split(bags, [1] * 30), weights=WEIGHTS, key="k") == pytest.approx(0)


def test_nothing_in_common_is_no_evidence():
    before, now = lives(True, 3, seed=1)
    assert first_rerun_log_e({}, now, weights=WEIGHTS, key="k") == 0.0
    assert first_rerun_log_e(before, {f: {} for f in now}, weights=WEIGHTS, key="k") == 0.0
    assert first_rerun_log_e(before, now, weights={}, key="k") == 0.0
