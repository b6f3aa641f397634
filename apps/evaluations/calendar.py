"""Calendar rules in words, and the cron expression that each stands for.

    every day at 02:00 · weekdays at 02:00 · weekends at 06:30 · monday and thursday at 03:15
    first monday of the month at 02:00 · last friday of each quarter at 22:00
    day 15 of the month at 04:00 · last day of the month at 23:00
    last weekday of the month at 18:00

The words are for people; the library that knows clock changes computes with the expression
(`#` is the n-th weekday of a month, `L` the last, `LW` the last weekday). Pure Python.
"""

from __future__ import annotations

import re

from apps.core.errors import InvalidInput

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
ORDINALS = {"first": "1", "second": "2", "third": "3", "fourth": "4", "last": "L"}
ORDINALS |= {"1st": "1", "2nd": "2", "3rd": "3", "4th": "4"}
MONTHS = {"month": "*", "quarter": "1,4,7,10", "year": "1"}
EXAMPLES = (
    "every day at 02:00",
    "weekdays at 02:00",
    "monday and thursday at 03:15",
    "first monday of the month at 02:00",
    "last day of the month at 23:00",
)
_RULE = re.compile(r"^(?P<days>.+?)\s+at\s+(?P<hour>\d{1,2})[:.](?P<minute>\d{2})$")
_OF = re.compile(r"^(?P<which>.+?)\s+of\s+(?:(?:the|each|every)\s+)?(?P<span>month|quarter|year)$")


def to_cron(rule: str) -> str:
    """ "weekdays at 02:00" → "0 2 * * 1-5". Raises InvalidInput(field="calendar")."""
    words = " ".join(rule.lower().split())
    found = _RULE.match(words)
    if found is None:
        raise _unknown(rule)
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 23 or minute > 59:
        raise InvalidInput(
            f"There is no time {found['hour']}:{found['minute']}.",
            field="calendar",
            remedy="Hours go from 00 to 23, minutes from 00 to 59.",
        )
    if of := _OF.match(found["days"]):
        day, weekday = _within(of["which"], rule)
        return f"{minute} {hour} {day} {MONTHS[of['span']]} {weekday}"
    return f"{minute} {hour} * * {_weekdays(found['days'], rule)}"


def _within(which: str, rule: str) -> tuple[str, str]:
    """Day of month and weekday of "first monday", "last day", "day 15", "15th"."""
    if which in ("last day", "end"):
        return "L", "*"
    if which == "last weekday":
        return "LW", "*"
    if which in ("first day", "beginning"):
        return "1", "*"
    if number := re.fullmatch(r"(?:day )?(\d{1,2})(?:st|nd|rd|th)?", which):
        day = int(number[1])
        if not 1 <= day <= 28:
            raise InvalidInput(
                f"Not every month has a day {day}.",
                field="calendar",
                remedy="Use a day from 1 to 28, or “last day of the month”.",
            )
        return str(day), "*"
    ordinal, _, name = which.partition(" ")
    day_number = _day(name)
    if ordinal not in ORDINALS or day_number is None:
        raise _unknown(rule)
    if ORDINALS[ordinal] == "L":
        return "*", f"{day_number}L"
    return "*", f"{day_number}#{ORDINALS[ordinal]}"


def _weekdays(words: str, rule: str) -> str:
    words = words.removeprefix("every ").removeprefix("on ")
    if words in ("day", "daily", "days"):
        return "*"
    if words in ("weekday", "weekdays", "working day", "working days"):
        return "1-5"
    if words in ("weekend", "weekends"):
        return "0,6"
    numbers = []
    for name in re.split(r"\s*(?:,|\band\b|&)\s*", words):
        number = _day(name)
        if number is None:
            raise _unknown(rule)
        numbers.append(number)
    return ",".join(str(n) for n in sorted(set(numbers)))


def _day(name: str) -> int | None:
    """ "mon", "monday" and "mondays" are 1."""
    name = name.strip().removesuffix("s") if len(name.strip()) > 4 else name.strip()
    if len(name) < 3:
        return None
    return next((i for i, day in enumerate(DAYS) if day.startswith(name)), None)


def _unknown(rule: str) -> InvalidInput:
    return InvalidInput(
        f"“{rule[:80]}” is not a calendar rule that is known here.",
        field="calendar",
        remedy="Such as: " + "; ".join(f"“{e}”" for e in EXAMPLES) + ".",
    )
