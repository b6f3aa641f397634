"""From results of comparisons to what the evidence pages draw: forest rows and charts."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from apps.drift import narrative, selectors
from apps.drift.models import Baseline, Comparison, Evidence, EvidenceSource, MetricResult, Probe
from apps.registry.models import ModelVersion
from apps.web.lists import as_uuid
from apps.web.tags.numbers import evalue_text

CHANGED = ("changed_material", "changed_immaterial")
TOLD = 8  # a refresh can move two dozen measures of style at once


def e_value(log_e: float) -> float:
    """Natural log to the number itself; an overflow is a very large e-value, not an error."""
    return math.exp(min(log_e, 700.0)) if not math.isnan(log_e) else math.nan


def moved(result: MetricResult, alpha: float) -> bool:
    """Did this metric move: by its verdict, its interval, or its own evidence?"""
    if result.verdict in CHANGED or result.log_e >= selectors.alarm_line(alpha):
        return True
    low, high = result.low, result.high
    return low is not None and high is not None and (low > 0 or high < 0)


@dataclass
class ForestRows:
    moved: list[dict[str, Any]] = field(default_factory=list)
    still: list[dict[str, Any]] = field(default_factory=list)

    @property
    def told(self) -> list[dict[str, Any]]:
        """Of what moved, what stands on the page at once; the rest is folded behind it."""
        return self.moved if len(self.moved) <= TOLD + 2 else self.moved[:TOLD]

    @property
    def rest(self) -> list[dict[str, Any]]:
        return self.moved[len(self.told) :]


def forest_rows(results: Iterable[MetricResult], *, with_suite: bool) -> ForestRows:
    """Rows for the forest plot, those that moved apart from the others; first what a suite
    measures with a margin, then the rest, each in the order of the change's sentence."""
    rows = ForestRows()
    # A metric with a margin was chosen by people; the watched style comes after it.
    for result in sorted(
        results, key=lambda r: (r.margin is not None, narrative.rank(r)), reverse=True
    ):
        alpha = result.comparison.alpha
        target = rows.moved if moved(result, alpha) else rows.still
        target.append(forest_row(result, with_suite=with_suite))
    return rows


def forest_row(result: MetricResult, *, with_suite: bool) -> dict[str, Any]:
    suite = result.comparison.baseline.suite_revision.suite
    notes = [suite.name] if with_suite else []
    notes.append(f"e-value {evalue(result.log_e)}")
    return metric_row(
        label=result.label,
        share=result.unit == "points",
        unit=result.unit,
        before=result.baseline_mean,
        now=result.current_mean,
        estimate=result.effect,
        low=result.low,
        high=result.high,
        margin=result.margin,
        verdict=result.verdict,
        note=" · ".join(notes),
        href=reverse("web:comparison", args=[result.comparison_id]) if with_suite else "",
    ) | {"reason": result.reason}


def metric_row(
    *,
    label: str,
    share: bool,
    unit: str,
    before: float | None,
    now: float | None,
    estimate: float | None,
    low: float | None,
    high: float | None,
    margin: float | None,
    verdict: str,
    note: str = "",
    href: str = "",
) -> dict[str, Any]:
    """A row of the forest plot; shares are shown as points, percent of 1."""
    scale = 100.0 if share else 1.0

    def shown(value: float | None) -> float | None:
        return None if value is None else value * scale

    return {
        "metric": label,
        "note": note,
        "href": href,
        "baseline": _level(shown(before), "%" if share else ""),
        "current": _level(shown(now), "%" if share else ""),
        "estimate": shown(estimate),
        "low": shown(low),
        "high": shown(high),
        "margin": shown(margin),
        "unit": "pts" if share else _unit(unit),
        "verdict": verdict,
    }


def _unit(unit: str) -> str:
    return "" if unit == "share" else unit


def _level(value: float | None, unit: str) -> Any:
    if value is None or not unit:
        return value
    digits = 0 if abs(value - round(value)) < 0.05 else 1
    return f"{value:.{digits}f}\u00a0{unit}"


def evalue(log_e: float) -> str:
    return evalue_text(e_value(log_e))


@dataclass(frozen=True)
class Watchtower:
    """The looks of one baseline, for the chart: why we say so."""

    baseline: Baseline
    looks: list[dict[str, Any]]
    alarm: float
    alpha: float
    last: Comparison

    @property
    def over(self) -> bool:
        return any(look["e_value"] >= self.alarm for look in self.looks)


def watchtower(baseline: Baseline) -> Watchtower | None:
    looks = selectors.looks(baseline)
    if not looks:
        return None
    alpha = looks[-1].comparison.alpha
    return Watchtower(
        baseline=baseline,
        looks=[{"at": look.at, "e_value": e_value(look.log_e)} for look in looks],
        alarm=1.0 / alpha,
        alpha=alpha,
        last=looks[-1].comparison,
    )


@dataclass(frozen=True)
class SourceRow:
    """One source of the version's e-value, as a row beneath its chart."""

    name: str
    weight: float | None
    looks: int
    log_e: float

    @property
    def e_text(self) -> str:
        return evalue(self.log_e)


@dataclass(frozen=True)
class Life:
    """One life of a version's e-value: what verdicts and alarms rest on."""

    row: Evidence
    looks: list[dict[str, Any]]
    sources: list[SourceRow]

    @property
    def alarm(self) -> float:
        return 1.0 / self.row.alpha

    @property
    def over(self) -> bool:
        return self.row.max_log_e >= selectors.alarm_line(self.row.alpha)


def life_at(version: ModelVersion, moment: dt.datetime) -> Life | None:
    """The life of the version's e-value that ran at a moment, with its looks."""
    lives = Evidence.objects.filter(model_version=version, created_at__lte=moment)
    row = lives.order_by("-created_at").first()
    row = row or Evidence.objects.filter(model_version=version).order_by("created_at").first()
    return life_of(row) if row else None


def life_of(row: Evidence) -> Life:
    looks = row.history.order_by("number").values_list("at", "log_e")
    sources = row.sources.select_related("baseline__suite_revision__suite").order_by("kind", "id")
    return Life(
        row,
        [{"at": at, "e_value": e_value(log_e)} for at, log_e in looks],
        [SourceRow(_source_name(s), s.weight, s.looks, s.log_e) for s in sources],
    )


def _source_name(source: EvidenceSource) -> str:
    if source.baseline:
        return source.baseline.suite_revision.suite.name
    key = as_uuid(source.key)
    probe = Probe.objects.filter(pk=key).first() if key else None
    return probe.get_kind_display() if probe else source.get_kind_display()


def newest_by_baseline(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The last comparison of each baseline that found a change, in the baselines' own order."""
    newest: dict[Any, Comparison] = {}
    for comparison in sorted(comparisons, key=lambda c: c.look):
        if comparison.verdict in CHANGED or comparison.baseline_id not in newest:
            newest[comparison.baseline_id] = comparison
    return list(newest.values())
