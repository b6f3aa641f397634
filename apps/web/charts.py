"""Geometry of the product's charts, and the word diff: numbers in, coordinates out.

Nothing here knows about HTML or the database. Widths that should follow the page are given in
percent (0..100), because SVG takes ``x="12.5%"`` for lines, rectangles and nested drawings;
heights are in pixels, so that text and strokes keep their size at every width. A value that cannot
be drawn (``None``, NaN, an infinity) leaves a gap or stops at the edge with a mark; it never moves
a point to a place where no measurement was.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
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


# --------------------------------------------------------------------------------- sparkline


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


# ------------------------------------------------------------------------------- forest plot

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
class AxisTick:
    position: float
    label: str
    anchor: Literal["start", "middle", "end"] = "middle"


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


# --------------------------------------------------------------------------------- time axis

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


# ----------------------------------------------------------------------------- e-value chart


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


_FLOOR = 1e-4
_CEILING = 1e12


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
        return min(max(value, _FLOOR), _CEILING)

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
    grid = [
        GridLine(rise(10.0**power), power_label(power))
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


# ------------------------------------------------------------------------------ timeline axis


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
        return Placed(
            x=round(inner_left, 3),
            width=round(inner_right - inner_left, 3),
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
            if not shown or abs(tick.position - now_at) > 9  # room for the word "now"
        ],
        now=round(now_at, 3) if shown else None,
    )


# --------------------------------------------------------------------------------- word diff

DiffKind = Literal["same", "gone", "new"]

#: Longer texts are compared up to here; the rest is shown as not compared.
DIFF_CHARACTERS = 40_000
DIFF_TOKENS = 3_000
_TOKEN = re.compile(r"\n|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class DiffPart:
    """``before``: how the first text writes an equal part; its blanks may differ."""

    kind: DiffKind
    text: str
    words: int
    before: str = ""


@dataclass(frozen=True, slots=True)
class WordDiff:
    """``cut``: how many characters at the end were too many to compare (longer side)."""

    parts: list[DiffPart]
    gone: int
    new: int
    same: int
    cut: int

    @property
    def equal(self) -> bool:
        return self.cut == 0 and all(part.kind == "same" for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Token:
    key: str
    lead: str  # the blanks before it: shown, not compared


def _tokens(text: str) -> tuple[list[_Token], str, int]:
    """Tokens of the text, the blanks after the last one, and the number of characters left out."""
    cut = max(0, len(text) - DIFF_CHARACTERS)
    text = text[:DIFF_CHARACTERS].replace("\r\n", "\n")
    tokens: list[_Token] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if len(tokens) == DIFF_TOKENS:
            return tokens, "", cut + len(text) - at
        tokens.append(_Token(match.group(), text[at : match.start()]))
        at = match.end()
    return tokens, text[at:], cut


def word_diff(before: str, after: str) -> WordDiff:
    """What a reader sees as changed: words and marks and line breaks, not blanks.

    Bounded by DIFF_TOKENS a side, whatever the input. Two changes that leave a word or two between
    them are joined, because "three words became four" reads better than confetti.
    """
    old, old_tail, old_cut = _tokens(before)
    new, new_tail, new_cut = _tokens(after)
    old_keys, new_keys = [t.key for t in old], [t.key for t in new]
    head = 0
    while head < min(len(old), len(new)) and old_keys[head] == new_keys[head]:
        head += 1
    tail = 0
    while (
        tail < min(len(old), len(new)) - head
        and old_keys[len(old) - 1 - tail] == new_keys[len(new) - 1 - tail]
    ):
        tail += 1
    matcher = difflib.SequenceMatcher(
        None, old_keys[head : len(old) - tail], new_keys[head : len(new) - tail]
    )
    # (old range, new range, are they equal)
    blocks: list[tuple[int, int, int, int, bool]] = []
    if head:
        blocks.append((0, head, 0, head, True))
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        blocks.append((a1 + head, a2 + head, b1 + head, b2 + head, tag == "equal"))
    if tail:
        blocks.append((len(old) - tail, len(old), len(new) - tail, len(new), True))
    blocks = _joined(blocks, new_keys)

    parts: list[DiffPart] = []
    counts = {"same": 0, "gone": 0, "new": 0}

    def add(kind: DiffKind, tokens: list[_Token], twins: Sequence[_Token] = ()) -> None:
        if not tokens:
            return
        words = sum(1 for token in tokens if token.key[0].isalnum() or token.key[0] == "_")
        counts[kind] += words
        parts.append(DiffPart(kind, _joined_text(tokens), words, _joined_text(twins)))

    for a1, a2, b1, b2, equal in blocks:
        if equal:
            add("same", new[b1:b2], old[a1:a2])
        else:
            add("gone", old[a1:a2])
            add("new", new[b1:b2])
    if parts and parts[-1].kind == "same":
        last = parts[-1]
        parts[-1] = DiffPart("same", last.text + new_tail, last.words, last.before + old_tail)
    return WordDiff(parts, counts["gone"], counts["new"], counts["same"], max(old_cut, new_cut))


def _joined_text(tokens: Sequence[_Token]) -> str:
    return "".join(token.lead + token.key for token in tokens)


def _joined(
    blocks: list[tuple[int, int, int, int, bool]], new_keys: list[str]
) -> list[tuple[int, int, int, int, bool]]:
    """Swallow an equal stretch of at most two tokens between two larger changes."""
    result: list[tuple[int, int, int, int, bool]] = []
    for index, block in enumerate(blocks):
        a1, a2, b1, b2, equal = block
        if equal and 0 < index < len(blocks) - 1 and b2 - b1 <= 2:
            before, after = blocks[index - 1], blocks[index + 1]
            sizes = [max(n[1] - n[0], n[3] - n[2]) for n in (before, after)]
            if min(sizes) > b2 - b1 and "\n" not in new_keys[b1:b2]:
                equal = False
        if result and not equal and not result[-1][4]:
            last = result.pop()
            result.append((last[0], a2, last[2], b2, False))
        else:
            result.append((a1, a2, b1, b2, equal))
    return result
