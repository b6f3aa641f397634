"""A line small enough for a table cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.web.charts.axis import finite


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``segments`` are ready ``points`` attributes; a gap in the data starts a new one."""

    width: float
    height: float
    segments: list[str]
    dots: list[tuple[float, float]]
    last: tuple[float, float] | None
    first_value: float | None
    last_value: float | None
    lowest: float | None
    highest: float | None


def sparkline(
    values: Sequence[object],
    *,
    width: float = 96,
    height: float = 20,
    pad: float = 3,
    low: float | None = None,
    high: float | None = None,
) -> Sparkline:
    """A line through ``values`` in order; a flat series runs through the middle."""
    numbers = [finite(value) for value in values]
    known = [number for number in numbers if number is not None]
    if not known:
        return Sparkline(width, height, [], [], None, None, None, None, None)
    bottom = min(known) if low is None else min(low, *known)
    top = max(known) if high is None else max(high, *known)
    span = top - bottom
    step = (width - 2 * pad) / (len(numbers) - 1) if len(numbers) > 1 else 0.0
    runs: list[list[tuple[float, float]]] = [[]]
    for index, number in enumerate(numbers):
        if number is None:
            if runs[-1]:
                runs.append([])
            continue
        x = pad + index * step if len(numbers) > 1 else width / 2
        share = (number - bottom) / span if span > 0 else 0.5
        runs[-1].append((round(x, 2), round(height - pad - share * (height - 2 * pad), 2)))
    runs = [run for run in runs if run]
    return Sparkline(
        width=width,
        height=height,
        segments=[" ".join(f"{x:g},{y:g}" for x, y in run) for run in runs if len(run) > 1],
        dots=[run[0] for run in runs if len(run) == 1],
        last=runs[-1][-1],
        first_value=known[0],
        last_value=known[-1],
        lowest=min(known),
        highest=max(known),
    )
