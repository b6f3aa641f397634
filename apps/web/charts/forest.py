"""Effects with intervals, counted in their margins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from apps.web.charts.axis import AxisTick, finite

#: An interval that reaches further than this many margins is cut off with an arrow.
FOREST_LIMIT = 50.0


@dataclass(frozen=True, slots=True)
class ForestInput:
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class ForestMark:
    """Where one row is drawn. ``cut_left``/``cut_right``: the interval goes on beyond the plot.

    ``x`` is None when the estimate itself lies beyond: then only the arrow is drawn.
    """

    x: float | None
    x_low: float
    x_high: float
    cut_left: bool
    cut_right: bool


@dataclass(frozen=True, slots=True)
class Forest:
    width: float
    zero: float
    band_x: float
    band_width: float
    reach: float
    ticks: list[AxisTick]
    marks: list[ForestMark | None]


def forest(rows: Sequence[ForestInput], *, width: float = 208, pad: float = 14) -> Forest:
    """All rows on one axis, counted in multiples of each metric's own materiality margin.

    So points, seconds and per cent share one picture, and "inside the band" reads as "equivalent"
    in every row. The axis is compressed by log(1 + |x|), so that one huge effect does not squeeze
    the others into the band; its ticks carry their values. A row without a margin, estimate or
    interval has no mark: it cannot be placed.
    """
    scaled: list[tuple[float, float, float] | None] = []
    for row in rows:
        margin = finite(row.margin)
        parts = [finite(row.estimate), finite(row.low), finite(row.high)]
        if margin is None or margin <= 0 or any(part is None for part in parts):
            scaled.append(None)
            continue
        estimate, low, high = (part / margin for part in parts if part is not None)
        scaled.append((estimate, min(low, high), max(low, high)))
    furthest = max((max(abs(low), abs(high)) for _, low, high in filter(None, scaled)), default=0.0)
    reach = float(min(max(math.ceil(furthest), 3), FOREST_LIMIT))

    def place(value: float) -> float:
        share = math.copysign(math.log1p(min(abs(value), reach)) / math.log1p(reach), value)
        return round(pad + (share + 1) / 2 * (width - 2 * pad), 2)

    marks = [
        None
        if item is None
        else ForestMark(
            x=place(item[0]) if abs(item[0]) <= reach else None,
            x_low=place(item[1]),
            x_high=place(item[2]),
            cut_left=item[1] < -reach,
            cut_right=item[2] > reach,
        )
        for item in scaled
    ]
    outer = f"{reach:g}"
    ticks = [
        AxisTick(place(-reach), f"−{outer}"),
        AxisTick(place(-1), "−1"),
        AxisTick(place(0), "0"),
        AxisTick(place(1), "+1"),
        AxisTick(place(reach), f"+{outer}"),
    ]
    return Forest(
        width=width,
        zero=place(0),
        band_x=place(-1),
        band_width=round(place(1) - place(-1), 2),
        reach=reach,
        ticks=ticks,
        marks=marks,
    )
