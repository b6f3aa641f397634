"""How long the answer is: a raw value, not a share.

Trap: longer is not better, so a metric on it should have the direction `neutral` and a margin in
the same unit. Characters are Unicode code points: an emoji may count as several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult


@dataclass(frozen=True)
class Length(Scorer):
    unit: str = "chars"

    type = "length"
    summary = "The answer's length in characters, words or lines (raw value)."
    needs_expect = False
    reads_length = True
    properties = {
        "unit": {"enum": ["chars", "words", "lines"], "description": "Default chars."},
    }

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        if self.unit == "words":
            count = len(text.split())
        elif self.unit == "lines":
            count = text.strip("\n").count("\n") + 1 if text.strip("\n") else 0
        else:
            count = len(text)
        return ScoreResult(float(count), f"The answer has {count:,} {self.unit}.", {})
