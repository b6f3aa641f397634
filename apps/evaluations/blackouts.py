"""Windows in which nothing comes due, one in a line, in the schedule's own time zone.

    mon-fri 08:00-18:00      every working day while people use the endpoint
    sat,sun 00:00-24:00      the weekend
    daily 22:00-04:00        over midnight: the window belongs to the day on which it begins
    2026-12-24..2026-12-27   these days, the last one included

A due time within a window is left out, not put off: else all of them would come at its end. A run
that was missed while the machines were down waits for the end of the window.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apps.core.errors import InvalidInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST = 50
_WEEKLY = re.compile(r"^(?P<days>[a-z,-]+) (?P<from>\d\d:\d\d)-(?P<until>\d\d:\d\d)$")
_DATED = re.compile(r"^(?P<from>\d{4}-\d\d-\d\d)\.\.(?P<until>\d{4}-\d\d-\d\d)$")


@dataclass(frozen=True)
class Weekly:
    days: frozenset[int]
    start: int
    """Minutes after midnight."""
    minutes: int

    def end_if_covering(self, local: dt.datetime) -> dt.datetime | None:
        """Wall-clock end of the window that `local` (wall clock) lies in, or None."""
        for back in (0, 1):
            midnight = dt.datetime.combine(local.date() - dt.timedelta(days=back), dt.time())
            begins = midnight + dt.timedelta(minutes=self.start)
            ends = begins + dt.timedelta(minutes=self.minutes)
            if midnight.weekday() in self.days and begins <= local < ends:
                return ends
        return None


@dataclass(frozen=True)
class Dated:
    start: dt.date
    end: dt.date

    def end_if_covering(self, local: dt.datetime) -> dt.datetime | None:
        if self.start <= local.date() <= self.end:
            return dt.datetime.combine(self.end + dt.timedelta(days=1), dt.time())
        return None


Window = Weekly | Dated


def parse(lines: Iterable[str]) -> list[Window]:
    """Raises InvalidInput(field="blackouts") naming the line."""
    found = [_window(" ".join(str(line).lower().split())) for line in lines]
    if len(found) > MOST:
        raise InvalidInput(f"At most {MOST} windows are kept.", field="blackouts")
    return found


def normal(lines: Iterable[str]) -> list[str]:
    """The lines without what is empty; in the form in which they are stored."""
    return [text for line in lines if (text := " ".join(str(line).lower().split()))]


def end_of(windows: Sequence[Window], moment: dt.datetime) -> dt.datetime | None:
    """When the windows that `moment` lies in are over (zone-aware); None outside of all."""
    end = None
    wall = moment.replace(tzinfo=None)
    while covering := [e for w in windows if (e := w.end_if_covering(wall)) is not None]:
        wall = end = max(covering)
        if end > moment.replace(tzinfo=None) + dt.timedelta(days=800):
            break  # windows that cover each other for ever
    return None if end is None else end.replace(tzinfo=moment.tzinfo)


def _window(line: str) -> Window:
    if found := _DATED.match(line):
        try:
            start, end = (dt.date.fromisoformat(found[name]) for name in ("from", "until"))
        except ValueError:
            raise _unknown(line) from None
        if end < start or end.year > 9000:
            raise _unknown(line, "It ends before it begins.")
        return Dated(start, end)
    if found := _WEEKLY.match(line):
        start_at, end_at = _minutes(found["from"], line), _minutes(found["until"], line)
        if start_at == end_at or start_at == 24 * 60:
            raise _unknown(line, "It has no length; a whole day is 00:00-24:00.")
        length = end_at - start_at if end_at > start_at else end_at + 24 * 60 - start_at
        return Weekly(_days(found["days"], line), start_at, length)
    raise _unknown(line)


def _days(words: str, line: str) -> frozenset[int]:
    if words == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in words.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise _unknown(line)
        low, high = DAYS.index(first), DAYS.index(last or first)
        days |= {day % 7 for day in range(low, high + (1 if high >= low else 8))}
    return frozenset(days)


def _minutes(text: str, line: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise _unknown(line, f"There is no time {text}.")
    return hours * 60 + minutes


def _unknown(line: str, why: str = "") -> InvalidInput:
    return InvalidInput(
        f"“{line[:60]}” is not a blackout window.{' ' + why if why else ''}",
        field="blackouts",
        remedy="Write one in a line: “mon-fri 08:00-18:00”, “daily 22:00-04:00”, or "
        "“2026-12-24..2026-12-27”.",
    )
