"""One feature of the answer's style as a raw value, such as its number of words.

Trap: a style feature has no right answer, so its metric should be `neutral`: what counts is that it
moved. Shares lie in 0..1, counts do not; give the metric a margin in the feature's own unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult
from apps.evaluations.style import FEATURES, style_profile


@dataclass(frozen=True)
class Style(Scorer):
    feature: str = "words"

    type = "style"
    summary = "One feature of the style profile (raw value)."
    needs_expect = False
    required = ["feature"]
    properties = {
        "feature": {
            "enum": [*FEATURES, *(f"style.{name}" for name in FEATURES)],
            "description": "Name of the feature, with or without 'style.' before it.",
        },
    }

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        name = self.feature.removeprefix("style.")
        value = style_profile(text)[name]
        return ScoreResult(value, f"{FEATURES[name]}: {value:g}.", {})
