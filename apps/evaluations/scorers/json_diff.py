"""How much of the expected JSON structure the answer holds, path by path.

Score: 1 minus the share of changed values, where the whole is every value expected plus every value
that should not be there. So one wrong field of four scores 0.75, and an answer that adds forty
invented fields does not score like a good one.

Trap: 5 and 5.0 are the same number in JSON, true and 1 are not; texts are compared exactly unless
`ignore_case` is set; a list in another order differs unless `ignore_order` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult
from apps.evaluations.scorers.jsontext import depth, find_json, leaves
from apps.evaluations.scorers.structure import compare

MAX_LEAVES = 2000
_MAX_UNORDERED = 300


@dataclass(frozen=True)
class JsonDiff(Scorer):
    extract: str = "first"
    tolerance: float = 0.0
    ignore_case: bool = False
    ignore_order: bool = False

    type = "json_diff"
    summary = "The share of the expected JSON structure that the answer holds."
    properties = {
        "extract": {
            "enum": ["first", "whole"],
            "description": "The first JSON in the answer, or the whole answer. Default first.",
        },
        "tolerance": {"type": "number", "minimum": 0, "description": "For numbers. Default 0."},
        "ignore_case": {"type": "boolean", "description": "In texts. Default false."},
        "ignore_order": {"type": "boolean", "description": "Of lists. Default false."},
    }

    def check_expect(self, expected: Any) -> str | None:
        if not isinstance(expected, dict | list):
            return "The scorer 'json_diff' expects a mapping or a list. Write the JSON wanted."
        limit = _MAX_UNORDERED if self.ignore_order else MAX_LEAVES
        if leaves(expected) > limit or depth(expected) > 30:
            return f"The structure has over {limit} values, or 30 levels. Compare a part of it."
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        found = find_json(text, whole=self.extract == "whole")
        if found.problem:
            return ScoreResult(0.0, found.problem, {"parsed": False})
        limit = _MAX_UNORDERED if self.ignore_order else MAX_LEAVES
        if leaves(found.value) > limit or depth(found.value) > 40:
            explanation = f"The answer's JSON has over {limit} values, or 40 levels: not compared."
            return ScoreResult(0.0, explanation, {"parsed": True})
        difference = compare(
            expected,
            found.value,
            tolerance=self.tolerance,
            ignore_case=self.ignore_case,
            ignore_order=self.ignore_order,
        )
        wrong, total, changes = difference.wrong, difference.total, difference.changes
        if wrong == 0:
            return ScoreResult(1.0, "The JSON is as expected.", {"parsed": True, "changes": []})
        first = changes[0]["path"] if changes else "$"
        explanation = f"{wrong} of {total} values differ, the first at {first}."
        return ScoreResult(difference.share, explanation, {"parsed": True, "changes": changes})
