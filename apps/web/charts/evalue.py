"""e-values over time against their alarm line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise

from apps.web.charts.axis import AxisTick, finite, time_ticks


@dataclass(frozen=True, slots=True)
class Look:
    """The e-value after one look at the data."""

    at: datetime
    e_value: float


@dataclass(frozen=True, slots=True)
class LookPoint:
    x: float
    y: float
    at: datetime
    e_value: float
    over: bool


@dataclass(frozen=True, slots=True)
class GridLine:
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class EValueChart:
    """``x`` in percent of the width, ``y`` in pixels. ``first_over``: the look that raised it."""

    height: float
    points: list[LookPoint]
    segments: list[tuple[float, float, float, float]]
    grid: list[GridLine]
    ticks: list[AxisTick]
    alarm: float
    alarm_y: float
    first_over: LookPoint | None
    thinned: int


FLOOR = 1e-4
CEILING = 1e12


def evalue_chart(
    looks: Sequence[Look],
    alarm: float,
    *,
    height: float = 160,
    most: int = 300,
    zone: tzinfo = UTC,
) -> EValueChart:
    """e-values over time on a log axis, with the alarm line inside the picture.

    Beyond ``most`` looks each stretch of looks is drawn by its greatest e-value, so that no
    crossing of the alarm line can be thinned away. Values below 10⁻⁴ or above 10¹² sit on the edge.
    """
    alarm_value = finite(alarm)
    if alarm_value is None or alarm_value <= 0:
        raise ValueError("the alarm line needs a positive number")
    ordered = sorted(looks, key=lambda look: look.at)
    ordered = [look for look in ordered if not math.isnan(look.e_value)]
    total = len(ordered)
    first = next((look for look in ordered if look.e_value >= alarm_value), None)
    if total > most:
        size = math.ceil(total / most)
        kept = []
        for index in range(0, total, size):
            stretch = ordered[index : index + size]
            kept.append(
                first
                if first is not None and first in stretch
                else max(stretch, key=lambda look: look.e_value)
            )
        if kept[-1] is not ordered[-1]:
            kept.append(ordered[-1])
        ordered = kept

    def clamp(value: float) -> float:
        return min(max(value, FLOOR), CEILING)

    values = [clamp(look.e_value) for look in ordered] + [clamp(alarm_value), 1.0]
    lowest = min(math.floor(math.log10(min(values))), -1)
    highest = math.ceil(math.log10(max(values)))
    if highest - math.log10(clamp(alarm_value)) < 0.3:
        highest += 1
    span = highest - lowest

    def rise(value: float) -> float:
        return round(height - (math.log10(clamp(value)) - lowest) / span * height, 2)

    start = ordered[0].at if ordered else datetime.now(UTC)
    end = ordered[-1].at if ordered else start
    length = (end - start).total_seconds()
    points = [
        LookPoint(
            x=round((look.at - start).total_seconds() / length * 100, 3) if length > 0 else 50.0,
            y=rise(look.e_value),
            at=look.at,
            e_value=look.e_value,
            over=look.e_value >= alarm_value,
        )
        for look in ordered
    ]
    every = max(1, math.ceil(span / 5))
    higher = any(look.e_value > CEILING for look in ordered)
    cut = round(math.log10(CEILING)) if higher else None  # the edge says that there is more
    grid = [
        GridLine(rise(10.0**power), power_label(power) + (" +" if power == cut else ""))
        for power in range(lowest, highest + 1)
        if power % every == 0
    ]
    return EValueChart(
        height=height,
        points=points,
        segments=[(a.x, a.y, b.x, b.y) for a, b in pairwise(points)],
        grid=grid,
        ticks=time_ticks(start, end, zone=zone) if points else [],
        alarm=alarm_value,
        alarm_y=rise(alarm_value),
        first_over=next((p for p in points if first is not None and p.at == first.at), None),
        thinned=total - len(points),
    )


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_label(power: int) -> str:
    """ "0.01", "100", then "10⁴": short enough for an axis."""
    if -2 <= power < 0:
        return f"{10.0**power:g}"
    if 0 <= power <= 3:
        return f"{10**power:,}"
    return "10" + str(power).translate(_SUPERSCRIPT)
