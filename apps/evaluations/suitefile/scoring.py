"""A suite's scorers at work: build them once, then score any answer of any case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult
from apps.evaluations.scorers.registry import build_scorer
from apps.evaluations.suitefile.types import Case, MetricSpec, Suite


def build_scorers(suite: Suite) -> dict[str, Scorer]:
    """The suite's scorers by key."""
    return {spec.key: build_scorer(spec.type, spec.params) for spec in suite.scorers}


def score_answer(
    scorers: Mapping[str, Scorer], case: Case, answer: Answer
) -> dict[str, ScoreResult]:
    """Every scorer's result for one answer, by the scorer's key. Never raises."""
    return {key: scorer.score(answer, case) for key, scorer in scorers.items()}


def metric_value(
    metric: MetricSpec, results: Iterable[tuple[Case, Mapping[str, ScoreResult]]]
) -> float | None:
    """The weighted mean of the metric's scorer over what it scored; None if nothing was."""
    total = weights = 0.0
    for case, scores in results:
        value = scores[metric.scorer].value
        if value is not None:
            total += case.weight * value
            weights += case.weight
    return total / weights if weights else None
