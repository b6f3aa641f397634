"""Charts: sparkline, strip, forest plot, e-values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.utils import timezone

from apps.web import charts
from apps.web.tags import get, register
from apps.web.tags.numbers import (
    as_moment,
    digits_of,
    evalue_text,
    exact_text,
    format_number,
    interval_text,
    percent_text,
    signed_text,
    with_unit,
)
from apps.web.tags.states import state_of


@register.inclusion_tag("components/sparkline.html")
def sparkline(
    points: Iterable[object] | None,
    label: str = "",
    low: float | None = None,
    high: float | None = None,
    percent: bool = False,
    width: int = 96,
    height: int = 20,
) -> dict[str, object]:
    """A line of numbers (None is a gap): ``{% sparkline row.points label="Accuracy" %}``."""
    values = [get(p, "value") if isinstance(p, Mapping) else p for p in points or []]
    line = charts.sparkline(values, width=width, height=height, low=low, high=high)
    show = percent_text if percent else format_number
    said = (
        f"from {show(line.first_value)} to {show(line.last_value)}, "
        f"lowest {show(line.lowest)}, highest {show(line.highest)}"
        if line.last
        else "no data yet"
    )
    return {"line": line, "said": f"{label}: {said}" if label else said}


@register.inclusion_tag("components/strip.html")
def strip(
    verdicts: Iterable[object] | None, label: str = "Verdicts", width: int = 120
) -> dict[str, object]:
    """Verdicts in order as small bars, taller where behaviour changed; None leaves a gap."""
    heights = {"triangle": 16, "triangle-line": 10, "equals": 4, "question": 4}
    items = list(verdicts or [])[-60:]
    step = min(width / len(items), 8) if items else 0
    bars, words = [], []
    for index, item in enumerate(items):
        if item is None:
            continue
        state = state_of("verdict", item)
        tall = heights.get(state.shape, 4)
        words.append(state.word)
        bars.append(
            {
                "x": round(width - (len(items) - index) * step, 2),
                "y": 18 - tall,
                "width": round(max(step - 1, 1), 2),
                "height": tall,
                "tone": state.tone,
                "hollow": state.shape == "question",
            }
        )
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    said = ", ".join(f"{count} {word}" for word, count in counts.items()) or "none yet"
    if words:
        said += f"; last: {words[-1]}"
    return {"bars": bars, "said": f"{label}: {said}", "width": width}


@register.inclusion_tag("components/forest.html")
def forest(
    rows: Iterable[object] | None,
    caption: str = "What changed, metric by metric",
    before_label: str = "Baseline",
    after_label: str = "Now",
    level: str = "95 %",
) -> dict[str, object]:
    """Rows: metric, estimate, low, high, margin, unit, baseline, current, verdict (href, note)."""
    items = list(rows or [])
    plot = charts.forest(
        [
            charts.ForestInput(*(get(row, name) for name in ("estimate", "low", "high", "margin")))
            for row in items
        ]
    )
    view = []
    for row, mark in zip(items, plot.marks, strict=True):
        numbers = [charts.finite(get(row, name)) for name in ("estimate", "low", "high")]
        unit = get(row, "unit", "") or ""
        digits = get(row, "digits")
        places = digits if isinstance(digits, int) else digits_of(*numbers)
        margin = charts.finite(get(row, "margin"))
        view.append(
            {
                "metric": get(row, "metric", ""),
                "href": get(row, "href", ""),
                "note": get(row, "note", ""),
                "baseline": _level(get(row, "baseline"), digits),
                "current": _level(get(row, "current"), digits),
                "unit": unit,
                "estimate": signed_text(numbers[0], unit, places),
                "interval": interval_text(numbers[1], numbers[2], "", places)
                if numbers[1] is not None and numbers[2] is not None
                else "",
                "margin": f"±{with_unit(format_number(margin), unit)}" if margin else "",
                "verdict": get(row, "verdict"),
                "state": state_of("verdict", get(row, "verdict")),
                "mark": mark,
            }
        )
    return {
        "rows": view,
        "plot": plot,
        "drawn": any(plot.marks),
        "caption": caption,
        "before_label": before_label,
        "after_label": after_label,
        "level": level,
    }


def _level(value: object, digits: int | None) -> str:
    return value if isinstance(value, str) else format_number(value, digits)


@register.inclusion_tag("components/evalue_chart.html")
def evalue_chart(
    looks: Iterable[object] | None,
    alarm: float = 100,
    caption: str = "Evidence of change over time",
    rows: int = 50,
) -> dict[str, object]:
    """Looks with ``at`` and ``e_value`` (or pairs) on a log axis, with the alarm line."""
    series = []
    for look in looks or []:
        at, value = look if isinstance(look, tuple) else (get(look, "at"), get(look, "e_value"))
        moment, number = as_moment(at), charts.finite(value)
        if number is None and isinstance(value, float) and value > 0:
            number = charts.CEILING  # an overflow is a very large e-value, not a missing one
        if moment is not None and number is not None:
            series.append(charts.Look(moment, number))
    series.sort(key=lambda look: look.at)
    chart = charts.evalue_chart(series, alarm, zone=timezone.get_current_timezone())
    last = series[-1] if series else None
    return {
        "chart": chart,
        "caption": caption,
        "last": last,
        "last_text": evalue_text(last.e_value) if last else "",
        "alarm_text": format_number(alarm),
        "first_said": f"over the alarm line {format_number(alarm)} since "
        f"{exact_text(chart.first_over.at)[:16]}"
        if chart.first_over
        else "",
        "table": [
            {"at": look.at, "e": evalue_text(look.e_value), "over": look.e_value >= chart.alarm}
            for look in reversed(series[-rows:])
        ],
        "points": [
            {
                "x": p.x,
                "y": p.y,
                "over": p.over,
                "said": f"{exact_text(p.at)}: e-value {evalue_text(p.e_value)}",
            }
            for p in chart.points
        ],
        "older": max(0, len(series) - rows),
    }
