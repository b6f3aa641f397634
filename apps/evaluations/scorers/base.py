"""What every scorer is: parameters checked once, then answers judged without ever raising.

A scorer sees text that a model wrote, so it must expect anything: megabytes, broken Unicode,
JSON nested a thousand deep. `Scorer.score` tames that in one place (a stated prefix, storable
characters, a last line of defence); a scorer's own file only holds its rule, in `judge`.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from apps.evaluations.scorers.safe_schema import Complaint, complaints

if TYPE_CHECKING:
    from apps.evaluations.suitefile.types import Case

MAX_SCORED_CHARS = 200_000
"""Longer answers are scored on this many characters, and the result says so."""

MAX_QUOTED_CHARS = 120
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Answer:
    """One answer of a model, as much of it as a scorer may look at."""

    text: str
    tool_calls: list[Any] = field(default_factory=list)
    finish_reason: str | None = None


@dataclass(frozen=True)
class ScoreResult:
    """A score, why, and what a reader may want to see. A value of None means: not scored.

    `detail` can always be stored as JSON in PostgreSQL (no NUL, no lone surrogate, no NaN).
    """

    value: float | None
    explanation: str
    detail: dict[str, Any] = field(default_factory=dict)


class ScorerError(ValueError):
    """Parameters or an expectation that a scorer cannot work with."""

    def __init__(self, problems: list[Complaint]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


@dataclass(frozen=True)
class Scorer(ABC):
    """Base of all scorers. Subclasses are frozen dataclasses whose fields are the parameters."""

    _: KW_ONLY
    tags: tuple[str, ...] = ()
    expect_field: str | None = None

    type: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists of scorers."""
    needs_expect: ClassVar[bool] = True
    """Whether every case it scores must carry an expectation."""
    reads_length: ClassVar[bool] = False
    """Whether it wants the whole answer, because it does constant work a character."""
    deferred: ClassVar[str] = ""
    """Needs calls or people: scored after the run, as a scoring revision of this kind."""
    properties: ClassVar[dict[str, Any]] = {}
    """JSON Schema of its own parameters, by name."""
    required: ClassVar[list[str]] = []

    @classmethod
    def params_schema(cls) -> dict[str, Any]:
        """The JSON Schema of this scorer's parameters, the shared ones included."""
        return {
            "type": "object",
            "properties": {**cls.properties, **COMMON_PROPERTIES},
            "required": cls.required,
            "additionalProperties": False,
        }

    @classmethod
    def validate_params(cls, params: Mapping[str, Any]) -> Self:
        """Build the scorer, or raise ScorerError naming each wrong parameter and its remedy."""
        problems = complaints(cls.params_schema(), dict(params))
        if problems:
            raise ScorerError(problems)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in params.items()
        }
        return cls(**values)

    def applies_to(self, case: Case) -> bool:
        return not self.tags or not set(self.tags).isdisjoint(case.tags)

    def expectation(self, case: Case) -> Any:
        """The part of `case.expect` that is meant for this scorer; None where there is none."""
        if self.expect_field is None:
            return case.expect
        return case.expect.get(self.expect_field) if isinstance(case.expect, dict) else None

    def check_case(self, case: Case) -> None:
        """Raise ScorerError when the case's expectation cannot be scored. Paths are the case's."""
        if not self.applies_to(case):
            return
        expected = self.expectation(case)
        where: tuple[str | int, ...] = ("expect",)
        if self.expect_field and isinstance(case.expect, dict) and expected is not None:
            where = ("expect", self.expect_field)
        if expected is None:
            if self.needs_expect:
                name = f"expect.{self.expect_field}" if self.expect_field else "expect"
                raise ScorerError(
                    [
                        (
                            where,
                            f"The scorer of type '{self.type}' needs '{name}' in this case. "
                            "Add it, or give the scorer 'tags' that this case does not carry.",
                        )
                    ]
                )
            return
        message = self.check_expect(expected)
        if message:
            raise ScorerError([(where, message)])

    def check_expect(self, expected: Any) -> str | None:
        """A sentence saying why the expectation cannot be scored, or None when it can."""
        return None

    def score(self, answer: Answer, case: Case) -> ScoreResult:
        """Judge one answer. Never raises, and does bounded work whatever the answer holds."""
        if not self.applies_to(case):
            return ScoreResult(None, "This scorer is for cases with other tags.", {})
        whole = answer.text or ""
        text = whole if self.reads_length else whole[:MAX_SCORED_CHARS]
        text = storable_text(text)
        try:
            result = self.judge(text, self.expectation(case), answer)
        except Exception as error:  # one answer must not end a run; the result names the defect
            name = error.__class__.__name__
            result = ScoreResult(
                None,
                f"The scorer '{self.type}' failed on this answer ({name}). That is a defect of "
                "the scorer: please report it with the answer.",
                {"defect": name},
            )
        if len(text) < len(whole):
            note = f" Only the first {len(text):,} of {len(whole):,} characters were scored."
            detail = {**result.detail, "scored_chars": len(text), "chars": len(whole)}
            result = ScoreResult(result.value, result.explanation + note, detail)
        value = result.value if result.value is None or math.isfinite(result.value) else None
        return ScoreResult(value, storable_text(result.explanation), storable(result.detail))

    @abstractmethod
    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        """The scorer's rule. `text` is the answer's text, made storable and cut to size."""


COMMON_PROPERTIES: dict[str, Any] = {
    "tags": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 64},
        "minItems": 1,
        "maxItems": 20,
        "description": "Score only cases that carry one of these tags.",
    },
    "expect_field": {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "description": "Read the expectation from this key of the case's 'expect' object.",
    },
}


def storable_text(text: str) -> str:
    """The text with NUL and lone surrogates, which PostgreSQL refuses, replaced by U+FFFD."""
    return _UNSTORABLE.sub("�", text)


def storable(value: Any, depth: int = 8) -> Any:
    """A JSON value made safe to store; what is nested too deep is left out."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            return "(nested deeper, left out)"
        if isinstance(value, dict):
            return {storable_text(str(k)): storable(v, depth - 1) for k, v in value.items()}
        return [storable(v, depth - 1) for v in value]
    return value if value is None or isinstance(value, bool | int) else storable_text(str(value))


def quote(value: Any) -> str:
    """A value for an explanation, in quotation marks and short."""
    text = value if isinstance(value, str) else str(value)
    short = text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…"
    return "'" + short.replace("\n", "⏎") + "'"


def verdict(passed: bool, explanation: str, **detail: Any) -> ScoreResult:
    """The result of a yes-or-no rule."""
    return ScoreResult(1.0 if passed else 0.0, explanation, detail)
