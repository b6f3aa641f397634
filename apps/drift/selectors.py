"""Reads of drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from apps.accounts.permissions import visible
from apps.drift.models import Baseline, ChangeEvent, Comparison, MetricResult
from apps.evaluations.models import Run, RunState
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


def unwatched(version: ModelVersion) -> list[str]:
    """Suites whose watch ended for want of answers, as sentences, until a new baseline is set."""
    current = current_baselines(version).values("suite_revision__suite")
    rows = Baseline.objects.filter(
        model_version=version, retired_at__isnull=False, summary__has_key="needs_new"
    ).exclude(suite_revision__suite__in=current)
    return [row.summary["needs_new"] for row in rows.order_by("retired_at")]


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


def why_not_compared(run: Run) -> str:
    """The reason why a run has no comparison, as one sentence; empty where it has one."""
    if Comparison.objects.filter(run=run).exists():
        return ""
    if run.purpose == Run.Purpose.BASELINE:
        return "A baseline run is what others are compared with."
    if run.state != RunState.COMPLETE:
        return (
            f"It is {run.get_state_display().lower()}, not complete: only whole runs are compared."
        )
    of_version = Baseline.objects.filter(model_version=run.model_version_id)
    here = of_version.filter(suite_revision=run.suite_revision_id)
    current = here.filter(retired_at__isnull=True).first()
    if current is not None and current.created_at <= run.created_at:
        return "It waits to be compared."
    if current is not None:
        return "It is older than the baseline in use."
    if last := here.order_by("-retired_at").first():
        return str(
            last.summary.get("needs_new")
            or "The baseline of this suite was retired, and no other was set."
        )
    if of_version.filter(suite_revision__suite=run.suite_revision.suite_id).exists():
        return (
            "The baseline is of another revision of the suite, whose answers are not comparable. "
            "Run a baseline of this revision."
        )
    return (
        "There is no baseline of this version on this suite. Make a complete run one with “Use as "
        "baseline…”, or run one with purpose “baseline”."
    )
