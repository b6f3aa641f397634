"""Geometry of the product's charts, and the word diff: numbers in, coordinates out.

Nothing here knows about HTML or the database. Widths that should follow the page are given in
percent (0..100), because SVG takes ``x="12.5%"`` for lines, rectangles and nested drawings;
heights are in pixels, so that text and strokes keep their size at every width. A value that cannot
be drawn (``None``, NaN, an infinity) leaves a gap or stops at the edge with a mark; it never moves
a point to a place where no measurement was.
"""

from __future__ import annotations

from apps.web.charts.axis import AxisTick, finite, time_ticks
from apps.web.charts.evalue import (
    CEILING,
    FLOOR,
    EValueChart,
    GridLine,
    Look,
    LookPoint,
    evalue_chart,
    power_label,
)
from apps.web.charts.forest import FOREST_LIMIT, Forest, ForestInput, ForestMark, forest
from apps.web.charts.spark import Sparkline, sparkline
from apps.web.charts.timeline import (
    LEAST_GAP,
    LEAST_WIDTH,
    Placed,
    Span,
    Timeline,
    curve,
    grouped,
    timeline,
)
from apps.web.charts.words import DIFF_CHARACTERS, DIFF_TOKENS, DiffPart, WordDiff, word_diff

__all__ = [
    "CEILING",
    "DIFF_CHARACTERS",
    "DIFF_TOKENS",
    "FLOOR",
    "FOREST_LIMIT",
    "LEAST_GAP",
    "LEAST_WIDTH",
    "AxisTick",
    "DiffPart",
    "EValueChart",
    "Forest",
    "ForestInput",
    "ForestMark",
    "GridLine",
    "Look",
    "LookPoint",
    "Placed",
    "Span",
    "Sparkline",
    "Timeline",
    "WordDiff",
    "curve",
    "evalue_chart",
    "finite",
    "forest",
    "grouped",
    "power_label",
    "sparkline",
    "time_ticks",
    "timeline",
    "word_diff",
]
