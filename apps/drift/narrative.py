"""The one sentence at the top of a change event, written from the data."""

from __future__ import annotations

import datetime as dt
import math

from apps.drift.models import ChangeEvent, MetricResult

CLAUSES = 3


def sentence_of(event: ChangeEvent) -> str:
    """'Since between … and … UTC, answers are 71 % shorter; two assumptions no longer hold.'"""
    results = MetricResult.objects.filter(comparison__in=event.comparisons.all()).select_related(
        "comparison__baseline__suite_revision__suite"
    )
    newest: dict[tuple[str, str], MetricResult] = {}
    for result in results.order_by("comparison__created_at"):
        suite = result.comparison.baseline.suite_revision.suite.name
        newest[suite, result.metric_key] = result
    clauses: list[str] = []
    seen: set[str] = set()
    ranked = sorted(newest.items(), key=lambda item: _weight(item[1]), reverse=True)
    for (suite, key), result in ranked:
        if _weight(result) <= 0 or _family(key) in seen:
            continue
        if clause := _clause(result, suite):
            seen.add(_family(key))
            clauses.append(clause)
        if len(clauses) == CLAUSES:
            break
    what = _joined(clauses) if clauses else "answers differ from the approved baseline"
    text = f"Since between {_span(event.window_start, event.window_end)}, {what}"
    if tail := _broken(event):
        text += f"; {tail}"
    return text + "."


def _weight(result: MetricResult) -> float:
    """Material metrics first, then by evidence."""
    if result.effect is None or not result.effect:
        return 0.0
    material = result.verdict == "changed_material" and result.margin is not None
    beyond = (
        result.low is not None and result.high is not None and (result.low > 0 or result.high < 0)
    )
    if not material and not beyond and result.log_e < math.log(20):
        return 0.0
    return result.log_e + (1000.0 if material else 0.0) + 1.0


def _family(key: str) -> str:
    return "length" if key in ("style.chars", "style.words", "style.sentences") else key


def _clause(result: MetricResult, suite: str) -> str:
    effect = result.effect or 0.0
    if result.metric_key in ("style.chars", "style.words") and result.baseline_mean:
        share = abs(effect / result.baseline_mean) * 100
        if share < 1:
            return ""
        return f"answers on {suite} are {share:.0f} % {'longer' if effect > 0 else 'shorter'}"
    if result.unit == "points":
        points = abs(effect) * 100
        direction = "up" if effect > 0 else "down"
        return f"{result.label.lower()} on {suite} is {direction} {points:.0f} points"
    direction = "up" if effect > 0 else "down"
    before, after = _short(result.baseline_mean), _short(result.current_mean)
    return f"{result.label.lower()} on {suite} is {direction} from {before} to {after}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _span(start: dt.datetime, end: dt.datetime) -> str:
    start, end = start.astimezone(dt.UTC), end.astimezone(dt.UTC)
    seconds = ":%S" if (end - start) < dt.timedelta(minutes=10) else ""
    later = f"%H:%M{seconds}" if start.date() == end.date() else f"%a %d %b %H:%M{seconds}"
    return f"{start:%a %d %b %H:%M{seconds}} and {end:{later}} UTC"


def _broken(event: ChangeEvent) -> str:
    rows = list(event.broken_assumptions.select_related("assumption__approval"))
    if not rows:
        return ""
    approvals = sorted({str(b.assumption.approval) for b in rows})
    words = {1: "one assumption", 2: "two assumptions", 3: "three assumptions"}
    count = words.get(len(rows), f"{len(rows)} assumptions")
    verb = "holds" if len(rows) == 1 else "hold"
    return f"{count} of approval {_joined(approvals)} no longer {verb}"
