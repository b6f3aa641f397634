"""Runs whose answers are stored, of suites that are scored by rules, embeddings, judges, people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apps.audit.services import SYSTEM
from apps.core import clock
from apps.evaluations import payloads, scoring, services
from apps.evaluations.models import Run, RunState, Sample, Score, SuiteRevision
from apps.evaluations.scorers import Answer
from apps.evaluations.stored import case_of
from apps.evaluations.suitefile import Case, MetricSpec, ScorerSpec
from apps.registry.models import ModelVersion
from tests.fixtures.evaluations import make_suite, make_version

RUBRIC = "Says what happens next with the claim."


def revision(
    cases: int = 3, mode: str = "pass", given: tuple[Case, ...] = (), **fields: Any
) -> SuiteRevision:
    """Rules (`accuracy`), an embedding (`near`) and a rubric (`clear`)."""
    suite = make_suite(
        scorers=(
            ScorerSpec("has_motor", "contains", {}),
            ScorerSpec("near", "embedding", {}),
            ScorerSpec("clear", "rubric", {"rubric": RUBRIC, "mode": mode}),
        ),
        metrics=(
            MetricSpec("accuracy", "Accuracy", "has_motor", "higher", 0.05, bounds=(0, 1)),
            MetricSpec("near", "Nearness", "near", "higher", 0.05, bounds=(0, 1)),
            MetricSpec("clear", "Clear", "clear", "higher", 0.05, bounds=(0, 1)),
        ),
        **fields,
    )
    own = tuple(Case(id=f"c{i}", vars={"id": f"c{i}"}, expect="motor claim") for i in range(cases))
    return services.import_suite(actor=SYSTEM, suite=replace(suite, cases=given or own))[0]


def answered(suite: SuiteRevision, *texts: str, version: ModelVersion | None = None) -> Run:
    """A complete run with these answers, scored by the rules as a worker would have."""
    run = services.start_run(
        actor=SYSTEM,
        model_version=version or make_version("http://127.0.0.1:9/v1"),
        suite_revision=suite,
    )
    digest = payloads.put(b"{}")
    for row, text in zip(suite.cases.order_by("position"), texts, strict=True):
        sample = Sample.objects.create(
            month=run.month,
            run=run,
            case=row,
            replicate=0,
            status="answered",
            text=text,
            request_digest=digest,
        )
        results = scoring.plan_of(suite).results(case_of(row), Answer(text))
        Score.objects.bulk_create(scoring.scores_of(run=run, sample=sample, results=results))
    run.shards.update(done=True)
    now = clock.now()
    Run.objects.filter(pk=run.pk).update(state=RunState.COMPLETE, started_at=now, finished_at=now)
    run.refresh_from_db()
    return run


def judge_at(url: str, **fields: Any) -> ModelVersion:
    return make_version(url, **{"label": "judge", "pin_kind": "snapshot", **fields})


def values(run: Run, number: int, key: str) -> list[float | None]:
    rows = Score.objects.filter(run=run, scoring_revision=number, metric_key=key)
    return list(rows.order_by("case__position").values_list("value", flat=True))
