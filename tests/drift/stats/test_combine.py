"""Averages of e-values are e-values; e-BH follows the paper."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.drift.stats import RestartMixture, combine_log_e, e_bh

logs = st.lists(st.floats(min_value=-50, max_value=50), min_size=1, max_size=10)


@given(logs)
def test_the_combination_is_the_average_of_the_e_values(log_es):
    assert combine_log_e(log_es) == pytest.approx(math.log(np.mean(np.exp(log_es))), abs=1e-9)


@given(logs)
def test_the_combination_lies_between_the_smallest_and_the_largest(log_es):
    assert min(log_es) - 1e-9 <= combine_log_e(log_es) <= max(log_es) + 1e-9


def test_even_fully_dependent_martingales_combine_to_mean_1():
    values = []
    for below in itertools.product(range(4), repeat=3):  # every place among three answers
        one, opposite = RestartMixture(), RestartMixture()
        one.update_intervals(below, [0] * 3, [3] * 3)
        opposite.update_intervals([3 - b for b in below], [0] * 3, [3] * 3)
        values.append(math.exp(combine_log_e([one.log_e, opposite.log_e], [0.7, 0.3])))
    assert np.mean(values) == pytest.approx(1.0, abs=1e-12)


def test_huge_and_vanished_e_values_are_combined_without_overflow():
    assert combine_log_e([5000.0, -math.inf]) == pytest.approx(5000 - math.log(2))
    assert combine_log_e([-math.inf, -math.inf]) == -math.inf
    assert combine_log_e([9.0, 1.0], [0.0, 1.0]) == 1.0


@pytest.mark.parametrize(
    ("log_es", "weights", "sentence"),
    [
        ([], None, "^log_es"),
        ([math.nan], None, "^log_es"),
        ([math.inf], None, "^log_es"),
        ([1.0, 2.0], [1.0], "^weights"),
        ([1.0, 2.0], [0.7, 0.7], "^weights"),
        ([1.0, 2.0], [1.5, -0.5], "^weights"),
        ([1.0, 2.0], [math.nan, 0.5], "^weights"),
    ],
)
def test_unusable_combinations_are_refused_by_name(log_es, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        combine_log_e(log_es, weights)


def test_e_bh_rejects_the_k_largest():
    # n = 4, alpha = 5 %: lines 80, 40, 26.7, 20.
    e_values = [30.0, 1.0, 90.0, 27.0]
    assert e_bh([math.log(e) for e in e_values], 0.05) == [0, 2, 3]
    assert e_bh([math.log(e) for e in [79.0, 1.0, 1.0, 1.0]], 0.05) == []
    assert e_bh([], 0.05) == []


def test_e_bh_with_one_hypothesis_is_the_alarm_line():
    assert e_bh([math.log(100)], 0.01) == [0]
    assert e_bh([math.log(99)], 0.01) == []


@given(logs)
def test_e_bh_never_rejects_less_when_an_e_value_grows(log_es):
    grown = [log_es[0] + 1, *log_es[1:]]
    assert set(e_bh(log_es, 0.05)) <= set(e_bh(grown, 0.05))
