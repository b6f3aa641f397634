"""The effect's interval holds the baseline's own error and never collapses."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.drift.stats import NotEnoughAnswers, effect_interval
from apps.drift.stats.intervals import anytime_half_width, variance_for_half_width

answers = st.dictionaries(
    st.sampled_from([f"c{i}" for i in range(8)]),
    st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)


def same(score, n, cases=40):
    return {f"c{i}": [score] * n for i in range(cases)}


@given(answers, answers)
@settings(max_examples=150)
def test_any_bounded_answers_give_a_proper_interval_or_a_sentence(baseline, current):
    if not baseline.keys() & current.keys():
        with pytest.raises(ValueError, match="no case has answers in both"):
            effect_interval(baseline, current, alpha=0.05, bounds=(0, 1))
        return
    effect = effect_interval(baseline, current, alpha=0.05, bounds=(0, 1))
    assert -1 <= effect.low <= effect.estimate <= effect.high <= 1
    assert effect.high - effect.low > 0.01


@given(answers, answers, st.floats(min_value=-50, max_value=50), st.floats(0.01, 100))
@settings(max_examples=100)
def test_an_unbounded_metric_may_change_its_units(baseline, current, shift, factor):
    def moved(arm):
        return {case: [x * factor for x in xs] for case, xs in arm.items()}

    try:
        plain = effect_interval(baseline, current, alpha=0.05, bounds=None)
        scaled = effect_interval(moved(baseline), moved(current), alpha=0.05, bounds=None)
    except ValueError:
        return
    assert scaled.high - scaled.low == pytest.approx(factor * (plain.high - plain.low), rel=1e-6)


def test_the_estimate_is_the_mean_over_cases_of_paired_differences():
    effect = effect_interval(
        {"a": [1, 1], "b": [0, 1], "only-before": [1]},
        {"a": [0, 1], "b": [0], "only-after": [1], "empty": []},
        alpha=0.05,
        bounds=(0, 1),
    )
    assert effect.estimate == pytest.approx((-0.5 - 0.5) / 2)
    assert (effect.n_cases, effect.n_baseline, effect.n_current) == (2, 4, 3)
    assert effect.baseline_mean == 0.75
    assert effect.relative == pytest.approx(-0.5 / 0.75)


def test_weights_shift_the_estimate_and_are_rescaled():
    before, after = {"a": [1, 1], "b": [1, 1]}, {"a": [0, 0], "b": [1, 1]}
    effect = effect_interval(before, after, alpha=0.05, bounds=(0, 1), weights={"a": 3, "b": 1})
    assert effect.estimate == pytest.approx(-0.75)


def test_answers_that_never_varied_still_leave_room_for_three_flips_in_n():
    effect = effect_interval(same(1.0, 3), same(1.0, 300), alpha=0.05, bounds=(0, 1))
    assert effect.estimate == 0
    assert effect.high == -effect.low
    assert effect.high > 3 / 120


def test_an_unbounded_metric_that_never_varied_does_not_collapse_either():
    before = {f"c{i}": [100.0 + i] * 3 for i in range(40)}
    effect = effect_interval(before, before, alpha=0.05, bounds=None)
    assert effect.high - effect.low > 1


def test_a_small_baseline_bounds_the_width_however_long_the_reruns():
    rng = np.random.default_rng(1)
    before = {f"c{i}": (rng.random(3) < 0.7).astype(float).tolist() for i in range(40)}
    after = {f"c{i}": (rng.random(2000) < 0.7).astype(float).tolist() for i in range(40)}
    effect = effect_interval(before, after, alpha=0.05, bounds=(0, 1))
    assert effect.high - effect.low > 2 * 1.96 * math.sqrt(0.7 * 0.3 / 120)


def test_the_interval_is_useful_with_forty_cases_three_before_and_five_after():
    rng = np.random.default_rng(2)
    rates = rng.beta(2, 1, 40)
    widths = []
    for _ in range(20):
        before = {f"c{i}": (rng.random(3) < q).astype(float).tolist() for i, q in enumerate(rates)}
        after = {f"c{i}": (rng.random(5) < q).astype(float).tolist() for i, q in enumerate(rates)}
        effect = effect_interval(before, after, alpha=0.05, bounds=(0, 1))
        widths.append((effect.high - effect.low) / 2)
    assert np.median(widths) < 0.18


def test_single_answers_take_their_noise_from_the_spread_of_paired_differences():
    rng = np.random.default_rng(3)
    level = rng.normal(100, 30, 40)
    before = {f"c{i}": [x + rng.normal()] for i, x in enumerate(level)}
    after = {f"c{i}": [x + rng.normal()] for i, x in enumerate(level)}
    effect = effect_interval(before, after, alpha=0.05, bounds=None)
    assert effect.high - effect.low < 6  # far below the spread of 30 between cases


def test_one_case_with_one_answer_is_as_wide_as_the_bounds_or_refused():
    effect = effect_interval({"c": [1]}, {"c": [1]}, alpha=0.05, bounds=(0, 1))
    assert (effect.low, effect.high) == (-1, 1)
    with pytest.raises(NotEnoughAnswers, match=r"^current: one case"):
        effect_interval({"c": [1]}, {"c": [1]}, alpha=0.05, bounds=None)


def test_all_zero_without_bounds_says_that_no_scale_is_known():
    with pytest.raises(NotEnoughAnswers, match="every answer is 0"):
        effect_interval(same(0.0, 3), same(0.0, 3), alpha=0.05, bounds=None)


def test_a_baseline_mean_of_0_has_no_relative_effect():
    effect = effect_interval(same(0.0, 3), same(1.0, 3), alpha=0.05, bounds=(0, 1))
    assert effect.relative is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"^baseline\['a'\]"):
        effect_interval({"a": [bad]}, {"a": [1]}, alpha=0.05, bounds=(0, 1))
    with pytest.raises(ValueError, match=r"^current\['a'\]"):
        effect_interval({"a": [1]}, {"a": [bad]}, alpha=0.05, bounds=None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"baseline": {}}, "^baseline: has no answer"),
        ({"baseline": {"a": []}}, "^baseline: has no answer"),
        ({"current": {}}, "^current: has no answer"),
        ({"current": {"z": [1]}}, "^current: no case"),
        ({"alpha": 0}, "^alpha"),
        ({"alpha": math.nan}, "^alpha"),
        ({"bounds": (1, 0)}, "^bounds"),
        ({"bounds": (0, math.inf)}, "^bounds"),
        ({"current": {"a": [2]}}, r"^current\['a'\]: 2.0 is out of bounds"),
        ({"weights": {}}, "^weights: has no weight"),
        ({"weights": {"a": -1}}, r"^weights\['a'\]"),
        ({"weights": {"a": 0}}, "^weights: at least one"),
    ],
)
def test_unusable_arguments_are_refused_by_name(changes, sentence):
    arguments = {
        "baseline": {"a": [1, 0]},
        "current": {"a": [1]},
        "alpha": 0.05,
        "bounds": (0, 1),
        **changes,
    }
    with pytest.raises(ValueError, match=sentence):
        effect_interval(
            arguments.pop("baseline"),
            arguments.pop("current"),
            **arguments,
        )


@given(st.floats(1e-6, 10), st.floats(0, 1), st.floats(0.001, 0.2))
def test_more_reruns_never_widen_the_interval(variance, share, alpha):
    base = variance * share
    wide = anytime_half_width(variance=variance, baseline_variance=base, alpha=alpha)
    narrow = anytime_half_width(variance=(variance + base) / 2, baseline_variance=base, alpha=alpha)
    if base > 0:
        assert narrow <= wide * (1 + 1e-9)
    z = 1.6448536
    assert wide > z * math.sqrt(variance) * 0.7


def test_the_variance_for_a_width_is_the_inverse_of_the_width():
    variance = variance_for_half_width(half_width=0.1, baseline_variance=1e-3, alpha=0.05)
    assert variance is not None
    width = anytime_half_width(variance=variance, baseline_variance=1e-3, alpha=0.05)
    assert width == pytest.approx(0.1, rel=1e-6)
    assert variance_for_half_width(half_width=0.05, baseline_variance=1e-3, alpha=0.05) is None
