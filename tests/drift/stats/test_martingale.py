"""The restart mixture is a test martingale, keeps its state exactly, and never overflows."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.drift.stats import RestartMixture
from apps.drift.stats.bets import LOG_PRIOR, LOG_PRIOR_BINARY, log_bets, log_point_bets
from apps.drift.stats.martingale import Capital, bet_look, restart_weight

looks = st.lists(
    st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=5), min_size=1, max_size=8
)


def fed(stream):
    mixture = RestartMixture()
    for look in stream:
        mixture.update_look(look)
    return mixture


def placed(order, i):
    """Below, equal and total of the i-th answer among those before it."""
    before = order[:i]
    return sum(x < order[i] for x in before), sum(x == order[i] for x in before), i


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_every_bet_has_mean_exactly_1_over_the_places_of_an_answer(n):
    low = np.arange(n + 1) / (n + 1)
    assert np.exp(log_bets(low, low + 1 / (n + 1))).mean(axis=0) == pytest.approx(1.0, abs=1e-12)
    assert np.exp([LOG_PRIOR, LOG_PRIOR_BINARY]).sum(axis=1) == pytest.approx([1.0, 1.0])


def test_a_bet_on_a_point_is_the_limit_of_a_narrow_interval():
    p = np.array([0.003, 0.2, 0.501, 0.97])
    assert log_point_bets(p) == pytest.approx(log_bets(p - 1e-6, p + 1e-6), abs=1e-4)


def test_a_tie_with_everything_is_no_evidence():
    assert log_bets(0.0, 1.0) == pytest.approx(0.0, abs=1e-12)


@given(looks)
@settings(max_examples=50)
def test_the_mean_of_the_next_look_is_the_capital_now(stream):
    mixture = fed(stream)
    nexts = []
    for places in itertools.product([(0, 0, 2), (1, 0, 2), (2, 0, 2)], repeat=2):
        following = RestartMixture.from_state(mixture.to_state())
        following.update_intervals(*zip(*places, strict=True))
        nexts.append(following.e_value)
    assert np.mean(nexts) == pytest.approx(mixture.e_value, rel=1e-9)


@pytest.mark.parametrize("bag", [(0, 0, 1, 1, 1), (1, 2, 3, 4, 5), (0, 0, 0, 7, 9)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3,), (2, 1)])
def test_over_all_orders_of_a_bag_baseline_included_the_mean_is_exactly_1(bag, sizes):
    values = []
    for order in itertools.permutations(bag):
        mixture, at = RestartMixture(), 2
        for size in sizes:
            places = [placed(order, i) for i in range(at, at + size)]
            mixture.update_intervals(*zip(*places, strict=True))
            at += size
        values.append(mixture.e_value)
    assert np.mean(values) == pytest.approx(1.0, abs=1e-12)


def test_the_prior_weights_sum_to_at_most_1_and_nearly_to_1():
    total = math.fsum(restart_weight(k) for k in range(1, 200_000))
    tail = 0.2 / (1.0692 * math.log(200_000))  # integral of the rest
    assert total < 1.0
    assert total + tail == pytest.approx(1.0, abs=1e-3)


def test_no_bet_can_lose_everything_or_go_below_zero():
    low = np.arange(200) / 200
    assert np.isfinite(log_bets(low, low + 0.005)).all()
    assert np.isfinite(log_point_bets([0.0, 1.0])).all()


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
        gains = log_point_bets(np.broadcast_to(np.array(look), (2, 3, len(look)))).sum(axis=-2)
        capital = bet_look(capital, gains)
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
    assert high > 5_000
    assert math.isfinite(mixture.e_value)
    for _ in range(200):
        mixture.update_look([0.99] * 300)
    assert math.isfinite(mixture.log_e)
    assert mixture.max_log_e >= high


def test_contrary_evidence_never_takes_more_than_what_has_started():
    mixture = RestartMixture()
    mixture.update_look([0.5, 0.01, 0.99] * 2000)
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
    with pytest.raises(ValueError, match=r"^state\.logs"):
        RestartMixture.from_state({**state, "logs": [math.nan] * 7})


def test_a_state_of_the_first_kind_goes_on_with_the_capital_it_has():
    old = {
        "kind": "restart-mixture/1",
        "capitals": [0.5, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0],
        "exponent": 3,
        "unspent": 0.4,
        "looks": 4,
        "max_log_e": 2.5,
    }
    assert RestartMixture.from_state(old).e_value == pytest.approx(8.4)
