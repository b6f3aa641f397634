"""Reads over runs and their samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db.models import Count, Max, QuerySet, Sum

from apps.core import clock
from apps.evaluations import payloads
from apps.evaluations.lifecycle import FINISHED
from apps.evaluations.models import Run, Sample, SampleStatus, Score
from apps.evaluations.scoring import FIRST_REVISION


@dataclass(frozen=True)
class RunProgress:
    done: int
    total: int
    answered: int
    errors: dict[str, int]
    """Outcomes other than an answer, by kind."""
    prompt_tokens: int
    completion_tokens: int
    per_second: float
    eta_seconds: float | None

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 1.0


def progress(run: Run) -> RunProgress:
    """How far a run is. One query over its own partition."""
    rows = (
        Sample.objects.filter(month=run.month, run=run)
        .values("status", "error_kind")
        .annotate(
            n=Count("id"),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            last=Max("answered_at"),
        )
    )
    done = answered = prompt = completion = 0
    errors: dict[str, int] = {}
    last = None
    for row in rows:
        done += row["n"]
        prompt += row["prompt"] or 0
        completion += row["completion"] or 0
        last = max(last, row["last"]) if last else row["last"]
        if row["status"] == SampleStatus.ANSWERED:
            answered += row["n"]
        else:
            kind = row["error_kind"] or row["status"]
            errors[kind] = errors.get(kind, 0) + row["n"]
    per_second = 0.0
    if run.started_at and last:
        end = last if run.state in FINISHED else clock.now()
        per_second = done / max((end - run.started_at).total_seconds(), 0.001)
    left = run.total_slots - done
    eta = None
    if run.state not in FINISHED and per_second > 0:
        eta = left / per_second
    return RunProgress(done, run.total_slots, answered, errors, prompt, completion, per_second, eta)


def answers(run: Run) -> Iterator[Sample]:
    """The run's samples, by case position and replicate, with their cases."""
    return (
        Sample.objects.filter(month=run.month, run=run)
        .select_related("case")
        .order_by("case__position", "replicate")
        .iterator(chunk_size=500)
    )


def metric_values(runs: Iterable[Run]) -> dict[str, dict[str, list[float]]]:
    """Every metric's values: metric key → the case's id in its suite → all replicates.

    The suite's metrics, `style.<feature>` of every answer, and `outcome.error` (1.0 where the slot
    has no answer) of every slot. In the order of `runs`, then of replicates. No NaN: what was
    not scored is left out.
    """
    values: dict[str, dict[str, list[float]]] = {}

    def add(key: str, case_id: str, value: float | None) -> None:
        if value is not None and math.isfinite(value):
            values.setdefault(key, {}).setdefault(case_id, []).append(float(value))

    for run in runs:
        scores = Score.objects.filter(
            month=run.month, run=run, scoring_revision=FIRST_REVISION, value__isnull=False
        ).order_by("case__position", "replicate", "metric_key")
        for key, case_id, value in scores.values_list("metric_key", "case__case_id", "value"):
            add(key, case_id, value)
        samples = Sample.objects.filter(month=run.month, run=run).order_by(
            "case__position", "replicate"
        )
        for case_id, status, style in samples.values_list("case__case_id", "status", "style"):
            add("outcome.error", case_id, 0.0 if status == SampleStatus.ANSWERED else 1.0)
            for feature, value in style.items():
                add(f"style.{feature}", case_id, value)
    return values


def scores_of(sample: Sample) -> QuerySet[Score]:
    return Score.objects.filter(
        month=sample.month,
        run=sample.run_id,
        sample_id=sample.id,
        scoring_revision=FIRST_REVISION,
    ).order_by("metric_key")


def request_of(sample: Sample) -> bytes:
    """The request as sent: canonical JSON, without headers."""
    return payloads.get(sample.request_digest)


def response_of(sample: Sample) -> bytes | None:
    """The answer's body as received; None where none was stored."""
    return payloads.get(sample.response_digest) if sample.response_digest else None
