"""A number in the answer is the expected one, within a tolerance.

Trap: "60%" does not match 60. Is it 60, or 0.6? The suite must say: by default a number with a
percent sign is not accepted; `percent: number` reads 60, `percent: fraction` reads 0.6. Commas are
thousands separators ("1,250.50") unless `decimal_comma` is set ("1.250,50"): "1,250" is a
thousand times "1,250" elsewhere. `which` says which number counts when an answer holds several.

With `units`, a mapping of each unit to its size in the expectation's own ({km: 1, m: 0.001}),
only numbers with one of these units count, so that "3 trips of 5 km" reads 5; a bare number counts
too with `bare: accept`. Trap: units are read as written ("mW" is not "MW", and "5 m" is metres
or million as the suite says), offsets (°C to °F) cannot be said by a size, and "1 h 30 min" is
two quantities, not one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apps.evaluations.scorers.base import (
    Answer,
    Scorer,
    ScorerError,
    ScoreResult,
    quote,
    verdict,
)

_NUMBER = re.compile(
    r"(?<![\w.,])([-+−]?)(?:[$€£¥]\s?)?(\d[\d.,]*\d|\d|\.\d+)([eE][-+]?\d{1,4})?(\s?%)?"
)
_MAX_CHARS = 40
_MAX_NUMBERS = 1000


@dataclass(frozen=True)
class Numeric(Scorer):
    tolerance: float = 0.0
    relative: float = 0.0
    which: str = "first"
    percent: str = "refuse"
    decimal_comma: bool = False
    units: dict[str, float] | None = None
    bare: str = "refuse"

    type = "numeric"
    summary = "A number in the answer equals the expected one within a tolerance."
    properties = {
        "tolerance": {"type": "number", "minimum": 0, "description": "Absolute. Default 0."},
        "relative": {"type": "number", "minimum": 0, "description": "Of the expected. Default 0."},
        "which": {
            "enum": ["first", "last", "only", "any"],
            "description": "The number that counts, when there are several. Default first.",
        },
        "percent": {
            "enum": ["refuse", "number", "fraction"],
            "description": "What '60%' is: not accepted, 60, or 0.6. Default refuse.",
        },
        "decimal_comma": {"type": "boolean", "description": "Read '1.250,50'. Default false."},
        "units": {
            "type": "object",
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
            "minProperties": 1,
            "maxProperties": 50,
            "description": "Size of each unit in the expectation's unit, as {km: 1, m: 0.001}.",
        },
        "bare": {
            "enum": ["refuse", "accept"],
            "description": "With units: a number without any. Default refuse.",
        },
    }

    def __post_init__(self) -> None:
        for unit in self.units or {}:
            if not unit.strip() or len(unit) > 30 or unit[0].isdigit() or unit == "%":
                message = "A unit is text of 1 to 30 characters, neither '%' nor a digit first."
                raise ScorerError([(("units", unit), message)])

    @cached_property
    def _unit(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """A unit right after a number, and one right before it. Fixed texts, longest first."""
        longest = sorted(self.units or {}, key=len, reverse=True)
        names = "|".join(re.escape(unit) for unit in longest)
        return (
            re.compile(rf"[\s\u00a0-]?({names})(?!\w)"),
            re.compile(rf"(?<!\w)({names})[\s\u00a0]?[-+−]?\Z"),
        )

    def check_expect(self, expected: Any) -> str | None:
        if isinstance(expected, bool) or not isinstance(expected, int | float):
            return "The scorer 'numeric' expects a number, without quotation marks."
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        numbers = []
        for match in _NUMBER.finditer(text):
            size = self._size(text, match)
            if size is None:
                continue
            number, shown = self._read(match)
            numbers.append((None if number is None else number * size, shown))
            if len(numbers) >= _MAX_NUMBERS and self.which != "last":
                break
        if not numbers:
            what = "number with one of the units" if self.units else "number"
            return verdict(False, f"There is no {what} in {quote(text)}.", number=None)
        if self.which == "only" and len(numbers) > 1:
            count = len(numbers)
            return verdict(False, f"One number was wanted, {count} were given.", number=None)
        if self.which == "any":
            candidates = numbers
        else:
            candidates = [numbers[-1 if self.which == "last" else 0]]
        readable = [n for n, _ in candidates if n is not None]
        if not readable:
            shown = candidates[0][1]
            reason = "cannot be read as one number"
            if shown.endswith("%") and self.percent == "refuse":
                reason = "has a percent sign, and the scorer's 'percent' does not say what it means"
            return verdict(False, f"{quote(shown)} {reason}.", number=None)
        allowed = max(self.tolerance, self.relative * abs(expected))
        # The smallest slack for binary fractions: 0.1 + 0.2 is 0.3 to a reader.
        slack = 1e-12 * max(1.0, abs(expected))
        best = min(readable, key=lambda n: abs(n - expected))
        passed = abs(best - expected) <= allowed + slack
        return verdict(passed, f"Read {best:.12g}, expected {expected:.12g}.", number=best)

    def _size(self, text: str, match: re.Match[str]) -> float | None:
        """What the number is to be multiplied by; None where it has none of the units."""
        if not self.units:
            return 1.0
        after, before = self._unit
        # A sign of currency is a part of what was matched as a number; look in front of the digits.
        digits = match.start(2)
        start = max(0, digits - 40)
        found = after.match(text, match.end()) or before.search(text[start:digits])
        if found:
            return self.units[found.group(1)]
        return 1.0 if self.bare == "accept" else None

    def _read(self, match: re.Match[str]) -> tuple[float | None, str]:
        sign, digits, exponent, percent = match.groups()
        shown = match.group(0)[:_MAX_CHARS]
        if len(digits) > _MAX_CHARS or (percent and self.percent == "refuse"):
            return None, shown
        thousands, point = (".", ",") if self.decimal_comma else (",", ".")
        whole, _, rest = digits.partition(point)
        if not _grouped(whole, thousands) or thousands in rest or point in rest:
            return None, shown
        try:
            number = float(f"{whole.replace(thousands, '') or '0'}.{rest or '0'}{exponent or ''}")
        except ValueError:
            return None, shown
        if not math.isfinite(number):
            return None, shown
        number = -number if sign in ("-", "−") else number
        return (number / 100 if percent and self.percent == "fraction" else number), shown


def _grouped(whole: str, separator: str) -> bool:
    """Whether separators stand where thousands are: '1,250' is a number, '1,2' is two."""
    head, *groups = whole.split(separator)
    return not groups or (0 < len(head) <= 3 and all(len(group) == 3 for group in groups))
