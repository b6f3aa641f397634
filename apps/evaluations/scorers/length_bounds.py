"""The answer is as long as it should be: 1 within the bounds, 0 outside.

Trap: "at most 50 words" is not measured in tokens, and `max_tokens` cuts an answer instead of
making it shorter: an answer that was cut may pass here, so read its finish reason too. Sentences
are counted by their end marks and are the weakest unit ("e.g. this"). The bounds belong to the
unit itself (10 … 20 words includes both). Characters are Unicode code points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScorerError, ScoreResult, verdict
from apps.evaluations.scorers.length import UNITS, measure

_WHOLE = {"type": "integer", "minimum": 0, "maximum": 10_000_000}


@dataclass(frozen=True)
class LengthBounds(Scorer):
    unit: str = "words"
    min: int | None = None
    max: int | None = None

    type = "length_bounds"
    summary = "The answer's length lies within bounds."
    reads_length = True
    properties = {
        "unit": {"enum": list(UNITS), "description": "Default words."},
        "min": {**_WHOLE, "description": "Fewest, included."},
        "max": {**_WHOLE, "description": "Most, included."},
    }

    def __post_init__(self) -> None:
        problem = _problem(self.min, self.max)
        if problem:
            raise ScorerError([(("max",), problem)])

    @property
    def needs_expect(self) -> bool:  # type: ignore[override]
        return self.min is None and self.max is None

    def check_expect(self, expected: Any) -> str | None:
        if not self.needs_expect:
            return None
        whole = isinstance(expected, dict) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in expected.values()
        )
        if not whole or not expected or not set(expected) <= {"min", "max"}:
            return "The scorer 'length_bounds' expects {min, max}: whole numbers, one or both."
        return _problem(expected.get("min"), expected.get("max"))

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        low, high = self.min, self.max
        if self.needs_expect:
            low, high = expected.get("min"), expected.get("max")
        count = measure(text, self.unit)
        within = (low is None or count >= low) and (high is None or count <= high)
        wanted = f"{low:,}" if low is not None else "any"
        wanted += f" to {high:,}" if high is not None else " or more"
        return verdict(within, f"{count:,} {self.unit}; wanted {wanted}.", length=count)


def _problem(low: int | None, high: int | None) -> str | None:
    if low is not None and high is not None and low > high:
        return "The largest length is below the smallest. Exchange 'min' and 'max'."
    return None
