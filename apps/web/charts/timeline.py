"""Moments and stretches of several lanes on one axis of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from apps.web.charts.axis import AxisTick, time_ticks


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, or a moment when ``end`` equals ``start``. Open ends are None."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Percent of the axis. ``moment``: a point, not a stretch."""

    x: float
    width: float
    moment: bool
    cut_left: bool
    cut_right: bool


#: A stretch is never drawn narrower than this, so that what began just now is still seen.
LEAST_WIDTH = 1.5
#: Moments nearer than this share one mark: at 880 px a mark and the number beside it.
LEAST_GAP = 2.6


@dataclass(frozen=True, slots=True)
class Timeline:
    start: datetime
    end: datetime
    lanes: list[list[Placed | None]]
    ticks: list[AxisTick]
    now: float | None


def timeline(
    lanes: Sequence[Sequence[Span]],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime | None = None,
    zone: tzinfo = UTC,
) -> Timeline:
    """Put the spans of every lane on one axis; what lies wholly outside has no place (None)."""
    known = [
        moment
        for lane in lanes
        for span in lane
        for moment in (span.start, span.end)
        if moment is not None
    ]
    today = now or datetime.now(UTC)
    first = start or min(known, default=today - timedelta(days=1))
    last = end or max([*known, today])
    if last <= first:
        last = first + timedelta(hours=1)
    if start is None and known:
        first -= (last - first) * 0.01
    length = (last - first).total_seconds()

    def share(moment: datetime) -> float:
        return (moment - first).total_seconds() / length * 100

    def place(span: Span) -> Placed | None:
        moment = span.start is not None and span.start == span.end
        left = share(span.start) if span.start is not None else 0.0
        right = share(span.end) if span.end is not None else 100.0
        if right < left or right < 0 or left > 100:
            return None
        inner_left, inner_right = max(left, 0.0), min(right, 100.0)
        width = inner_right - inner_left
        if not moment and width < LEAST_WIDTH:
            width = LEAST_WIDTH
            inner_left = min(inner_left, 100 - width)
        return Placed(
            x=round(inner_left, 3),
            width=round(width, 3),
            moment=moment,
            cut_left=span.start is None or left < 0,
            cut_right=span.end is None or right > 100,
        )

    now_at = share(today)
    shown = 0 <= now_at <= 100
    return Timeline(
        start=first,
        end=last,
        lanes=[[place(span) for span in lane] for lane in lanes],
        ticks=[
            tick
            for tick in time_ticks(first, last, zone=zone)
            if not shown or abs(tick.position - now_at) > 12  # room for the word "now"
        ],
        now=round(now_at, 3) if shown else None,
    )


def grouped(places: Sequence[Placed | None], *, gap: float = LEAST_GAP) -> list[list[int]]:
    """Indices of the moments that share a mark: in order, none further than ``gap`` from the first
    of its group, so that no group swallows the whole lane."""
    moments = sorted((p.x, i) for i, p in enumerate(places) if p is not None and p.moment)
    groups: list[list[int]] = []
    start = -gap
    for x, index in moments:
        if groups and x - start < gap:
            groups[-1].append(index)
        else:
            groups.append([index])
            start = x
    return groups


def curve(
    points: Sequence[tuple[datetime, float]],
    *,
    start: datetime,
    end: datetime,
    low: float,
    high: float,
    height: float,
    most: int = 200,
) -> list[tuple[float, float]]:
    """Points of a line in a lane: x in percent, y in pixels, held inside the lane's edges.

    Beyond ``most`` points each stretch is drawn by its greatest value, so that no peak is lost.
    """
    inside = [(at, value) for at, value in points if start <= at <= end and math.isfinite(value)]
    if len(inside) > most:
        size = math.ceil(len(inside) / most)
        inside = [
            max(inside[i : i + size], key=lambda point: point[1])
            for i in range(0, len(inside), size)
        ]
    length = (end - start).total_seconds() or 1.0
    span = (high - low) or 1.0
    return [
        (
            round((at - start).total_seconds() / length * 100, 3),
            round(height - (min(max(value, low), high) - low) / span * height, 2),
        )
        for at, value in inside
    ]
