"""A pattern is found in the answer; with `group`, what it captured equals the expectation.

Trap: a backtracking engine can be made to run for ever by one answer. Patterns are RE2: linear in
the answer's length, at the price of look-around and back-references. Without `pattern` each
case's expectation is the pattern. With `pattern` but without `group`, finding it is enough.
`$` is the end of the text, not of a line: write `(?m)` for lines.
"""

from __future__ import annotations

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
from apps.evaluations.scorers.safe_schema import compile_pattern


@dataclass(frozen=True)
class Regex(Scorer):
    pattern: str | None = None
    group: int | None = None
    ignore_case: bool = False

    type = "regex"
    summary = "An RE2 pattern is found; or what its group captures equals the expectation."
    properties = {
        "pattern": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2000,
            "description": "RE2 pattern. Without it, each case's expectation is the pattern.",
        },
        "group": {
            "type": "integer",
            "minimum": 0,
            "maximum": 20,
            "description": "Compare this group with the expectation (0 is the whole match).",
        },
        "ignore_case": {"type": "boolean", "description": "Ignore case. Default false."},
    }

    def __post_init__(self) -> None:
        if self.group is not None and self.pattern is None:
            raise ScorerError([(("group",), "'group' needs 'pattern'. Add the pattern.")])
        if self.pattern is None:
            return
        try:
            groups = self._compiled.groups
        except ValueError as error:
            raise ScorerError([(("pattern",), str(error))]) from None
        if self.group is not None and self.group > groups:
            raise ScorerError(
                [(("group",), f"The pattern has {groups} groups. Use a number up to {groups}.")]
            )

    @cached_property
    def _compiled(self) -> Any:
        return compile_pattern(self.pattern or "", ignore_case=self.ignore_case)

    @property
    def needs_expect(self) -> bool:  # type: ignore[override]
        return self.pattern is None or self.group is not None

    def check_expect(self, expected: Any) -> str | None:
        if not self.needs_expect:
            return None
        if not isinstance(expected, str) or not expected:
            return "The scorer 'regex' expects text here. Put it in quotation marks."
        if self.pattern is None:
            if len(expected) > 2000:
                return "A pattern may have 2000 characters at most. Shorten it."
            try:
                compile_pattern(expected, ignore_case=self.ignore_case)
            except ValueError as error:
                return str(error)
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        if self.pattern is None:
            compiled = compile_pattern(expected, ignore_case=self.ignore_case)
        else:
            compiled = self._compiled
        match = compiled.search(text)
        if match is None:
            return verdict(False, "The pattern is not found in the answer.")
        if self.group is None:
            return verdict(True, f"The pattern is found: {quote(match.group(0))}.")
        captured = match.group(self.group) or ""
        same = captured.strip() == expected.strip()
        if self.ignore_case:
            same = captured.strip().casefold() == expected.strip().casefold()
        explanation = f"Captured {quote(captured)}, expected {quote(expected)}."
        return verdict(same, explanation, captured=captured[:200])
