"""A watch ranks every answer among all earlier answers of its case, and can be recomputed."""

import json
import math

import numpy as np
import pytest

from apps.drift.stats import CaseWatch, RestartMixture, smoothed_rank
from apps.drift.stats.history import History

BASELINE = {"claim-1": [1.0, 1.0, 0.0], "claim-2": [1.0, 1.0, 1.0]}


def test_every_answer_is_ranked_among_baseline_earlier_runs_and_its_own_run():
    watch = CaseWatch.start(BASELINE, "w")
    watch.observe_run("monday", {"claim-1": [0.0]})
    result = watch.observe_run("tuesday", {"claim-1": [1.0, 0.0]})
    first, second = result.ranks["claim-1"]
    assert first == pytest.approx(smoothed_rank([1, 1, 0, 0], 1.0, 0.5))
    assert second == pytest.approx(smoothed_rank([1, 1, 0, 0, 1], 0.0, 0.5))


def test_one_run_is_one_look_of_the_martingale():
    watch, mixture = CaseWatch.start(BASELINE, "w"), RestartMixture(binary=True)
    result = watch.observe_run("monday", {"claim-2": [0.0], "claim-1": [1.0, 1.0]})
    mixture.update_intervals(below=[1, 1, 0], equal=[2, 3, 0], total=[3, 4, 3], exponent=1 / 1.075)
    assert (result.n_ranks, result.looks, result.log_e_before) == (3, 1, 0.0)
    assert result.log_e_after == mixture.log_e == watch.log_e
    assert result.log_e_increment == result.log_e_after


def test_a_recomputation_from_the_samples_agrees_to_the_last_bit():
    rng = np.random.default_rng(1)
    baseline = {f"c{i}": rng.normal(size=3).tolist() for i in range(5)}
    runs = [{f"c{i}": rng.normal(size=2).tolist() for i in range(5)} for _ in range(10)]
    stored = CaseWatch.start(baseline, "w", max_values=8)
    for day, run in enumerate(runs):
        stored = CaseWatch.from_state(json.loads(json.dumps(stored.to_state())))
        stored.observe_run(f"day-{day}", run)
    again = CaseWatch.start(dict(reversed(baseline.items())), "w", max_values=8)
    for day, run in enumerate(runs):
        again.observe_run(f"day-{day}", dict(reversed(run.items())))
    assert again.to_state() == stored.to_state()
    assert again.log_e == stored.log_e


def test_nothing_is_drawn_by_lot_so_the_key_of_the_watch_does_not_matter():
    runs = {"claim-1": [1.0], "claim-2": [1.0]}
    one = CaseWatch.start(BASELINE, "w1").observe_run("r", runs)
    other = CaseWatch.start(BASELINE, "w2").observe_run("r", runs)
    assert (one.ranks, one.log_e_after) == (other.ranks, other.log_e_after)


def test_cases_without_baseline_are_counted_and_otherwise_ignored():
    watch = CaseWatch.start(BASELINE, "w")
    result = watch.observe_run("r", {"claim-1": [1.0], "new": [0.0], "newer": []})
    assert (result.unmatched_cases, result.missing_cases, result.n_ranks) == (2, 1, 1)


def test_a_run_without_usable_answers_is_no_look():
    watch = CaseWatch.start(BASELINE, "w")
    result = watch.observe_run("r", {"new": [0.0], "claim-1": []})
    assert (result.n_ranks, result.looks, result.log_e_after) == (0, 0, 0.0)
    assert (result.unmatched_cases, result.missing_cases) == (1, 2)


def test_the_same_run_twice_in_a_row_is_refused():
    watch = CaseWatch.start(BASELINE, "w")
    watch.observe_run("r", {"claim-1": [1.0]})
    with pytest.raises(ValueError, match=r"^run_key.*already"):
        watch.observe_run("r", {"claim-1": [1.0]})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused_and_changes_nothing(bad):
    watch = CaseWatch.start(BASELINE, "w")
    before = watch.to_state()
    with pytest.raises(ValueError, match=r"^answers\['claim-2'\]"):
        watch.observe_run("r", {"claim-1": [1.0], "claim-2": [1.0, bad]})
    assert watch.to_state() == before
    with pytest.raises(ValueError, match=r"^baseline\['c'\]"):
        CaseWatch.start({"c": [bad]}, "w")


def test_an_empty_baseline_is_refused():
    with pytest.raises(ValueError, match=r"^baseline"):
        CaseWatch.start({}, "w")
    with pytest.raises(ValueError, match=r"^baseline\['c'\]: has no answer"):
        CaseWatch.start({"c": []}, "w")


def test_one_case_with_one_baseline_answer_is_enough_to_start():
    watch = CaseWatch.start({"c": [1.0]}, "w")
    assert watch.observe_run("r", {"c": [0.0]}).n_ranks == 1


def test_all_equal_answers_for_ever_never_raise_an_alarm():
    watch = CaseWatch.start({f"c{i}": [1.0] * 3 for i in range(20)}, "w")
    for day in range(200):
        watch.observe_run(f"d{day}", {f"c{i}": [1.0] for i in range(20)})
    assert watch.max_log_e < math.log(100)


def test_a_0_1_score_is_stored_as_counts_however_long_the_watch_lives():
    watch = CaseWatch.start({"c": [1.0, 0.0]}, "w")
    for day in range(500):
        watch.observe_run(f"d{day}", {"c": [float(day % 2)]})
    assert watch.to_state()["cases"]["c"] == {
        "values": [0.0, 1.0],
        "counts": [251, 251],
        "seen": 502,
    }


def test_a_continuous_score_does_not_grow_the_state_without_bound():
    rng = np.random.default_rng(2)
    watch = CaseWatch.start({"c": [0.0]}, "w", max_values=50)
    for day in range(300):
        watch.observe_run(f"d{day}", {"c": [float(rng.normal())]})
    held = History.unpacked(watch.to_state()["cases"]["c"])
    assert len(held.values) <= 50
    assert watch.to_state()["cases"]["c"]["seen"] == 301
    assert CaseWatch.from_state(watch.to_state()).to_state() == watch.to_state()


def test_a_packed_history_is_half_as_long_as_decimals_and_a_damaged_one_is_refused():
    values = np.random.default_rng(4).normal(size=100).tolist()
    state = History.of(values).to_state()
    assert History.unpacked(state).values == sorted(values)
    assert len(json.dumps(state)) < 0.6 * len(json.dumps(values))
    with pytest.raises(ValueError, match=r"state\.values"):
        History.unpacked({**state, "values": "AAAA"})


def test_the_first_reruns_after_a_baseline_of_one_run_count_less_than_later_ones():
    rates = {f"c{i}": [1.0, 0.0, float(i % 2)] for i in range(20)}
    watch = CaseWatch.start(rates, "w")
    assert watch.design_effect == 1.5
    watch.observe_run("r", {"c1": [1.0], "c2": [1.0]})
    assert watch.design_effect == 1.8
    assert CaseWatch.from_state(watch.to_state()).design_effect == 1.8
    assert CaseWatch.start({"c": [1.0]}, "w").design_effect == 1.0
    assert CaseWatch.start(rates, "w", one_day=False).design_effect == 1.15


def test_a_day_does_not_average_out_over_cases_so_a_larger_suite_is_tempered_more():
    def start(cases, scores):
        return CaseWatch.start({f"c{i}": scores for i in range(cases)}, "w").design_effect

    several = {f"c{i}": [1.5, 0.5] for i in range(20)}
    assert CaseWatch.start(several, "w", one_day=False).design_effect == 1.5
    assert [start(n, [1.0, 0.0]) for n in (4, 20, 200)] == pytest.approx([1.1, 1.5, 6.0])
    assert [start(n, [1.5, 0.5]) for n in (4, 20, 200)] == pytest.approx([1.2, 2.0, 11.0])
    # With one baseline answer a case only the cases beyond sixty count.
    assert [start(n, [1.0]) for n in (4, 60, 200)] == pytest.approx([1.0, 1.0, 4.5])


def test_lengths_after_a_baseline_of_one_run_count_less_until_many_reruns_show_otherwise():
    rng = np.random.default_rng(6)
    cases = [f"c{i}" for i in range(20)]
    watch = CaseWatch.start({c: rng.normal(size=5).tolist() for c in cases}, "w")
    assert watch.design_effect == 2.0
    for day in range(30):
        watch.observe_run(f"d{day}", {c: [float(rng.normal())] for c in cases})
        assert watch.design_effect == pytest.approx(min(2.5, 1.85 + (day + 1) / 20))
    for day in range(30, 200):
        watch.observe_run(f"d{day}", {c: [float(rng.normal())] for c in cases})
    assert watch.design_effect < 2.0  # independent answers: the looks outweigh what was assumed


def test_a_deterministic_endpoint_that_changes_is_found_in_a_few_runs():
    watch = CaseWatch.start({f"c{i}": [120.0] * 3 for i in range(20)}, "w")
    for day in range(30):
        watch.observe_run(f"d{day}", {f"c{i}": [120.0] for i in range(20)})
    for day in range(30, 34):
        result = watch.observe_run(f"d{day}", {f"c{i}": [100.0] for i in range(20)})
    assert result.alarm(0.01)


def test_a_stored_state_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"^state"):
        CaseWatch.from_state({"kind": "restart-mixture/1"})
