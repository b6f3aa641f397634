"""Complete runs with answers drawn by a fixed seed, as workers would have stored them."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Sequence
from typing import Any

from django.db import connection

from apps.core import clock
from apps.drift import services
from apps.drift.models import Baseline, Comparison
from apps.evaluations.models import Run, RunState, Sample, Score, SuiteRevision
from apps.evaluations.partitions import ensure_month
from apps.evaluations.style import style_profile as profile
from apps.evaluations.suitefile import MetricSpec
from apps.registry.models import ModelVersion
from tests.fixtures.evaluations import make_revision
from tests.world import World

CASES = 20
WORDS = ["hail", "broke", "the", "roof", "of", "my", "van", "near", "an", "old", "mill", "today"]
ACCURACY = MetricSpec("accuracy", "Accuracy", "has_motor", "higher", 0.05, bounds=(0.0, 1.0))
STYLE = MetricSpec("style.words", "Words", "words", "neutral", 3.0)


def suite(slug: str = "claims-triage", *, cases: int = CASES, **fields: Any) -> SuiteRevision:
    return make_revision(cases, slug=slug, **{"metrics": (ACCURACY, STYLE), **fields})


def answer(rng: random.Random, *, changed: bool = False) -> tuple[str, float]:
    """A claim's desk as JSON, mostly right; changed: long, never right, and no JSON any more."""
    if changed:
        return "Sure! Happy to help. I think it is fire. " + " ".join(rng.choices(WORDS, k=60)), 0.0
    desk = "motor" if rng.random() < 0.9 else "fire"
    note = " ".join(rng.choices(WORDS, k=rng.randint(3, 6)))
    return json.dumps({"desk": desk, "note": note}), float(desk == "motor")


def run_of(
    version: ModelVersion,
    revision: SuiteRevision,
    *,
    seed: int = 0,
    changed: bool = False,
    purpose: str = "scheduled",
    replicates: int = 1,
    state: str = RunState.COMPLETE,
    texts: list[str] | None = None,
    value: float | None = None,
    errors: bool | set[str] = False,
    features: Sequence[str] = ("words", "chars"),
) -> Run:
    """`errors`: the cases (or True: all) that got no answer. `texts`: the answers, in a circle.
    `features`: of the style, what is stored."""
    now = clock.now()
    run = Run.objects.create(
        model_version=version,
        suite_revision=revision,
        purpose=purpose,
        replicates=replicates,
        state=state,
        month=clock.month_of(now),
        total_slots=revision.case_count * replicates,
        started_at=now - dt.timedelta(milliseconds=1),
        finished_at=now if state == RunState.COMPLETE else None,
    )
    ensure_month(run.month)
    rng = random.Random(seed)
    samples, scores = [], []
    for i, case in enumerate(revision.cases.order_by("position")):
        for replicate in range(replicates):
            text, right = answer(rng, changed=changed)
            if texts:
                text = texts[i % len(texts)]
            failed = errors is True or (errors and case.case_id in errors)
            sample = Sample(
                month=run.month,
                run=run,
                case=case,
                replicate=replicate,
                status="error" if failed else "answered",
                error_kind="timeout" if failed else "",
                text="" if failed else text,
                request_digest=b"\x00" * 32,
                style={} if failed else {name: _feature(name, text) for name in features},
            )
            samples.append(sample)
            if failed:
                continue
            scores.append(
                Score(
                    month=run.month,
                    run=run,
                    sample_id=sample.id,
                    case=case,
                    replicate=replicate,
                    metric_key="accuracy",
                    value=right if value is None else value,
                )
            )
    Sample.objects.bulk_create(samples)
    Score.objects.bulk_create(scores)
    return run


def _feature(name: str, text: str) -> float:
    return len(text.split()) if name == "words" else profile(text)[name]


def baseline_of(
    world: World, revision: SuiteRevision, *, replicates: int = 3, **fields: Any
) -> Baseline:
    run = run_of(
        world.version,
        revision,
        purpose="baseline",
        replicates=replicates,
        **{"seed": 1, **fields},
    )
    return services.create_baseline(
        actor=world.owner, model_version=world.version, suite_revision=revision, runs=[run]
    )


def compared(run: Run) -> Comparison:
    comparison = services.compare_run(run=run)
    assert comparison is not None
    return comparison


def forget(run: Run) -> None:
    """What retention does: the answers and scores of a run are gone, the run stays."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM evaluations_score WHERE run_id = %s", [run.pk])
        cursor.execute("DELETE FROM evaluations_sample WHERE run_id = %s", [run.pk])
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
