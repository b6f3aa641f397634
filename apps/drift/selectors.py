"""Reads of drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from apps.accounts.permissions import visible
from apps.drift.models import Baseline, ChangeEvent, Comparison, MetricResult
from apps.registry.models import ModelVersion


def change_events(user: Any) -> QuerySet[ChangeEvent]:
    return visible(
        user,
        ChangeEvent.objects.select_related("model_version__model__provider"),
        team_path="model_version__team",
    )


def current_baselines(version: ModelVersion) -> QuerySet[Baseline]:
    return Baseline.objects.filter(model_version=version, retired_at__isnull=True).select_related(
        "suite_revision__suite"
    )


def last_comparison(version: ModelVersion) -> Comparison | None:
    return (
        Comparison.objects.filter(baseline__model_version=version)
        .select_related("run", "baseline__suite_revision__suite")
        .order_by("-created_at")
        .first()
    )


@dataclass(frozen=True)
class Look:
    """One point of an e-value chart: natural log, when, and the alarm line (natural log)."""

    at: Any
    log_e: float
    verdict: str
    comparison: Comparison


def looks(baseline: Baseline) -> list[Look]:
    """The e-value of a baseline's combined watch over its looks, oldest first."""
    rows = baseline.comparisons.select_related("run").order_by("look")
    return [Look(c.run.finished_at or c.created_at, c.log_e, c.verdict, c) for c in rows]


def alarm_line(alpha: float) -> float:
    return -math.log(alpha)


def newest_results(event: ChangeEvent) -> list[MetricResult]:
    """The newest result for each suite and metric of an event, strongest evidence first."""
    newest: dict[tuple[Any, str], MetricResult] = {}
    rows = MetricResult.objects.filter(comparison__in=event.comparisons.all()).select_related(
        "comparison__baseline__suite_revision__suite", "comparison__run"
    )
    for row in rows.order_by("comparison__created_at"):
        newest[row.comparison.baseline.suite_revision_id, row.metric_key] = row
    return sorted(newest.values(), key=lambda r: -r.log_e)
