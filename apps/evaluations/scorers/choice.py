"""The answer names one label of a closed set, and it is the expected one.

Trap: "motor" is inside "motorcycle", and "Not motor but property" names two labels. Labels match at
word borders and the longest wins. With `where: anywhere` an answer that names several different
labels scores 0 and says so, instead of taking the first. The label that was read is kept in the
detail: a shift between two wrong labels is drift too.
"""

from __future__ import annotations

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

_LEAD = " \t\r\n\"'`*_([{<-:>"


@dataclass(frozen=True)
class Choice(Scorer):
    choices: tuple[str, ...] = ()
    where: str = "start"
    casefold: bool = True

    type = "choice"
    summary = "The answer names the expected label out of a closed set."
    required = ["choices"]
    properties = {
        "choices": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 200},
            "minItems": 2,
            "maxItems": 200,
            "description": "The labels.",
        },
        "where": {
            "enum": ["start", "anywhere"],
            "description": "Where the label may stand. Default start (quotes and marks skipped).",
        },
        "casefold": {"type": "boolean", "description": "Ignore case. Default true."},
    }

    def __post_init__(self) -> None:
        plain = [self._plain(c).strip() for c in self.choices]
        if len(set(plain)) < len(plain) or "" in plain:
            message = "Two labels are the same, or one is blank. Remove or rename one."
            raise ScorerError([(("choices",), message)])

    def _plain(self, text: str) -> str:
        return text.casefold() if self.casefold else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Alternatives of fixed text only, longest first: linear in the answer.
        labels = sorted((self._plain(c).strip() for c in self.choices), key=len, reverse=True)
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, labels)) + r")(?!\w)")

    @cached_property
    def _names(self) -> dict[str, str]:
        return {self._plain(c).strip(): c for c in self.choices}

    def check_expect(self, expected: Any) -> str | None:
        if isinstance(expected, str) and self._plain(expected).strip() in self._names:
            return None
        listed = ", ".join(f"'{c}'" for c in self.choices[:10])
        return f"The expectation must be one of the labels {listed}. Correct it or add the label."

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        plain = self._plain(text)
        if self.where == "start":
            match = self._pattern.match(plain, len(plain) - len(plain.lstrip(_LEAD)))
            labels = [self._names[match.group()]] if match else []
        else:
            found = dict.fromkeys(m.group() for m in self._pattern.finditer(plain))
            labels = [self._names[f] for f in found]
        if not labels:
            return verdict(False, f"No label is read from {quote(text)}.", label=None)
        if len(labels) > 1:
            listed = ", ".join(labels[:5])
            return verdict(False, f"Several labels are named: {listed}.", label=None, labels=labels)
        label = labels[0]
        passed = self._plain(label) == self._plain(expected).strip()
        return verdict(passed, f"Read '{label}', expected {quote(expected)}.", label=label)
