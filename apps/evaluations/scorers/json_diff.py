"""How much of the expected JSON structure the answer holds, path by path.

Score: 1 minus the share of changed values, where the whole is every value expected plus every value
that should not be there. So one wrong field of four scores 0.75, and an answer that adds forty
invented fields does not score like a good one.

Trap: 5 and 5.0 are the same number in JSON, true and 1 are not; texts are compared exactly unless
`ignore_case` is set; a list in another order differs unless `ignore_order` is set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from deepdiff import DeepDiff

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult
from apps.evaluations.scorers.jsontext import depth, find_json, leaves

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
        diff = DeepDiff(
            self._plain(expected),
            self._plain(found.value),
            view="tree",
            ignore_order=self.ignore_order,
            report_repetition=self.ignore_order,
            math_epsilon=self.tolerance or None,
            threshold_to_diff_deeper=0,  # always path by path, never the whole as one change
            max_passes=1000,
            max_diffs=20_000,
            cache_size=500,
        )
        total = leaves(expected)
        wrong = 0
        changes: list[dict[str, Any]] = []
        for kind, levels in diff.items():
            for level in levels if kind != "deep_distance" else ():
                before = 0 if kind.endswith("_added") else leaves(level.t1)
                after = 0 if kind.endswith("_removed") else leaves(level.t2)
                total += after if before == 0 else max(0, after - before)
                wrong += max(before, after)
                if len(changes) < 20:
                    changes.append(
                        {
                            "path": str(level.path())[:200].replace("root", "$", 1),
                            "change": kind,
                            "expected": _short(level.t1) if before else None,
                            "found": _short(level.t2) if after else None,
                        }
                    )
        score = min(1.0, max(0.0, 1.0 - wrong / max(total, 1)))
        if wrong == 0:
            return ScoreResult(1.0, "The JSON is as expected.", {"parsed": True, "changes": []})
        first = changes[0]["path"] if changes else "$"
        explanation = f"{wrong} of {total} values differ, the first at {first}."
        return ScoreResult(score, explanation, {"parsed": True, "changes": changes})

    def _plain(self, value: Any) -> Any:
        """Numbers as floats, so that 5 equals 5.0 and differs from true; texts in one case."""
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            number = float(value)
            return number if math.isfinite(number) else str(value)
        if isinstance(value, str):
            return value.casefold() if self.ignore_case else value
        if isinstance(value, list):
            return [self._plain(v) for v in value]
        if isinstance(value, dict):
            return {k: self._plain(v) for k, v in value.items()}
        return value


def _short(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return text[:200]
