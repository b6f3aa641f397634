"""Probe watches: exact invariants, and false alarms with one baseline used again and again."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.drift.stats.probes import (
    BETS,
    Kinds,
    ProbeWatch,
    RoundBets,
    coverage_gaps,
    covered_rank,
    top_distance,
)
from apps.drift.stats.probes_identity import IdentityWatch
from apps.drift.stats.probes_sampling import Drawn, SamplingWatch, sampling_scores

LINE = math.log(100)
TOPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.floats(-20, 0)),
    min_size=1,
    max_size=8,
    unique_by=lambda pair: pair[0],
)


@given(TOPS, TOPS)
def test_the_distance_is_symmetric_and_nought_only_between_equals(a, b):
    assert top_distance(a, b) == top_distance(b, a) >= 0
    assert top_distance(a, list(reversed(a))) == 0


def test_the_distance_counts_a_missing_token_down_to_the_other_lists_smallest():
    assert top_distance([("a", -1.0), ("b", -2.0)], [("a", -1.5), ("c", -4.0)]) == pytest.approx(
        (0.5 + 2.0 + 0.0) / 3
    )


def test_every_bet_has_mean_one_under_uniform_ranks():
    t = (np.arange(100_000) + 0.5) / 100_000
    p, dp = t**40, 40 * t**39  # p near 0 carries much of the mean
    for share, power in BETS:
        bet = 1 - share + share * power * p ** (power - 1)
        assert (bet * dp).mean() == pytest.approx(1.0, abs=1e-3)
        assert (np.diff(bet) <= 0).all()


@given(
    st.integers(0, 50), st.integers(0, 50), st.floats(0.01, 0.99), st.sampled_from([0.25, 0.5, 1.0])
)
def test_the_covered_rank_is_never_below_the_rank_in_any_covered_part(above, equal, u, coverage):
    total = above + equal + 10
    part = math.ceil(coverage * total)
    p = covered_rank(above=above, equal=equal, total=total, u=u, coverage=coverage)
    for inside in range(max(0, part - 10), min(part, above) + 1):
        ties = min(equal, part - inside)
        assert p >= min(1.0, (inside + u * (ties + 1)) / (part + 1)) - 1e-12


def test_a_state_goes_on_to_the_last_bit():
    rng = random.Random(1)
    watch = ProbeWatch(key="w", references=2, calibration=3)
    for i in range(12):
        answers = {f"p{k}": [("a", -1 - rng.random()), ("b", -3.0)] for k in range(5)}
        watch.observe_round(f"r{i}", answers)
        watch = ProbeWatch.from_state(json.loads(json.dumps(watch.to_state())))
    twin = ProbeWatch.from_state(watch.to_state())
    answers = {f"p{k}": [("a", -9.0), ("b", -3.0)] for k in range(5)}
    assert twin.observe_round("last", answers) == watch.observe_round("last", answers)
    assert twin.to_state() == watch.to_state()
    with pytest.raises(ValueError, match="already observed"):
        watch.observe_round("last", answers)


def loaded_round(rng: np.random.Generator, load: float, shift: float = 0.0) -> dict[str, list]:
    """20 prompts, 20 tokens: quiet answers are equal, load moves all of a round together."""
    noise = rng.normal(0, 0.02 * load, (20, 20)) if load else np.zeros((20, 20))
    drift = shift * np.random.default_rng(5).normal(0, 1, (20, 20))
    values = -1 - 0.2 * np.arange(20) + noise + drift
    return {f"p{i}": [(f"t{k}", float(v)) for k, v in enumerate(values[i])] for i in range(20)}


@pytest.mark.parametrize("life", range(6))
def test_a_mixed_baseline_bears_bursts_of_load_and_finds_a_change_at_once(life):
    rng = np.random.default_rng(life)
    watch = ProbeWatch(key=f"life{life}")
    while watch.phase != "watching":
        watch.observe_round(f"b{watch.rounds}", loaded_round(rng, rng.choice([0, 0.5, 1.0])))
    for i in range(90):
        load = 1.0 if (i // 10) % 2 else 0.0
        watch.observe_round(f"w{i}", loaded_round(rng, load))
    assert watch.max_log_e < LINE
    for i in range(2):
        watch.observe_round(f"c{i}", loaded_round(rng, rng.choice([0, 0.5, 1.0]), shift=0.1))
    assert watch.max_log_e >= LINE


def test_a_baseline_of_a_quiet_server_cries_wolf_and_is_called_too_narrow():
    rng = np.random.default_rng(3)
    watch = ProbeWatch(key="narrow")
    while watch.phase != "watching":
        watch.observe_round(f"b{watch.rounds}", loaded_round(rng, 0.0))
    assert watch.settled_share == 1.0
    watch.observe_round("busy", loaded_round(rng, 1.0))
    assert watch.max_log_e >= LINE
    assert coverage_gaps([0.0 + i / 10 for i in range(26)])


def test_coverage_names_what_is_missing():
    week = [i * 6.5 for i in range(28)]
    assert coverage_gaps(week) == []
    gaps = coverage_gaps([8.0 + 24 * d for d in range(8)], rounds_wanted=20)
    assert gaps == ["8 of 20 rounds", "no round between 00–06, 12–18, 18–24 h UTC"]


def test_unchanged_lives_with_rare_flips_alarm_in_at_most_one_percent():
    """Border inputs: each prompt flips with a rate of its own; one baseline for 200 looks."""
    alarms = 0
    for life in range(30):
        rng = random.Random(life)
        rates = [rng.betavariate(0.5, 3) for _ in range(10)]
        watch = ProbeWatch(key=f"f{life}", tokens=True, calibration=40, coverage=1 / 3)
        for i in range(180):
            answers = {
                f"p{k}": rng.choice("bcd") if rng.random() < rate else "a"
                for k, rate in enumerate(rates)
            }
            watch.observe_round(f"r{i}", answers)
        alarms += watch.max_log_e >= LINE
    assert alarms <= 1


def test_round_bets_refuse_what_is_no_rank_and_damaged_states():
    bets = RoundBets()
    with pytest.raises(ValueError, match="ranks"):
        bets.update([0.0])
    with pytest.raises(ValueError, match="ranks"):
        bets.update([])
    with pytest.raises(ValueError, match="not bets"):
        RoundBets.from_state({"kind": "other"})
    assert bets.log_e == 0.0


class TestIdentity:
    def watch(self) -> IdentityWatch:
        return IdentityWatch(key="i", facets=["fingerprint"])

    def test_a_known_rotation_is_no_news(self):
        watch = self.watch()
        for i in range(200):
            assert (
                i < 5
                or not watch.observe_round(f"r{i}", {"fingerprint": [f"fp{i % 3}"]})
                or (i < 8)
            )
            if i < 5:
                continue
        assert watch.max_log_e < 1

    def test_a_value_never_seen_is_as_surprising_as_the_past_is_long(self):
        watch = self.watch()
        for i in range(99):
            watch.observe_round(f"r{i}", {"fingerprint": ["fp"]})
        [news] = watch.observe_round("new", {"fingerprint": ["other"]})
        assert news.surprise == pytest.approx(1 / 100)
        assert news.telling
        assert news.known == ("fp",)

    def test_where_each_round_brings_its_own_value_another_is_routine(self):
        watch = self.watch()
        for i in range(60):
            news = watch.observe_round(f"r{i}", {"fingerprint": [f"fp{i}"]})
        assert not news[0].telling
        assert watch.max_log_e < LINE

    def test_the_rank_of_a_set_is_that_of_its_rarest_part(self):
        kinds = Kinds({})
        for _ in range(9):
            kinds.add(["a", "b"])
        assert kinds.rank(["a", "new"], 0.5, 1.0) == pytest.approx(0.05)
        assert kinds.rank(["a"], 0.5, 1.0) > 0.4


class TestSampling:
    def draw(self, rng: np.random.Generator, temperature: float, top_p: float = 1.0) -> list[Drawn]:
        tokens = []
        for _ in range(16):
            logits = rng.normal(0, 2.0, 20)
            raw = logits - np.log(np.exp(logits).sum())
            p = np.exp(raw / temperature)
            p /= p.sum()
            order = np.argsort(-p)
            kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1]
            q = np.zeros(20)
            q[kept] = p[kept] / p[kept].sum()
            i = rng.choice(20, p=q)
            tokens.append(Drawn(float(raw[i]), tuple(float(v) for v in raw)))
        return tokens

    def rounds_to(self, seed: int, temperature: float, top_p: float = 1.0) -> int | None:
        rng = np.random.default_rng(seed)
        score = lambda t, p=1.0: sampling_scores(self.draw(rng, t, p), temperature=0.7)  # noqa: E731
        prompts = [f"p{i}" for i in range(10)]
        watch = SamplingWatch.start({p: [score(0.7) for _ in range(10)] for p in prompts}, key="s")
        for i in range(40):
            watch.observe_round(
                f"r{i}", {p: [score(temperature, top_p)] for p in prompts[i % 2 :: 2]}
            )
            if watch.max_log_e >= LINE:
                return (i + 1) * 5
        return None

    def test_a_warmer_model_and_a_cut_tail_are_found_and_an_unchanged_one_is_not(self):
        warmer = [self.rounds_to(seed, 0.8) for seed in range(7)]
        assert sorted(w or 999 for w in warmer)[3] <= 150  # the goal; real completions: 70
        cut = [self.rounds_to(seed, 0.7, 0.9) for seed in range(2)]
        assert all(c is not None and c <= 100 for c in cut)
        assert [self.rounds_to(seed, 0.7) for seed in range(3)] == [None] * 3
