"""Poor data: each yields a stated verdict or a clear reason for none, never a silent “equivalent”.

See also “Poor data” in test_comparing.py: one replicate, one case, no case in common, constants.
"""

from __future__ import annotations

import datetime as dt
import math

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from apps.core.errors import InvalidInput
from apps.drift import recomputing, services
from apps.drift.models import Comparison
from apps.drift.selectors import why_not_compared
from apps.drift.services import compare_run, open_or_extend_change_event
from apps.drift.stats import CaseWatch
from apps.drift.stats.recompute import recompute
from apps.evaluations.models import Run, RunState, Sample, Score
from apps.evaluations.suitefile import MetricSpec
from tests.drift.story import ACCURACY, STYLE, baseline_of, compared, forget, run_of, suite
from tests.world import World


def rescored(run: Run, value: float | None) -> Run:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE evaluations_score SET value = %s WHERE run_id = %s", [value, run.pk])
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    return run


def quiet(world: World, *, reruns: int = 12) -> Comparison:
    for seed in range(2, 2 + reruns):
        last = compared(run_of(world.version, suite(metrics=(LOOSE,)), seed=seed))
    return last


LOOSE = MetricSpec("accuracy", "Accuracy", "has_motor", "higher", 0.4, bounds=(0.0, 1.0))


# No baseline, or a poor one


def test_no_baseline_is_refused_and_the_run_says_why_it_was_not_compared(world: World) -> None:
    with pytest.raises(InvalidInput, match="no complete baseline run"):
        services.create_baseline(
            actor=world.owner, model_version=world.version, suite_revision=suite()
        )
    run = run_of(world.version, suite())
    assert compare_run(run=run) is None
    assert "no baseline" in why_not_compared(run)


def test_a_baseline_of_a_model_that_answered_nothing_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="no usable answer"):
        baseline_of(world, suite(), errors=True)
    with pytest.raises(InvalidInput, match="no usable answer"):
        baseline_of(world, suite(), texts=["", "  \n"], value=0.0)


def test_a_metric_that_the_baseline_lacks_is_named_in_every_verdict(world: World) -> None:
    rare = MetricSpec("rare", "Rare", "has_motor", "higher", 0.05, bounds=(0.0, 1.0))
    revision = suite(metrics=(LOOSE, rare))
    baseline_of(world, revision)
    for seed in range(2, 8):
        comparison = compared(run_of(world.version, revision, seed=seed))
        assert "Rare was not measured in the baseline" in comparison.reason
        assert comparison.method["unmeasured"] == ["Rare"]


def test_a_baseline_of_one_answer_a_case_gives_a_verdict_that_says_what_is_open(
    world: World,
) -> None:
    baseline_of(world, suite(), replicates=1)
    comparison = compared(run_of(world.version, suite(), seed=2))
    assert comparison.verdict == "inconclusive"
    assert "open: accuracy" in comparison.reason


def test_cases_that_the_baseline_has_no_answer_to_are_named(world: World) -> None:
    names = [c.case_id for c in suite(metrics=(LOOSE,)).cases.order_by("position")]
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=6, errors=set(names[:7]))
    comparison = quiet(world, reruns=2)
    listed = ", ".join(sorted(names[:7])[:5])
    assert f"The baseline has no answer to {listed} and 2 more, so" in comparison.reason
    # They alone answer otherwise: nothing is found, and the reason says why nothing could be.
    run = run_of(world.version, suite(metrics=(LOOSE,)), seed=30)
    assert "says nothing about it" in compared(run).reason


def test_a_baseline_that_answers_every_case_has_nothing_to_name(world: World) -> None:
    baseline_of(world, suite())
    assert "no answer to" not in compared(run_of(world.version, suite(), seed=2)).reason


# A metric goes missing, or is no number


def test_a_metric_missing_from_a_rerun_is_not_called_equivalent_by_earlier_answers(
    world: World,
) -> None:
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=6)
    assert quiet(world).metrics.get(metric_key="accuracy").verdict == "equivalent"
    run = rescored(run_of(world.version, suite(metrics=(LOOSE,)), seed=40), None)
    comparison = compared(run)
    accuracy = comparison.metrics.get(metric_key="accuracy")
    assert (accuracy.verdict, accuracy.effect) == ("inconclusive", None)
    assert "no value" in accuracy.reason
    assert comparison.verdict == "inconclusive"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_stored_nowhere_and_refused_by_the_watch(
    world: World, value: float
) -> None:
    run = run_of(world.version, suite(), seed=2)
    with pytest.raises(IntegrityError), transaction.atomic():
        rescored(run, value)
    with pytest.raises(ValueError, match="finite"):
        CaseWatch.start({"c0": [1.0, value]}, "key")


def test_a_measure_of_style_that_is_no_number_is_stored_nowhere(world: World) -> None:
    run = run_of(world.version, suite(), seed=2)
    with pytest.raises(DataError), transaction.atomic():
        Sample.objects.create(
            month=run.month,
            run=run,
            case=suite().cases.first(),
            replicate=9,
            status="answered",
            text="motor",
            request_digest=b"\x00" * 32,
            style={"words": math.nan},
        )


def test_a_baseline_without_scores_leaves_style_and_says_so(world: World) -> None:
    run = rescored(run_of(world.version, suite(), purpose="baseline", replicates=3, seed=1), None)
    services.create_baseline(
        actor=world.owner, model_version=world.version, suite_revision=suite(), runs=[run]
    )
    comparison = compared(run_of(world.version, suite(), seed=2))
    assert "Accuracy was not measured in the baseline" in comparison.reason
    assert not comparison.metrics.filter(metric_key="accuracy").exists()


def test_metrics_that_are_all_equal_see_the_first_answer_that_differs(world: World) -> None:
    same = {"texts": ["motor"], "value": 1.0}
    baseline_of(world, suite(metrics=(ACCURACY, STYLE)), **same)
    for _ in range(3):
        comparison = compared(run_of(world.version, suite(metrics=(ACCURACY, STYLE)), **same))
        assert comparison.reason
        assert math.isfinite(comparison.log_e)
    changed = compared(run_of(world.version, suite(metrics=(ACCURACY, STYLE)), value=0.0))
    assert changed.verdict == "changed_material"


# A model that answers nothing


def test_empty_answers_after_good_ones_are_a_change(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), texts=[""], value=0.0))
    assert comparison.verdict == "changed_material"


def test_a_run_without_answers_after_quiet_months_is_not_equivalent(world: World) -> None:
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=6)
    quiet(world)
    comparison = compared(run_of(world.version, suite(metrics=(LOOSE,)), errors=True))
    assert comparison.verdict != "equivalent"


# Few cases, other revisions, other orders


def test_one_case_is_never_equivalent_by_one_answer(world: World) -> None:
    revision = suite(cases=1)
    baseline_of(world, revision, replicates=1)
    for seed in range(2, 5):
        comparison = compared(run_of(world.version, revision, seed=seed))
        assert comparison.verdict == "inconclusive"


def test_a_revision_in_between_is_said(world: World) -> None:
    first = suite()
    baseline_of(world, first)
    second = suite(summary="Finds the desk of a claim.")
    run = run_of(world.version, second)
    assert compare_run(run=run) is None
    assert "another revision" in why_not_compared(run)
    assert compared(run_of(world.version, first, seed=3)).look == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"purpose": "baseline"}, "baseline run"),
        ({"state": RunState.RUNNING}, "not complete"),
        ({"state": RunState.FAILED}, "not complete"),
    ],
)
def test_a_run_that_is_no_rerun_says_so(world: World, fields: dict[str, str], said: str) -> None:
    baseline_of(world, suite())
    run = run_of(world.version, suite(), **fields)
    assert compare_run(run=run) is None
    assert said in why_not_compared(run)


def test_a_run_older_than_the_baseline_says_so(world: World) -> None:
    run = run_of(world.version, suite(), seed=2)
    baseline_of(world, suite())
    assert "older than the baseline" in why_not_compared(run)


def test_a_compared_run_has_nothing_to_explain(world: World) -> None:
    baseline_of(world, suite())
    run = run_of(world.version, suite(), seed=2)
    compared(run)
    assert why_not_compared(run) == ""


# Retention


def test_a_rerun_whose_answers_are_gone_is_inconclusive_with_a_reason(world: World) -> None:
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=6)
    quiet(world)
    run = run_of(world.version, suite(metrics=(LOOSE,)), seed=40)
    forget(run)
    comparison = compared(run)
    assert comparison.verdict == "inconclusive"
    assert "no answer" in comparison.reason


def test_a_baseline_whose_answers_are_gone_still_finds_a_change_and_says_what_it_lacks(
    world: World,
) -> None:
    baseline = baseline_of(world, suite())
    for seed in (2, 3):
        compared(run_of(world.version, suite(), seed=seed))
    forget(baseline.runs.get())
    comparison = compared(run_of(world.version, suite(), seed=4))
    assert comparison.verdict == "inconclusive"
    assert "The baseline's answers are gone" in comparison.reason
    for seed in (5, 6, 7):
        comparison = compared(run_of(world.version, suite(), seed=seed, changed=True))
    assert comparison.verdict == "changed_material"
    event = open_or_extend_change_event(comparison=comparison)
    assert event is not None
    with pytest.raises(ValueError, match="answers are gone"):
        recompute(recomputing.document(event))


def test_reruns_and_a_baseline_run_whose_answers_are_gone_leave_the_rest_to_speak(
    world: World,
) -> None:
    runs = [
        run_of(world.version, suite(), purpose="baseline", replicates=3, seed=s) for s in (1, 11)
    ]
    baseline = services.create_baseline(
        actor=world.owner, model_version=world.version, suite_revision=suite(), runs=runs
    )
    earlier = [run_of(world.version, suite(), seed=s) for s in (2, 3)]
    for run in earlier:
        compared(run)
    for run in (runs[0], *earlier):
        forget(run)
    comparison = compared(run_of(world.version, suite(), seed=4))
    accuracy = comparison.metrics.get(metric_key="accuracy")
    assert comparison.verdict == "inconclusive"
    assert accuracy.effect is not None
    # Likeness to another answer than the one it was watched by would be a change of ours.
    assert "whole outputs are left out" in comparison.reason
    whole = comparison.metrics.get(metric_key="whole.match")
    assert whole.reason == "Inconclusive: this run holds no value of it."
    assert baseline.watches.get(metric_key="whole.match").looks == 2
    assert compared(run_of(world.version, suite(), seed=5, changed=True)).verdict == (
        "changed_material"
    )


# Order


def test_a_change_that_is_compared_before_an_older_rerun_has_an_ordered_window(
    world: World,
) -> None:
    baseline_of(world, suite())
    compared(run_of(world.version, suite(), seed=2))
    older, newer = (
        run_of(world.version, suite(), seed=3),
        run_of(world.version, suite(), seed=4, changed=True),
    )
    event = open_or_extend_change_event(comparison=compared(newer))
    late = compared(older)
    assert (late.look, late.verdict) == (3, "changed_material")  # an alarm once raised stays
    assert open_or_extend_change_event(comparison=late) == event
    assert event is not None
    event.refresh_from_db()
    assert event.window_start <= event.window_end <= newer.finished_at


# Time zones


def test_a_window_is_the_same_instant_whatever_zone_the_clock_spoke(world: World) -> None:
    baseline_of(world, suite())
    run = run_of(world.version, suite(), seed=2, changed=True)
    assert run.finished_at is not None
    far = dt.timezone(dt.timedelta(hours=14))
    Run.objects.filter(pk=run.pk).update(finished_at=run.finished_at.astimezone(far))
    run.refresh_from_db()
    event = open_or_extend_change_event(comparison=compared(run))
    assert event is not None
    assert event.window_start <= event.window_end == run.finished_at
    assert event.window_end.utcoffset() == dt.timedelta(0)
    assert not Score.objects.filter(run=run).exclude(month=run.month).exists()
