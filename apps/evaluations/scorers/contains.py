"""The answer contains the expected texts, and none of the forbidden ones.

Trap: "not covered" contains "covered", and "motorcycle" contains "motor". Set `words` to match at
word borders only, and forbid the opposite with `none`. The expectation is one text, or an object
with `all`, `any` and `none`; the score is the share of these conditions that hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult, quote

_KEYS = ("all", "any", "none")
_MAX_TEXTS = 50


@dataclass(frozen=True)
class Contains(Scorer):
    casefold: bool = True
    words: bool = False

    type = "contains"
    summary = "The answer contains expected texts and none of the forbidden ones."
    properties = {
        "casefold": {"type": "boolean", "description": "Ignore case. Default true."},
        "words": {"type": "boolean", "description": "Match whole words only. Default false."},
    }

    def check_expect(self, expected: Any) -> str | None:
        groups = _groups(expected)
        if groups is None:
            return (
                "The scorer 'contains' expects text, a list of texts (all of them), or a mapping "
                "with the keys 'all', 'any', 'none'. Write it in one of these forms."
            )
        texts = [t for group in groups.values() for t in group]
        if not texts or not all(isinstance(t, str) and t for t in texts):
            return "Each text to look for must be text that is not empty. Quote it or remove it."
        if len(texts) > _MAX_TEXTS:
            return f"At most {_MAX_TEXTS} texts can be looked for in one case. Remove some."
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        groups = _groups(expected) or {}
        hay = text.casefold() if self.casefold else text
        missing = [t for t in groups.get("all", []) if not self._has(hay, t)]
        forbidden = [t for t in groups.get("none", []) if self._has(hay, t)]
        conditions = len(groups.get("all", [])) + len(groups.get("none", []))
        failed = len(missing) + len(forbidden)
        wanted_any = groups.get("any", [])
        none_of_any = bool(wanted_any) and not any(self._has(hay, t) for t in wanted_any)
        conditions += bool(wanted_any)
        failed += none_of_any
        reasons = [f"{quote(t)} is missing" for t in missing[:5]]
        reasons += [f"{quote(t)} should not be there" for t in forbidden[:5]]
        if none_of_any:
            reasons.append(f"none of {len(wanted_any)} alternatives is there")
        explanation = "; ".join(reasons) + "." if reasons else "All conditions hold."
        detail = {"missing": missing, "forbidden": forbidden, "conditions": conditions}
        return ScoreResult((conditions - failed) / max(conditions, 1), explanation, detail)

    def _has(self, hay: str, text: str) -> bool:
        needle = text.casefold() if self.casefold else text
        start = hay.find(needle)
        while self.words and start >= 0:
            before = hay[start - 1] if start else " "
            after = hay[start + len(needle) : start + len(needle) + 1] or " "
            if not (before.isalnum() or after.isalnum()):
                break
            start = hay.find(needle, start + len(needle))
        return start >= 0


def _groups(expected: Any) -> dict[str, list[str]] | None:
    if isinstance(expected, str):
        return {"all": [expected]}
    if isinstance(expected, list):
        return {"all": expected}
    if isinstance(expected, dict) and expected and set(expected) <= set(_KEYS):
        groups = {k: [v] if isinstance(v, str) else v for k, v in expected.items()}
        return groups if all(isinstance(v, list) for v in groups.values()) else None
    return None
