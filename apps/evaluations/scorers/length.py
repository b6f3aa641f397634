"""How long the answer is: a raw value, not a share.

Trap: longer is not better, so a metric on it should have the direction `neutral` and a margin in
the same unit. Characters are Unicode code points: an emoji may count as several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult
from apps.evaluations.style import count_sentences

UNITS = ("chars", "words", "lines", "sentences")


@dataclass(frozen=True)
class Length(Scorer):
    unit: str = "chars"

    type = "length"
    summary = "The answer's length in characters, words, lines or sentences (raw value)."
    needs_expect = False
    reads_length = True
    properties = {
        "unit": {"enum": list(UNITS), "description": "Default chars."},
    }

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        count = measure(text, self.unit)
        return ScoreResult(float(count), f"The answer has {count:,} {self.unit}.", {})


def measure(text: str, unit: str) -> int:
    """The length in one of UNITS. Linear in the text."""
    if unit == "words":
        return len(text.split())
    if unit == "lines":
        return text.strip("\n").count("\n") + 1 if text.strip("\n") else 0
    if unit == "sentences":
        return count_sentences(text)
    return len(text)
