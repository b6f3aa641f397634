"""Planning figures agree with what the tests of error rates measure."""

import math

import numpy as np
import pytest

from apps.drift.stats import (
    CaseWatch,
    answers_needed_for_margin,
    baseline_answers_needed,
    effect_interval,
    further_answers,
    reruns_to_detect,
)
from apps.drift.stats.power import TYPICAL_RATES


@pytest.mark.parametrize("quiet", [5, 60, 365])
def test_thirty_points_on_twenty_answers_a_run_take_a_few_days(quiet):
    assert 2 <= reruns_to_detect(0.3, 20, 0.01, quiet_runs=quiet) <= 7


def test_smaller_drops_and_fewer_answers_take_longer():
    runs = reruns_to_detect(0.3, 20, 0.01)
    assert runs < reruns_to_detect(0.2, 20, 0.01)
    assert runs < reruns_to_detect(0.3, 10, 0.01)
    assert 15 <= reruns_to_detect(0.1, 20, 0.01, quiet_runs=365) <= 60


def test_what_a_few_answers_cannot_see_is_said():
    assert reruns_to_detect(0.06, 20, 0.01, max_runs=60) is None
    assert reruns_to_detect(0.0, 20, 0.01) is None


def test_a_margin_below_the_baselines_own_error_needs_a_larger_baseline():
    assert (
        answers_needed_for_margin(0.03, answer_variance=1 / 6, baseline_answers=120, alpha=0.05)
        is None
    )
    needed = baseline_answers_needed(0.05, answer_variance=1 / 6, alpha=0.05)
    again = answers_needed_for_margin(
        0.05, answer_variance=1 / 6, baseline_answers=needed, alpha=0.05
    )
    assert again <= needed
    assert 500 < needed < 3000


def test_a_fixed_number_of_reruns_may_be_too_small_for_any_baseline():
    with pytest.raises(ValueError, match=r"^current_answers"):
        baseline_answers_needed(0.01, answer_variance=1 / 6, alpha=0.05, current_answers=10)


def test_further_answers_bring_the_interval_to_the_width_asked_for():
    before = {f"c{i}": [0.0, 1.0, 0.0, 1.0] * 15 for i in range(40)}
    effect = effect_interval(before, {c: [0.0, 1.0] for c in before}, alpha=0.05, bounds=(0, 1))
    more = further_answers(effect, 0.06)
    assert more > 0
    half = (80 + more) // 80
    later = effect_interval(
        before, {c: [0.0, 1.0] * half for c in before}, alpha=0.05, bounds=(0, 1)
    )
    assert (later.high - later.low) / 2 == pytest.approx(0.06, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"drop": math.nan}, "drop"),
        ({"answers_per_run": 0}, "answers_per_run"),
        ({"alpha": 1.0}, "alpha"),
        ({"rates": [1.5]}, "rates"),
        ({"rates": []}, "baseline_replicates, quiet_runs, max_runs, rates"),
    ],
)
def test_unusable_arguments_are_refused_by_name(changes, name):
    arguments = {"drop": 0.3, "answers_per_run": 20, "alpha": 0.01, **changes}
    with pytest.raises(ValueError, match=f"^{name}"):
        reruns_to_detect(**arguments)


@pytest.mark.parametrize(
    ("drop", "cases", "replicates", "one_day"), [(0.3, 40, 5, True), (0.25, 40, 5, False)]
)
def test_half_of_all_lives_of_the_real_watch_see_it_within_the_runs_that_were_promised(
    drop, cases, replicates, one_day
):
    alpha = 0.001
    promised = reruns_to_detect(
        drop, cases, alpha, baseline_replicates=replicates, quiet_runs=0, one_day=one_day
    )
    rates = np.array([TYPICAL_RATES[i % 10] for i in range(cases)])
    random = np.random.default_rng(5)

    def answers(rates, replicates):
        drawn = (random.random((cases, replicates)) < rates[:, None]).astype(float)
        return {f"c{i}": row.tolist() for i, row in enumerate(drawn)}

    found = 0
    for _ in range(100):
        watch = CaseWatch.start(answers(rates, replicates), "key", one_day=one_day)
        for run in range(promised):
            watch.observe_run(f"{run}", answers(np.clip(rates - drop, 0.0, 1.0), 1))
        found += watch.max_log_e >= -math.log(alpha)
    assert 38 <= found <= 70  # of 100; the promise is the first run by which half are found


def test_a_baseline_of_several_occasions_is_tempered_less_and_sees_it_sooner():
    one, several = (
        reruns_to_detect(0.3, 40, 0.001, baseline_replicates=5, quiet_runs=0, one_day=one_day)
        for one_day in (True, False)
    )
    assert several < one
