"""Four words, one table, and never "equivalent" for want of data."""

import itertools
import math

import pytest

from apps.drift.stats import Effect, Verdict, decide_metric, decide_version

ALARM, QUIET, ALPHA = math.log(4300), 0.0, 0.01


def effect(estimate, half, *, baseline_variance=1e-5, current_variance=1e-3):
    return Effect(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        alpha=0.05,
        baseline_mean=0.8,
        current_mean=0.8 + estimate,
        n_cases=40,
        n_baseline=4000,
        n_current=200,
        relative=estimate / 0.8,
        baseline_variance=baseline_variance,
        current_variance=current_variance,
    )


def metric(log_e, found, margin=0.03, *, after=True, binding=False):
    return decide_metric(
        log_e=log_e,
        alpha=ALPHA,
        effect=found,
        margin=margin,
        effect_after_change=after,
        unit="points",
        scale=100,
        binding=binding,
    )


@pytest.mark.parametrize(
    ("log_e", "found", "verdict", "settled"),
    [
        (ALARM, effect(0.0, 0.02), "changed_immaterial", True),
        (ALARM, effect(-0.30, 0.05), "changed_material", True),
        (ALARM, effect(-0.05, 0.04), "changed_material", True),
        (ALARM, effect(-0.02, 0.05), "changed_material", False),
        (ALARM, effect(-0.05, 0.06), "changed_material", False),
        (ALARM, None, "changed_material", False),
        (QUIET, effect(0.0, 0.02), "equivalent", True),
        (QUIET, effect(0.0, 0.05), "inconclusive", False),
        (QUIET, effect(-0.30, 0.05), "inconclusive", False),
        (QUIET, None, "inconclusive", False),
    ],
)
def test_the_table_of_verdicts(log_e, found, verdict, settled):
    result = metric(log_e, found)
    assert (result.verdict, result.settled) == (Verdict(verdict), settled)


def test_the_alarm_line_itself_is_an_alarm():
    assert metric(math.log(100), effect(0, 0.02)).verdict.changed
    assert not metric(math.log(99.9), effect(0, 0.02)).verdict.changed


def test_the_mean_of_a_long_quiet_time_cannot_call_an_alarm_immaterial():
    result = metric(ALARM, effect(-0.006, 0.02), after=False)
    assert (result.verdict, result.settled) == (Verdict.CHANGED_MATERIAL, False)
    assert not result.within_margin


def test_an_interval_that_touches_the_margin_is_not_inside():
    assert metric(QUIET, effect(0.0, 0.03)).verdict == Verdict.INCONCLUSIVE


def test_without_a_margin_nothing_is_ever_equivalent():
    assert metric(QUIET, effect(0.0, 0.001), None).verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("found", [None, effect(0.0, 0.001), effect(-0.3, 0.05)])
def test_a_change_without_a_margin_is_on_record_and_no_more_unless_somebody_signed_for_it(found):
    result = metric(ALARM, found, None)
    assert (result.verdict, result.settled) == (Verdict.CHANGED_IMMATERIAL, True)
    assert result.reason.endswith(
        "No margin says how much of it would matter; no assumption rests on it, so it counts as "
        "immaterial."
    )
    result = metric(ALARM, found, None, binding=True)
    assert (result.verdict, result.settled) == (Verdict.CHANGED_MATERIAL, False)
    assert "an assumption rests on it, so it counts as material" in result.reason


def test_the_words_are_those_of_the_page():
    assert metric(QUIET, effect(0.0035, 0.0145)).reason == (
        "Equivalent within ±3 points (95 % confidence sequence −1.1 … +1.8)."
    )
    assert metric(ALARM, effect(-0.3, 0.05)).reason == (
        "Changed: e-value 4,300, alarm line 100; effect −30.0 points "
        "(95 % confidence sequence −35.0 … −25.0), beyond the margin of ±3 points."
    )


def test_an_open_verdict_says_how_many_more_answers_would_settle_it():
    result = metric(QUIET, effect(0.0, 0.08))
    assert result.more_answers is not None
    assert result.more_answers > 200
    assert f"about {result.more_answers:,} more answers needed" in result.reason


def test_an_open_verdict_says_when_the_baseline_is_too_small():
    result = metric(QUIET, effect(0.0, 0.2, baseline_variance=5e-3))
    assert result.more_answers is None
    assert "the baseline is too small" in result.reason


@pytest.mark.parametrize(
    "changes",
    [{"log_e": math.nan}, {"log_e": math.inf}, {"alpha": 0.0}, {"margin": 0.0}, {"scale": -1.0}],
)
def test_unusable_arguments_are_refused_by_name(changes):
    arguments = {"log_e": 0.0, "alpha": 0.01, "effect": None, "margin": 0.03, **changes}
    with pytest.raises(ValueError, match=f"^{next(iter(changes))}"):
        decide_metric(**arguments)


INSIDE, WIDE, LARGE = effect(0.0, 0.02), effect(0.0, 0.05), effect(-0.3, 0.05)


@pytest.mark.parametrize(
    ("log_e", "metrics", "verdict", "settled"),
    [
        (QUIET, {"a": metric(QUIET, INSIDE)}, "equivalent", True),
        (
            QUIET,
            {"a": metric(QUIET, INSIDE), "style": metric(QUIET, WIDE, None)},
            "equivalent",
            True,
        ),
        (QUIET, {"a": metric(QUIET, INSIDE), "b": metric(QUIET, WIDE)}, "inconclusive", False),
        (QUIET, {"a": metric(ALARM, LARGE)}, "inconclusive", False),
        (QUIET, {"a": metric(ALARM, INSIDE)}, "inconclusive", False),
        (QUIET, {"style": metric(QUIET, INSIDE, None)}, "inconclusive", False),
        (QUIET, {}, "inconclusive", False),
        (ALARM, {"a": metric(ALARM, LARGE), "b": metric(QUIET, INSIDE)}, "changed_material", True),
        (
            ALARM,
            {"a": metric(ALARM, INSIDE), "b": metric(QUIET, INSIDE)},
            "changed_immaterial",
            True,
        ),
        (ALARM, {"a": metric(ALARM, INSIDE), "b": metric(QUIET, WIDE)}, "changed_material", False),
        # No margin at all: nothing could ever show that it is immaterial.
        (ALARM, {"style": metric(ALARM, INSIDE, None)}, "changed_material", False),
        (
            ALARM,
            {"a": metric(ALARM, INSIDE), "style": metric(ALARM, LARGE, None)},
            "changed_immaterial",
            True,
        ),
        (
            ALARM,
            {"a": metric(ALARM, INSIDE), "style": metric(ALARM, LARGE, None, binding=True)},
            "changed_material",
            False,
        ),
        (
            ALARM,
            {"a": metric(ALARM, INSIDE), "style": metric(QUIET, LARGE, None, binding=True)},
            "changed_immaterial",
            True,
        ),
        (ALARM, {}, "changed_material", False),
    ],
)
def test_the_version_changes_only_by_the_combined_e_value(log_e, metrics, verdict, settled):
    result = decide_version(log_e=log_e, alpha=ALPHA, metrics=metrics)
    assert (result.verdict, result.settled) == (Verdict(verdict), settled)


def test_no_mixture_of_missing_effects_is_ever_equivalent():
    choices = [metric(QUIET, None), metric(QUIET, WIDE), metric(QUIET, INSIDE, None)]
    for picked in itertools.product(choices, repeat=2):
        metrics = {str(i): m for i, m in enumerate(picked)}
        assert decide_version(log_e=0, alpha=ALPHA, metrics=metrics).verdict != "equivalent"


def test_a_changed_version_names_its_metrics_and_the_alarm_line():
    metrics = {"accuracy": metric(ALARM, LARGE), "length": metric(ALARM, INSIDE)}
    reason = decide_version(log_e=ALARM, alpha=ALPHA, metrics=metrics).reason
    assert reason == (
        "Changed: e-value 4,300, alarm line 100 (seen in accuracy, length); "
        "beyond the margin: accuracy."
    )


def test_an_open_version_asks_for_the_answers_its_neediest_metric_needs():
    metrics = {"a": metric(QUIET, effect(0.0, 0.05)), "b": metric(QUIET, effect(0.0299, 0.05))}
    result = decide_version(log_e=0, alpha=ALPHA, metrics=metrics)
    assert result.more_answers is None  # b's margin cannot be settled on its baseline
    result = decide_version(log_e=0, alpha=ALPHA, metrics={"a": metrics["a"]})
    assert result.more_answers == metrics["a"].more_answers
    assert result.reason.endswith("more answers needed.")


def test_very_large_e_values_are_worded_without_overflow():
    assert "e-value above 10^4342" in metric(10_000.0, None).reason
