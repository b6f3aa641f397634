"""Ranks are uniform, independent, and the same for whoever recomputes them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from apps.drift.stats import recorded_uniform, smoothed_rank
from apps.drift.stats.history import History

scores = st.floats(allow_nan=False, allow_infinity=False, width=32)
few_scores = st.sampled_from([0.0, 0.5, 1.0, -2.0])
uniforms = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)
# Two-point Gauss quadrature: exact means over u of polynomials up to degree 3.
GAUSS = (0.5 - 0.5 / math.sqrt(3), 0.5 + 0.5 / math.sqrt(3))


@given(st.lists(scores), scores, uniforms)
def test_a_rank_lies_strictly_between_0_and_1(history, value, u):
    assert 0.0 < smoothed_rank(history, value, u) < 1.0


@given(st.lists(few_scores), few_scores, uniforms, st.randoms())
def test_the_order_of_the_history_does_not_matter(history, value, u, random):
    shuffled = list(history)
    random.shuffle(shuffled)
    assert smoothed_rank(history, value, u) == smoothed_rank(shuffled, value, u)


@given(st.lists(scores | few_scores), scores | few_scores, uniforms)
def test_counts_by_value_give_the_same_rank_as_the_plain_list(history, value, u):
    assert History.of(history).rank(value, u) == smoothed_rank(history, value, u)


@pytest.mark.parametrize("bag", [(1, 2, 3, 4), (0, 0, 1, 1), (0, 0, 0, 0), (0, 1, 1, 2)])
def test_over_all_orders_of_a_bag_ranks_are_uniform_and_independent(bag):
    first, second = [], []
    for order in itertools.permutations(bag):
        for u, v in itertools.product(GAUSS, GAUSS):
            first.append(smoothed_rank(order[:2], order[2], u))
            second.append(smoothed_rank(order[:3], order[3], v))
    p, q = np.array(first), np.array(second)
    assert p.mean() == pytest.approx(1 / 2, abs=1e-12)
    assert q.mean() == pytest.approx(1 / 2, abs=1e-12)
    assert (q**2).mean() == pytest.approx(1 / 3, abs=1e-12)
    assert (p * q).mean() == pytest.approx(1 / 4, abs=1e-12)


def test_ties_are_broken_by_the_recorded_number():
    assert smoothed_rank([1, 1, 1], 1, 0.25) == 0.25
    assert smoothed_rank([0, 1, 1, 2], 1, 0.5) == (1 + 0.5 * 3) / 5


def test_an_empty_history_gives_the_random_number_itself():
    assert smoothed_rank([], 7.0, 0.3) == 0.3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"^value"):
        smoothed_rank([1.0], bad, 0.5)
    with pytest.raises(ValueError, match=r"^history"):
        smoothed_rank([bad], 1.0, 0.5)
    with pytest.raises(ValueError, match=r"^u:"):
        smoothed_rank([1.0], 1.0, bad)


@pytest.mark.parametrize("u", [0.0, 1.0, -0.1, 1.1])
def test_a_tie_breaker_outside_the_open_interval_is_refused(u):
    with pytest.raises(ValueError, match=r"^u:"):
        smoothed_rank([1.0], 1.0, u)


def test_the_recorded_number_never_changes_between_releases():
    assert recorded_uniform("watch", "case", "0", "run") == 0.08425620148717161
    assert recorded_uniform("") == 0.6848974799809221


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_the_recorded_number_is_repeatable_and_inside_the_interval(parts):
    assert recorded_uniform(*parts) == recorded_uniform(*parts)
    assert 0.0 < recorded_uniform(*parts) < 1.0


def test_moving_a_letter_between_parts_gives_another_number():
    assert recorded_uniform("a", "bc") != recorded_uniform("ab", "c")


def test_recorded_numbers_look_uniform():
    draws = [recorded_uniform("w", "c", str(i), "r") for i in range(5000)]
    assert kstest(draws, "uniform").pvalue > 0.001


def test_thinning_keeps_at_least_half_and_never_the_order():
    one, other = History.of([5, 1, 4, 2, 3, 3]), History.of([3, 3, 2, 4, 1, 5])
    one.thin(4, "key")
    other.thin(4, "key")
    assert one == other
    assert one.total == 3
    assert one.seen == 6


def test_two_different_values_are_never_thinned():
    history = History.of([0, 1] * 1000)
    history.thin(2, "key")
    assert history.total == 2000


def test_ranks_stay_uniform_and_independent_when_histories_are_thinned_often():
    rng = np.random.default_rng(5)
    ranks = np.empty((300, 30))
    for stream in range(300):
        history = History.of(rng.normal(size=3))
        for i in range(30):
            value = float(rng.normal())
            ranks[stream, i] = history.rank(value, float(rng.uniform(1e-9, 1)))
            history.add(value)
            history.thin(6, str(stream))
    assert kstest(ranks.ravel(), "uniform").pvalue > 0.001
    for lag in (1, 2, 5):
        correlation = np.corrcoef(ranks[:, lag:].ravel(), ranks[:, :-lag].ravel())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(300 * (30 - lag))
    assert np.var(ranks.mean(axis=1)) == pytest.approx(1 / 12 / 30, rel=0.35)


@pytest.mark.parametrize(
    ("values", "counts", "seen"),
    [([1.0, 0.0], [1, 1], 2), ([1.0], [0], 0), ([1.0], [1, 2], 3), ([1.0], [3], 2)],
)
def test_a_damaged_stored_history_is_refused(values, counts, seen):
    with pytest.raises(ValueError, match=r"^state\."):
        History.from_state(values, counts, seen)
