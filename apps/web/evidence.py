"""From results of comparisons to what the evidence pages draw: forest rows, charts, pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from apps.drift import selectors
from apps.drift.models import Baseline, Comparison, ExamplePair, MetricResult
from apps.web.templatetags.gt import evalue_text

CHANGED = ("changed_material", "changed_immaterial")
_KINDS = {"added": "added", "removed": "removed"}


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


def forest_rows(results: Iterable[MetricResult], *, with_suite: bool) -> ForestRows:
    """Rows for the forest plot, those that moved apart from the others; strongest evidence first
    among what a suite measures with a margin, then among the rest."""
    rows = ForestRows()
    # A metric with a margin was chosen by people; the watched style comes after it.
    for result in sorted(results, key=lambda r: r.margin is None):
        alpha = result.comparison.alpha
        target = rows.moved if moved(result, alpha) else rows.still
        target.append(forest_row(result, with_suite=with_suite))
    return rows


def forest_row(result: MetricResult, *, with_suite: bool) -> dict[str, Any]:
    share = result.unit == "points"
    scale = 100.0 if share else 1.0

    def shown(value: float | None) -> float | None:
        return None if value is None else value * scale

    suite = result.comparison.baseline.suite_revision.suite
    notes = [suite.name] if with_suite else []
    notes.append(f"e-value {evalue(result.log_e)}")
    before, now = shown(result.baseline_mean), shown(result.current_mean)
    return {
        "metric": result.label,
        "note": " · ".join(notes),
        "href": reverse("web:comparison", args=[result.comparison_id]) if with_suite else "",
        "baseline": _level(before, "%" if share else ""),
        "current": _level(now, "%" if share else ""),
        "estimate": shown(result.effect),
        "low": shown(result.low),
        "high": shown(result.high),
        "margin": shown(result.margin),
        "unit": "pts" if share else _unit(result.unit),
        "verdict": result.verdict,
        "reason": result.reason,
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


def newest_by_baseline(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The last comparison of each baseline that found a change, in the baselines' own order."""
    newest: dict[Any, Comparison] = {}
    for comparison in sorted(comparisons, key=lambda c: c.look):
        if comparison.verdict in CHANGED or comparison.baseline_id not in newest:
            newest[comparison.baseline_id] = comparison
    return list(newest.values())


@dataclass(frozen=True)
class Pair:
    """A pair of answers with its structured difference in the words of the page."""

    row: ExamplePair
    changes: list[dict[str, Any]]
    no_longer_json: str
    tags: list[str]

    @property
    def expected(self) -> Any:
        return self.row.case.document.get("expect")


def pairs_of(comparisons: Iterable[Comparison]) -> list[Pair]:
    """The most telling pairs first, over all the given comparisons."""
    rows = (
        ExamplePair.objects.filter(comparison__in=list(comparisons))
        .select_related("case", "comparison__baseline__suite_revision__suite")
        .order_by("-distance", "rank", "id")
    )
    return [_pair(row) for row in rows]


def _pair(row: ExamplePair) -> Pair:
    changes: list[dict[str, Any]] = []
    no_longer = ""
    for change in row.json_diff:
        kind = str(change.get("kind", ""))
        if kind == "not_json_after":
            no_longer = "The baseline answered in JSON; the answer now is no JSON."
        elif kind == "not_json_before":
            no_longer = "The answer now is JSON; the baseline answered in plain text."
        else:
            changes.append({**change, "kind": _KINDS.get(kind.rpartition("_")[2], "changed")})
    tags = [str(tag) for tag in row.case.document.get("tags", [])]
    return Pair(row, changes, no_longer, tags)
