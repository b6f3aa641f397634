"""Reads over runs and their samples."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from django.db.models import Count, Max, Q, QuerySet, Sum

from apps.core import clock
from apps.evaluations import payloads
from apps.evaluations.lifecycle import FINISHED
from apps.evaluations.models import (
    Run,
    RunState,
    Sample,
    SampleStatus,
    Score,
    Spending,
    SuiteRevision,
)
from apps.evaluations.retrying import open_errors as open_errors
from apps.evaluations.revisions import same_cases as same_cases
from apps.evaluations.scoring import FIRST_REVISION
from apps.evaluations.style import style_profile

# The rate that is shown is that of the last half minute: what was before a pause says nothing.
RATE_SECONDS = 30.0


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
    """Now, while the run is on its way; over its whole time once it has ended."""
    eta_seconds: float | None
    spent: dict[str, Decimal] = field(default_factory=dict)
    """Money by currency, of the answers whose price is known."""
    unpriced: int = 0

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 1.0


def progress(run: Run) -> RunProgress:
    """How far a run is. One query over its own partition, one over what it spent."""
    now = clock.now()
    # `updated_at` is when it began, or went on after a pause.
    since = max(now - dt.timedelta(seconds=RATE_SECONDS), run.updated_at)
    recent = Q(answered_at__gte=since)
    rows = (
        Sample.objects.filter(month=run.month, run=run)
        .values("status", "error_kind")
        .annotate(
            n=Count("id"),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            last=Max("answered_at"),
            lately=Count("id", filter=recent),
        )
    )
    done = answered = prompt = completion = lately = 0
    errors: dict[str, int] = {}
    last = None
    for row in rows:
        done += row["n"]
        prompt += row["prompt"] or 0
        completion += row["completion"] or 0
        lately += row["lately"]
        last = max(last, row["last"]) if last else row["last"]
        if row["status"] == SampleStatus.ANSWERED:
            answered += row["n"]
        else:
            kind = row["error_kind"] or row["status"]
            errors[kind] = errors.get(kind, 0) + row["n"]
    per_second = 0.0
    if run.state in FINISHED and run.started_at and last:
        per_second = done / max((last - run.started_at).total_seconds(), 0.001)
    elif run.state in (RunState.QUEUED, RunState.RUNNING) and lately:
        per_second = lately / max((now - since).total_seconds(), 1.0)
    left = run.total_slots - done
    eta = None
    if run.state not in FINISHED and per_second > 0:
        eta = left / per_second
    spent: dict[str, Decimal] = {}
    unpriced = 0
    for entry in Spending.objects.filter(run=run).order_by("currency"):
        if entry.currency:
            spent[entry.currency] = spent.get(entry.currency, Decimal(0)) + entry.cost
        else:
            unpriced += entry.samples
    return RunProgress(
        done=done,
        total=run.total_slots,
        answered=answered,
        errors=errors,
        prompt_tokens=prompt,
        completion_tokens=completion,
        per_second=per_second,
        eta_seconds=eta,
        spent=spent,
        unpriced=unpriced,
    )


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
    # Rows are not kept, and equal ids and numbers are one object: a suite may have 100,000 cases.
    ids: dict[str, str] = {}
    numbers: dict[float, float] = {}

    def add(key: str, case_id: str, value: float | None) -> None:
        if value is not None and math.isfinite(value):
            number = numbers.setdefault(float(value), float(value))
            of_key = values.setdefault(key, {})
            if case_id in of_key:
                of_key[case_id].append(number)
            else:
                of_key[ids.setdefault(case_id, case_id)] = [number]

    for run in runs:
        scores = Score.objects.filter(
            month=run.month, run=run, scoring_revision=FIRST_REVISION, value__isnull=False
        ).order_by("case__position", "replicate", "metric_key")
        rows = scores.values_list("metric_key", "case__case_id", "value")
        for key, case_id, value in rows.iterator(chunk_size=2000):
            add(key, case_id, value)
        samples = Sample.objects.filter(month=run.month, run=run).order_by(
            "case__position", "replicate"
        )
        styles = samples.values_list("case__case_id", "status", "style")
        for case_id, status, style in styles.iterator(chunk_size=2000):
            add("outcome.error", case_id, 0.0 if status == SampleStatus.ANSWERED else 1.0)
            for feature, value in style.items():
                add(f"style.{feature}", case_id, value)
    return values


def any_answer(runs: Iterable[Run]) -> bool:
    """Whether a run holds any answer that says or calls something."""
    return any(
        Sample.objects.filter(month=run.month, run=run, status=SampleStatus.ANSWERED)
        .filter(Q(text__regex=r"\S") | ~Q(tool_calls=[]))
        .exists()
        for run in runs
    )


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


def metric_keys(slug: str) -> set[str] | None:
    """Every metric that runs of a suite may yield; None where there is no such suite."""
    documents = SuiteRevision.objects.filter(suite__slug=slug).values_list("document", flat=True)
    keys = {m["key"] for document in documents for m in document.get("metrics", [])}
    if not keys:
        return None
    return keys | {f"style.{name}" for name in style_profile("")} | {"outcome.error"}
