"""What a baseline accepts, and what it freezes."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from apps.core.errors import InvalidInput, NotAllowed, NotFound
from apps.drift.models import Baseline, Comparison, ExamplePair, MetricResult
from apps.drift.services import create_baseline
from apps.evaluations.models import Run, RunState
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World


def refused(world: World, *runs: Run) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        create_baseline(
            actor=world.owner,
            model_version=world.version,
            suite_revision=suite(),
            runs=list(runs) or None,
        )
    assert caught.value.field == "runs"
    assert caught.value.remedy
    assert not Baseline.objects.exists()
    return caught.value


def test_a_baseline_starts_a_watch_for_each_metric(world: World) -> None:
    baseline = baseline_of(world, suite())
    keys = set(baseline.watches.values_list("metric_key", flat=True))
    measured = {"accuracy", "style.words", "style.chars", "outcome.error"}
    assert keys == measured | {"whole.match", "whole.similarity", "first.rerun"}
    assert baseline.summary["answers"] == 60
    assert sum(m["weight"] for m in baseline.summary["metrics"]) == pytest.approx(1)


def test_without_a_baseline_run_there_is_no_baseline(world: World) -> None:
    assert "no complete baseline run" in refused(world).message


@pytest.mark.parametrize("state", [s for s in RunState.values if s != RunState.COMPLETE])
def test_an_unfinished_run_is_refused(world: World, state: str) -> None:
    assert "not complete" in refused(world, run_of(world.version, suite(), state=state)).message


def test_a_run_of_another_version_is_refused(world: World) -> None:
    other = run_of(world.another_version(), suite())
    assert "another version" in refused(world, other).message


def test_a_run_of_another_suite_is_refused(world: World) -> None:
    assert (
        "another version or suite"
        in refused(world, run_of(world.version, suite("claims-style"))).message
    )


def test_one_foreign_run_among_good_ones_refuses_all(world: World) -> None:
    refused(world, run_of(world.version, suite()), run_of(world.another_version(), suite()))


def test_a_run_without_a_usable_answer_is_refused(world: World) -> None:
    assert "no usable answer" in refused(world, run_of(world.version, suite(), errors=True)).message


@pytest.mark.parametrize(("who", "error"), [("auditor", NotAllowed), ("outsider", NotFound)])
def test_who_may_not_set_a_baseline_sets_none(
    world: World, who: str, error: type[Exception]
) -> None:
    run = run_of(world.version, suite())
    with pytest.raises(error):
        create_baseline(
            actor=getattr(world, who),
            model_version=world.version,
            suite_revision=run.suite_revision,
            runs=[run],
        )


def test_a_new_baseline_retires_the_old_one(world: World) -> None:
    old, new = baseline_of(world, suite()), baseline_of(world, suite())
    old.refresh_from_db()
    assert old.retired_at is not None
    assert new.retired_at is None


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Comparison, {"verdict": "equivalent"}),
        (MetricResult, {"effect": 0.0}),
        (ExamplePair, {"current_text": "x"}),
    ],
)
def test_what_was_compared_cannot_be_rewritten(world: World, model, change) -> None:
    baseline_of(world, suite())
    compared(run_of(world.version, suite(), changed=True))
    assert model.objects.exists(), "the test would prove nothing"
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        model.objects.update(**change)
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        model.objects.all()._raw_delete(model.objects.db)
