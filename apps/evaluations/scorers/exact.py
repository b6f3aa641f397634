"""The answer is the expected text.

Trap: models end lines, add a space, or write a full stop. `strip` (on by default) takes away
white space around both texts; it does not take away the full stop: "motor." is not "motor". If
that should pass, `choice` is the scorer you want. Letters that look alike may be spelled in two
ways in Unicode ("é" as one character or as two), so both texts are brought to NFC first.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult, quote, verdict


@dataclass(frozen=True)
class Exact(Scorer):
    strip: bool = True
    casefold: bool = False

    type = "exact"
    summary = "The answer equals the expected text (or one of several)."
    properties = {
        "strip": {"type": "boolean", "description": "Ignore white space around. Default true."},
        "casefold": {"type": "boolean", "description": "Ignore case. Default false."},
    }

    def check_expect(self, expected: Any) -> str | None:
        if isinstance(expected, str):
            return None
        if isinstance(expected, list) and expected and all(isinstance(e, str) for e in expected):
            return None
        return "The scorer 'exact' expects text, or a list of texts. Put it in quotation marks."

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        wanted = [expected] if isinstance(expected, str) else list(expected)
        found = self._plain(text)
        if any(self._plain(w) == found for w in wanted):
            return verdict(True, "The answer is the expected text.")
        return verdict(False, f"Expected {quote(wanted[0])}, got {quote(found)}.")

    def _plain(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        text = text.strip() if self.strip else text
        return text.casefold() if self.casefold else text
