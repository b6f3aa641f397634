"""Planning figures agree with what the tests of error rates measure."""

import math

import pytest

from apps.drift.stats import (
    answers_needed_for_margin,
    baseline_answers_needed,
    effect_interval,
    further_answers,
    reruns_to_detect,
)


@pytest.mark.parametrize("quiet", [5, 60, 365])
def test_thirty_points_on_twenty_answers_a_run_take_about_a_week(quiet):
    assert 5 <= reruns_to_detect(0.3, 20, 0.01, quiet_runs=quiet) <= 10


def test_smaller_drops_and_fewer_answers_take_longer():
    runs = reruns_to_detect(0.3, 20, 0.01)
    assert runs < reruns_to_detect(0.2, 20, 0.01)
    assert runs < reruns_to_detect(0.3, 10, 0.01)
    assert 40 <= reruns_to_detect(0.1, 20, 0.01, quiet_runs=365) <= 80


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
