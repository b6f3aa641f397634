"""Reruns against their baseline: quiet ones, changed ones, and ones that cannot be compared."""

from __future__ import annotations

import json

import pytest

import apps.evaluations.selectors as evaluations
from apps.drift import wholes
from apps.drift.answered import answered
from apps.drift.metrics import FIRST_RERUN
from apps.drift.models import Baseline, Comparison, MetricResult, Watch
from apps.drift.services import compare_run, open_or_extend_change_event
from apps.drift.stats import CaseWatch
from apps.evaluations.models import RunState
from tests.drift.story import ACCURACY, baseline_of, compared, run_of, suite
from tests.world import World, approve

QUIET = ("equivalent", "inconclusive")


def watches(baseline: Baseline) -> list[tuple[object, ...]]:
    return list(
        baseline.watches.order_by("metric_key").values_list(
            "metric_key", "state", "log_e", "max_log_e", "looks", "row_version"
        )
    )


def test_unchanged_reruns_raise_nothing(world: World) -> None:
    baseline_of(world, suite())
    for seed in range(2, 8):
        comparison = compared(run_of(world.version, suite(), seed=seed))
        assert comparison.verdict in QUIET
        assert open_or_extend_change_event(comparison=comparison) is None
        assert not comparison.pairs.exists()
    assert list(Comparison.objects.order_by("look").values_list("look", flat=True)) == [
        *range(1, 7)
    ]


def test_a_changed_rerun_is_found_material_with_its_evidence(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), seed=2, changed=True))
    assert comparison.verdict == "changed_material"
    accuracy = comparison.metrics.get(metric_key="accuracy")
    assert accuracy.verdict == "changed_material"
    assert accuracy.high is not None
    assert accuracy.high < -0.05
    assert accuracy.current_mean == 0


def test_the_example_pairs_lead_back_to_the_answers_and_show_the_broken_json(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), seed=2, changed=True))
    pairs = list(comparison.pairs.order_by("rank"))
    assert [p.rank for p in pairs] == [*range(1, 11)]
    assert all(json.loads(p.baseline_text) for p in pairs)
    assert all(p.current_text.startswith("Sure!") for p in pairs)
    assert {row["kind"] for p in pairs for row in p.json_diff} == {"not_json_after"}
    distances = [p.distance for p in pairs]
    assert distances == sorted(distances, reverse=True)


def test_comparing_twice_returns_the_same_and_moves_no_watch(world: World) -> None:
    baseline = baseline_of(world, suite())
    run = run_of(world.version, suite(), seed=2)
    first = compared(run)
    before = watches(baseline)
    compared(run_of(world.version, suite(), seed=3))
    assert watches(baseline) != before
    before = watches(baseline)
    assert compared(run) == first
    assert watches(baseline) == before


def test_the_watch_is_rebuilt_from_the_samples_bit_for_bit(world: World) -> None:
    baseline = baseline_of(world, suite())
    runs = [run_of(world.version, suite(), seed=s, changed=s == 5) for s in range(2, 6)]
    for run in runs:
        compared(run)
    before = list(baseline.runs.all())
    start = evaluations.metric_values(before) | wholes.of_baseline(answered(before))
    for stored in Watch.objects.filter(baseline=baseline).exclude(metric_key=FIRST_RERUN):
        again = CaseWatch.start(start[stored.metric_key], f"{baseline.pk}:{stored.metric_key}")
        for run in runs:
            now = evaluations.metric_values([run]) | wholes.of_run(
                answered(before), answered([run])
            )
            again.observe_run(str(run.pk), now[stored.metric_key])
        assert json.loads(json.dumps(again.to_state())) == stored.state
        assert (again.log_e, again.max_log_e, again.looks) == (
            stored.log_e,
            stored.max_log_e,
            stored.looks,
        )


def test_style_without_a_margin_is_immaterial_unless_an_assumption_rests_on_it(
    world: World,
) -> None:
    free = suite("claims-style", metrics=(ACCURACY,))
    baseline_of(world, free)

    def words(seed: int) -> MetricResult:
        run = run_of(world.version, free, seed=seed, changed=True)
        return compared(run).metrics.get(metric_key="style.words")

    first = words(2)
    assert (first.margin, first.verdict) == (None, "changed_immaterial")
    assert "no assumption rests on it" in first.reason
    approve(world)  # its A2 is about style.words of this suite
    second = words(3)
    assert second.verdict == "changed_material"
    assert "an assumption rests on it" in second.reason


# Nothing to compare with


@pytest.mark.parametrize("state", [s for s in RunState.values if s != RunState.COMPLETE])
def test_a_run_that_did_not_complete_is_not_compared(world: World, state: str) -> None:
    baseline_of(world, suite())
    assert compare_run(run=run_of(world.version, suite(), state=state)) is None


def test_a_run_older_than_the_baseline_is_not_compared(world: World) -> None:
    late = run_of(world.version, suite(), seed=2)
    baseline = baseline_of(world, suite())
    before = watches(baseline)
    assert compare_run(run=late) is None
    assert watches(baseline) == before


def test_a_baseline_run_is_not_compared(world: World) -> None:
    baseline_of(world, suite())
    assert compare_run(run=run_of(world.version, suite(), purpose="baseline")) is None


def test_without_a_baseline_nothing_is_compared(world: World) -> None:
    assert compare_run(run=run_of(world.version, suite())) is None


def test_another_revision_of_the_suite_is_not_compared(world: World) -> None:
    first = suite()
    baseline_of(world, first)
    second = suite(summary="Finds the desk of a claim.")
    assert second.suite_id == first.suite_id
    assert second.pk != first.pk
    assert compare_run(run=run_of(world.version, second, changed=True)) is None


def test_reruns_that_end_out_of_order_are_looks_in_the_order_of_their_ends(world: World) -> None:
    baseline_of(world, suite())
    first, second = (run_of(world.version, suite(), seed=s) for s in (2, 3))
    assert compared(second).look == 1
    assert compared(first).look == 2


# Poor data


def test_a_rerun_without_any_answer_gets_a_verdict_and_is_never_equivalent(world: World) -> None:
    baseline_of(world, suite())
    for _ in range(3):
        comparison = compared(run_of(world.version, suite(), errors=True))
        assert comparison.verdict != "equivalent"
        assert comparison.reason
        accuracy = comparison.metrics.get(metric_key="accuracy")
        assert accuracy.verdict != "equivalent"
    assert comparison.verdict.startswith("changed"), "every answer failing is a change"


def test_no_case_answered_on_both_sides_is_inconclusive(world: World) -> None:
    revision = suite(cases=4)
    baseline_of(world, revision, errors={"c0", "c1"})
    comparison = compared(run_of(world.version, revision, errors={"c2", "c3"}))
    accuracy = comparison.metrics.get(metric_key="accuracy")
    assert (accuracy.verdict, accuracy.effect) == ("inconclusive", None)


def test_one_replicate_is_enough_of_a_baseline(world: World) -> None:
    baseline_of(world, suite(), replicates=1)
    assert compared(run_of(world.version, suite(), seed=2)).verdict in QUIET
    assert compared(run_of(world.version, suite(), changed=True)).verdict not in ("equivalent",)


def test_a_single_case_once_is_inconclusive_with_a_reason(world: World) -> None:
    revision = suite(cases=1)
    baseline_of(world, revision, replicates=1)
    comparison = compared(run_of(world.version, revision, changed=True))
    assert comparison.verdict == "inconclusive"
    assert comparison.reason


def test_answers_that_never_vary_raise_nothing(world: World) -> None:
    same = {"texts": ["motor"], "value": 1.0}
    baseline_of(world, suite(), **same)
    for _ in range(5):
        assert compared(run_of(world.version, suite(), **same)).verdict in QUIET


def test_scores_beyond_the_bounds_a_suite_promised_are_compared_all_the_same(world: World) -> None:
    revision = suite(metrics=(ACCURACY,))
    baseline_of(world, revision)
    comparison = compared(run_of(world.version, revision, value=7.5))
    assert comparison.metrics.get(metric_key="accuracy").current_mean == 7.5
