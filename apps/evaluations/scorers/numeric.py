"""A number in the answer is the expected one, within a tolerance.

Trap: "60%" does not match 60. Is it 60, or 0.6? The suite must say: by default a number with a
percent sign is not accepted; `percent: number` reads 60, `percent: fraction` reads 0.6. Commas are
thousands separators ("1,250.50") unless `decimal_comma` is set ("1.250,50"): "1,250" is a
thousand times "1,250" elsewhere. `which` says which number counts when an answer holds several.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult, quote, verdict

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
    }

    def check_expect(self, expected: Any) -> str | None:
        if isinstance(expected, bool) or not isinstance(expected, int | float):
            return "The scorer 'numeric' expects a number, without quotation marks."
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        numbers = []
        for match in _NUMBER.finditer(text):
            numbers.append(self._read(match))
            if len(numbers) >= _MAX_NUMBERS and self.which != "last":
                break
        if not numbers:
            return verdict(False, f"There is no number in {quote(text)}.", number=None)
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
