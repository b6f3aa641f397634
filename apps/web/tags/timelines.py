"""The timeline: what happened to one thing, lane by lane, on one axis of time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils import timezone

from apps.web import charts
from apps.web.tags import get, register
from apps.web.tags.numbers import as_moment, evalue_text, exact_text
from apps.web.tags.states import DRAWINGS, State, state_of

# What a mark that stands for several shows: the worst of them.
GRAVITY = {"bad": 0, "warn": 1, "info": 2, "ok": 3, "mute": 4}
HEIGHT, EDGE = 32.0, 5.0  # pixels: a lane, and what stays free above and below a line


@register.inclusion_tag("components/timeline.html")
def timeline(
    lanes: Iterable[object] | None,
    start: object = None,
    end: object = None,
    now: object = None,
    caption: str = "Timeline",
) -> dict[str, object]:
    """Lanes with ``label``, ``items`` (and ``empty``) over one time axis.

    An item: ``kind`` and ``value`` as for ``badge``; ``at`` for a moment, or ``start`` and ``end``
    for a stretch (either may be None: still open); optional ``label`` and ``href``. Moments that
    lie too close for the eye share a mark with their number. Few moments have their label beside
    them unless the lane says ``names=False``. A lane may instead carry ``points``
    ((moment, e-value) pairs) and ``alarm``: then it is a line on a logarithmic scale.
    """
    lanes_in = list(lanes or [])
    spans = [[_span(item) for item in _items(lane)] for lane in lanes_in]
    lines = [_points(lane) for lane in lanes_in]
    known = [[charts.Span(at, at) for at, _ in line] for line in lines]
    placed = charts.timeline(
        [own + extra for own, extra in zip(spans, known, strict=True)],
        start=as_moment(start),
        end=as_moment(end),
        now=as_moment(now) or timezone.now(),
        zone=timezone.get_current_timezone(),
    )
    view = []
    for lane, row, line, places in zip(lanes_in, spans, lines, placed.lanes, strict=True):
        items = [
            _item(item, span, place)
            for item, span, place in zip(_items(lane), row, places, strict=False)
        ]
        view.append(
            {
                "label": get(lane, "label", ""),
                "empty": get(lane, "empty", "none"),
                "items": items,
                "stretches": [i for i in items if i["place"] and not i["place"].moment],
                "marks": _marks(items, places[: len(items)], names=get(lane, "names", True)),
                "line": _line(line, get(lane, "alarm", None), placed),
            }
        )
    return {"lanes": view, "axis": placed, "caption": caption}


def _span(item: object) -> charts.Span:
    at = as_moment(get(item, "at"))
    if at:
        return charts.Span(at, at)
    return charts.Span(as_moment(get(item, "start")), as_moment(get(item, "end")))


def _item(item: object, span: charts.Span, place: charts.Placed | None) -> dict[str, Any]:
    state = state_of(str(get(item, "kind", "verdict")), get(item, "value"))
    label = get(item, "label") or ""
    said = f"{label}, {state.word}" if label and label != state.word else state.word
    return {
        "state": state,
        "drawing": _drawing(state),
        "place": place,
        "label": label or state.word,
        "named": bool(label),
        "href": get(item, "href", ""),
        "start": span.start,
        "end": span.end,
        "said": _span_text(said, span),
    }


def _drawing(state: State) -> str:
    return DRAWINGS.get(state.shape, DRAWINGS["ring"])


def _marks(
    items: list[dict[str, Any]], places: Sequence[charts.Placed | None], *, names: bool
) -> list[dict[str, Any]]:
    """One mark for each group of moments, with its number where it stands for several."""
    groups = charts.grouped(places)
    few = names and len(groups) <= 4
    marks = []
    for group in groups:
        members = [items[i] for i in group]
        worst = min(members, key=lambda m: GRAVITY.get(m["state"].tone, 5))
        first, last = members[0], members[-1]
        if len(members) > 1:
            words = [m["state"].word for m in members]
            counts = ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))
            said = f"{counts}: {exact_text(first['start'])} to {exact_text(last['start'])}"
        else:
            said = first["said"]
        marks.append(
            {
                **worst,
                "x": last["place"].x if len(members) > 1 else first["place"].x,
                "count": len(members) if len(members) > 1 else 0,
                "said": said,
                "beside": worst["label"] if few and worst["named"] and len(members) == 1 else "",
            }
        )
    return marks


def _points(lane: object) -> list[tuple[datetime, float]]:
    """(moment, log10 of the e-value) of a lane that is a line."""
    found = []
    for at, value in get(lane, "points", None) or []:
        moment, number = as_moment(at), charts.finite(value)
        if moment is not None and number is not None and number > 0:
            found.append((moment, math.log10(number)))
    return sorted(found)


def _line(
    points: list[tuple[datetime, float]], alarm: object, axis: charts.Timeline
) -> dict[str, Any] | None:
    line = charts.finite(alarm)
    if not points or line is None or line <= 0:
        return None
    level = math.log10(line)
    # A little above the alarm line is enough: how far beyond it lies is the chart's to tell.
    low, high = -1.0, max(level * 1.5, 1.0)
    inner = HEIGHT - 2 * EDGE
    drawn = charts.curve(points, start=axis.start, end=axis.end, low=low, high=high, height=inner)
    drawn = [(x, round(y + EDGE, 2)) for x, y in drawn]
    last = points[-1]
    return {
        "segments": [(a[0], a[1], b[0], b[1]) for a, b in pairwise(drawn)],
        "last": drawn[-1] if drawn else None,
        "over": last[1] >= level,
        "alarm_y": round(HEIGHT - EDGE - (level - low) / (high - low) * inner, 2),
        "alarm": evalue_text(line),
        "said": f"e-value {evalue_text(10 ** min(last[1], 300))} at the last of {len(points)} looks"
        f", alarm line {evalue_text(line)}",
        "table": [(at, evalue_text(10 ** min(value, 300))) for at, value in points[-50:]],
    }


def _items(lane: object) -> Sequence[object]:
    if isinstance(lane, Mapping):
        return list(lane.get("items") or [])
    found = getattr(lane, "items", None) or []
    return list(found() if callable(found) else found)


def _span_text(label: str, span: charts.Span) -> str:
    if span.start is not None and span.start == span.end:
        return f"{label}, {exact_text(span.start)}"
    start = exact_text(span.start) if span.start else "earlier"
    end = exact_text(span.end) if span.end else "still"
    return f"{label}, {start} to {end}"
