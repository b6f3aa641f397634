"""The restart mixture is a test martingale, keeps its state exactly, and never overflows."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.drift.stats import RestartMixture, smoothed_rank
from apps.drift.stats.martingale import BETS, Capital, bet_look, restart_weight

looks = st.lists(
    st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=5), min_size=1, max_size=8
)


def fed(stream):
    mixture = RestartMixture()
    for look in stream:
        mixture.update_look(look)
    return mixture


def test_the_mean_over_uniform_ranks_is_exactly_1_for_every_grouping_into_looks():
    # Every bet is linear in each rank, so the mean over two midpoints is the mean over (0, 1).
    for sizes in [(1, 1, 1, 1, 1), (5,), (2, 3), (3, 1, 1)]:
        values = []
        for ps in itertools.product((0.25, 0.75), repeat=5):
            stream, at = [], 0
            for size in sizes:
                stream.append(ps[at : at + size])
                at += size
            values.append(fed(stream).e_value)
        assert np.mean(values) == pytest.approx(1.0, abs=1e-12)


@given(looks)
@settings(max_examples=50)
def test_the_mean_of_the_next_look_is_the_capital_now(stream):
    mixture = fed(stream)
    nexts = []
    for ps in itertools.product((0.25, 0.75), repeat=2):
        following = RestartMixture.from_state(mixture.to_state())
        following.update_look(ps)
        nexts.append(following.e_value)
    assert np.mean(nexts) == pytest.approx(mixture.e_value, rel=1e-12)


@pytest.mark.parametrize("bag", [(0, 0, 1, 1, 1), (1, 2, 3, 4, 5)])
def test_over_all_orders_of_a_bag_baseline_included_the_mean_is_exactly_1(bag):
    values = []
    for order in itertools.permutations(bag):
        for us in itertools.product((0.25, 0.75), repeat=3):
            mixture = RestartMixture()
            for i, u in enumerate(us, start=2):
                mixture.update(smoothed_rank(order[:i], order[i], u))
            values.append(mixture.e_value)
    assert np.mean(values) == pytest.approx(1.0, abs=1e-12)


def test_the_prior_weights_sum_to_at_most_1_and_nearly_to_1():
    total = math.fsum(restart_weight(k) for k in range(1, 200_000))
    tail = 1 / (2.1098 * math.log(200_000))  # integral of the rest
    assert total < 1.0
    assert total + tail == pytest.approx(1.0, abs=1e-3)


def test_no_bet_can_lose_everything_or_go_below_zero():
    assert all(1 + eps * (p - 0.5) > 0 for eps in BETS for p in (0.0, 1.0))


@given(looks)
@settings(max_examples=50)
def test_a_stored_state_goes_through_json_and_continues_to_the_last_bit(stream):
    whole, parted = RestartMixture(), RestartMixture()
    for look in stream:
        whole.update_look(look)
        parted = RestartMixture.from_state(json.loads(json.dumps(parted.to_state())))
        parted.update_look(look)
    assert parted.to_state() == whole.to_state()
    assert parted.log_e == whole.log_e


@given(looks)
@settings(max_examples=50)
def test_many_watches_side_by_side_agree_with_one_alone(stream):
    capital = Capital.fresh((2, 3))
    for look in stream:
        capital = bet_look(capital, np.broadcast_to(np.array(look), (2, 3, len(look))))
    assert capital.log_e() == pytest.approx(np.full((2, 3), fed(stream).log_e), rel=1e-12)


@given(looks)
@settings(max_examples=50)
def test_the_running_maximum_never_falls_and_starts_at_0(stream):
    mixture, last = RestartMixture(), 0.0
    for look in stream:
        mixture.update_look(look)
        assert mixture.max_log_e >= max(last, mixture.log_e, 0.0)
        last = mixture.max_log_e


def test_years_of_strong_evidence_do_not_overflow_and_can_be_undone():
    mixture = RestartMixture()
    for _ in range(50):
        mixture.update_look([0.01] * 300)
    high = mixture.log_e
    assert 5_000 < high < 15_000
    assert math.isfinite(mixture.e_value)
    for _ in range(200):
        mixture.update_look([0.99] * 300)
    assert math.isfinite(mixture.log_e)
    assert mixture.max_log_e >= high


def test_contrary_evidence_never_takes_more_than_what_has_started():
    mixture = RestartMixture()
    mixture.update_look([0.5, 0.0, 1.0] * 2000)
    assert mixture.log_e > math.log(0.5)


def test_a_look_of_many_ranks_does_not_underflow():
    mixture = RestartMixture()
    mixture.update_look([0.0, 1.0] * 5000 + [0.01] * 500)
    assert math.isfinite(mixture.log_e)


def test_a_rank_a_look_and_many_looks_at_once_are_the_same():
    one, many = RestartMixture(), RestartMixture()
    for p in (0.1, 0.2, 0.9):
        one.update(p)
    many.update_many([0.1, 0.2, 0.9])
    assert one.to_state() == many.to_state()
    assert many.looks == 3


@pytest.mark.parametrize("bad", [[math.nan], [0.5, math.inf], [-0.1], [1.1], []])
def test_unusable_ranks_are_refused_and_change_nothing(bad):
    mixture = fed([[0.3]])
    before = mixture.to_state()
    with pytest.raises(ValueError, match=r"^ps:"):
        mixture.update_look(bad)
    assert mixture.to_state() == before


def test_a_state_of_another_kind_or_with_damage_is_refused():
    with pytest.raises(ValueError, match=r"^state"):
        RestartMixture.from_state({"kind": "something else"})
    state = RestartMixture().to_state()
    with pytest.raises(ValueError, match=r"^state\.capitals"):
        RestartMixture.from_state({**state, "capitals": [math.nan] * 7})
