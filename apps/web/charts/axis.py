"""What the charts share: numbers that can be drawn, and the axis of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal


def finite(value: object) -> float | None:
    """The value as a float, or None for anything that has no place on an axis."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class AxisTick:
    position: float
    label: str
    anchor: Literal["start", "middle", "end"] = "middle"


_STEPS: tuple[timedelta, ...] = tuple(
    timedelta(seconds=seconds) for seconds in (60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400)
) + tuple(timedelta(days=days) for days in (2, 7, 14, 28, 91, 182, 365))


def time_ticks(
    start: datetime, end: datetime, *, most: int = 7, zone: tzinfo = UTC
) -> list[AxisTick]:
    """At most ``most`` round moments between the two, with positions in percent."""
    span = (end - start).total_seconds()
    if span <= 0:
        return [AxisTick(50.0, _moment(start.astimezone(zone), timedelta(minutes=1)))]
    step = next((s for s in _STEPS if span / s.total_seconds() <= most), None)
    if step is None:
        step = timedelta(days=365 * math.ceil(span / (365 * 86400) / most))
    local = start.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if step >= timedelta(days=1):
        moment = midnight
    else:
        moment = midnight + step * math.floor((local - midnight) / step)
    ticks: list[AxisTick] = []
    while moment <= end and len(ticks) <= most:
        if moment >= start:
            position = round((moment - start).total_seconds() / span * 100, 3)
            anchor: Literal["start", "middle", "end"] = (
                "start" if position < 4 else "end" if position > 96 else "middle"
            )
            ticks.append(AxisTick(position, _moment(moment, step), anchor))
        moment += step
    return ticks


def _moment(moment: datetime, step: timedelta) -> str:
    if step < timedelta(days=1):
        if moment.hour or moment.minute:
            return f"{moment:%H:%M}"
        return f"{moment.day} {moment:%b}"
    if step < timedelta(days=300):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%b %Y}"
