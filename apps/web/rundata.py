"""A run's answers and metrics in the form in which its page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.drift.metrics import STYLE_METRICS, shown_as_share
from apps.drift.models import Comparison, MetricResult
from apps.evaluations.models import Run, Sample, SampleStatus, Score, SuiteRevision
from apps.evaluations.scoring import FIRST_REVISION

LONG = 280  # characters beyond which an answer is folded


@dataclass(frozen=True)
class AnswerRow:
    sample: Sample
    scores: list[dict[str, Any]]
    state: str
    expected: Any

    @property
    def long(self) -> bool:
        return len(self.sample.text) > LONG

    @property
    def start(self) -> str:
        return self.sample.text[:LONG]


def metric_specs(revision: SuiteRevision) -> list[dict[str, Any]]:
    return list(revision.document.get("metrics", []))


def _graded(revision: SuiteRevision) -> list[dict[str, Any]]:
    """Metrics of which a single answer can be right or wrong."""
    return [
        spec
        for spec in metric_specs(revision)
        if spec.get("bounds") == [0, 1] and spec.get("direction") in ("higher", "lower")
    ]


def pass_filter(revision: SuiteRevision) -> Q | None:
    """Scores that say “wrong”; None where the suite has no right and wrong."""
    found: Q | None = None
    for spec in _graded(revision):
        better = {"value__lt": 0.5} if spec["direction"] == "higher" else {"value__gt": 0.5}
        one = Q(metric_key=spec["key"], **better)
        found = one if found is None else found | one
    return found


def answer_rows(
    run: Run, samples: Sequence[Sample], scoring_revision: int = FIRST_REVISION
) -> list[AnswerRow]:
    """Samples with their scores under a scoring revision, in one query for all of them."""
    specs = {spec["key"]: spec for spec in metric_specs(run.suite_revision)}
    graded = {spec["key"]: spec["direction"] for spec in _graded(run.suite_revision)}
    scores: dict[Any, list[dict[str, Any]]] = {}
    wrong: set[Any] = set()
    rows = Score.objects.filter(
        month=run.month,
        run=run,
        sample_id__in=[s.id for s in samples],
        scoring_revision=scoring_revision,
    ).order_by("metric_key")
    for score in rows:
        label = specs.get(score.metric_key, {}).get("label") or score.metric_key
        scores.setdefault(score.sample_id, []).append(
            {"label": label, "value": score.value, "why": score.explanation}
        )
        if score.value is not None and score.metric_key in graded:
            better = graded[score.metric_key] == "higher"
            if (score.value < 0.5) == better and score.value != 0.5:
                wrong.add(score.sample_id)
    return [
        AnswerRow(
            sample=sample,
            scores=scores.get(sample.id, []),
            state=_state(sample, sample.id in wrong, bool(graded) and sample.id in scores),
            expected=sample.case.document.get("expect"),
        )
        for sample in samples
    ]


def _state(sample: Sample, wrong: bool, judged: bool) -> str:
    if sample.status != SampleStatus.ANSWERED:
        return "error"
    if not judged:
        return ""
    return "fail" if wrong else "pass"


def metric_rows(run: Run, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The run's metrics beside the baseline's where it was compared: the suite's own first."""
    means = run.totals.get("metrics", {})
    specs = {spec["key"]: spec for spec in metric_specs(run.suite_revision)}
    results = {
        r.metric_key: r for r in MetricResult.objects.filter(comparison__in=list(comparisons)[-1:])
    }
    keys = [*specs, *(k for k in STYLE_METRICS if k not in specs), "outcome.error"]
    rows = []
    for key in keys:
        if key not in means:
            continue
        spec, result = specs.get(key, {}), results.get(key)
        share = spec.get("bounds") == [0, 1] or key == "outcome.error" or shown_as_share(key)
        scale = 100.0 if share else 1.0
        unit = "%" if share else "" if spec.get("unit") in (None, "share") else spec["unit"]

        def scaled(value: float | None, scale: float = scale) -> float | None:
            return None if value is None else value * scale

        rows.append(
            {
                "label": spec.get("label") or STYLE_METRICS.get(key) or "No answer",
                "key": key,
                "value": scaled(means[key]),
                "unit": unit,
                "effect_unit": "pts" if share else unit,
                "baseline": scaled(result.baseline_mean) if result else None,
                "effect": scaled(result.effect) if result else None,
                "low": scaled(result.low) if result else None,
                "high": scaled(result.high) if result else None,
                "verdict": result.verdict if result else "",
            }
        )
    return rows


def metrics_of(run: Run, comparisons: Sequence[Comparison]) -> dict[str, list[dict[str, Any]]]:
    """What is shown at once, and the style of the answers as far as it did not change."""
    rows = metric_rows(run, comparisons)
    style = [
        row
        for row in rows
        if row["key"].startswith("style.") and not row["verdict"].startswith("changed")
    ]
    return {"shown": [row for row in rows if row not in style], "style": style} if rows else {}
