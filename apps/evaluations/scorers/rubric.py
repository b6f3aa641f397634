"""A rubric in words, by which a registered model version judges answers, or people do.

Scored after the run, as a scoring revision of its own. `mode: pass` asks whether the answer fits
the rubric (1 or 0); `grade` asks for 1 to 5 (read as 0 to 1); `pairwise` asks which of the
answer and the case's reference is better, twice with the places exchanged.

Trap: a judge is a model too. It prefers the first place, the longer text and its own family, and
it changes in silence as the judged one does. So the pairwise question is asked both ways, and a
verdict that turns with the places counts as a draw; its agreement with people is measured on the
answers that people rated, and a judge that itself changed marks its scores as confounded. An
answer can also ask the judge for a good mark: it is quoted as data, and that is no guarantee.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult

WORDS = {
    "pass": {"PASS": 1.0, "FAIL": 0.0},
    "grade": {str(n): (n - 1) / 4 for n in range(1, 6)},
    "pairwise": {"FIRST": 1.0, "SECOND": 0.0, "DRAW": 0.5},
}
_VERDICT = re.compile(r"VERDICT\W{1,6}([A-Za-z]+|[1-5])(?![\w.])", re.IGNORECASE)


@dataclass(frozen=True)
class Rubric(Scorer):
    rubric: str = ""
    mode: str = "pass"

    type = "rubric"
    summary = "A rubric in words, for a model as judge or for people (after the run)."
    deferred = "judge"
    required = ["rubric"]
    properties = {
        "rubric": {
            "type": "string",
            "minLength": 1,
            "maxLength": 10_000,
            "description": "What a good answer does, in words.",
        },
        "mode": {
            "enum": list(WORDS),
            "description": "pass or fail, a grade of 1 to 5, or which is better than the "
            "reference in 'expect'. Default pass.",
        },
    }

    @property
    def needs_expect(self) -> bool:  # type: ignore[override]
        return self.mode == "pairwise"

    def check_expect(self, expected: Any) -> str | None:
        if self.mode != "pairwise" or (isinstance(expected, str) and expected.strip()):
            return None
        return "The scorer 'rubric' in the mode 'pairwise' expects the reference answer as text."

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        return ScoreResult(None, "Scored after the run, by a judge or by people.", {})


def read_verdict(text: str, mode: str) -> float | None:
    """The value of the last "VERDICT: …" in a judge's words; None where there is none."""
    found = _VERDICT.findall(text[-20_000:])
    return WORDS[mode].get(found[-1].upper()) if found else None
