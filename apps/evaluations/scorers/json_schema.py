"""The answer is JSON that fits a JSON Schema (draft 2020-12).

Trap: `format` is an annotation and checks nothing; `pattern` is RE2 here; an object schema without
`additionalProperties: false` accepts any extra key. With `extract: first` (the default) the first
object or list in the answer counts, so that "Sure! Here is the JSON:" does not hide a good
answer; `extract: whole` wants JSON and nothing else. Without `schema` each case's expectation is
the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScorerError, ScoreResult, verdict
from apps.evaluations.scorers.explain import explain
from apps.evaluations.scorers.jsontext import find_json
from apps.evaluations.scorers.safe_schema import SchemaBudgetError, errors, schema_problem


@dataclass(frozen=True)
class JsonSchema(Scorer):
    schema: dict[str, Any] | None = None
    extract: str = "first"

    type = "json_schema"
    summary = "The answer is JSON that fits a JSON Schema."
    properties = {
        "schema": {"type": "object", "description": "JSON Schema draft 2020-12, self-contained."},
        "extract": {
            "enum": ["first", "whole"],
            "description": "The first JSON in the answer, or the whole answer. Default first.",
        },
    }

    def __post_init__(self) -> None:
        problem = schema_problem(self.schema) if self.schema is not None else None
        if problem:
            raise ScorerError([(("schema",), problem)])

    @property
    def needs_expect(self) -> bool:  # type: ignore[override]
        return self.schema is None

    def check_expect(self, expected: Any) -> str | None:
        return schema_problem(expected) if self.schema is None else None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        found = find_json(text, whole=self.extract == "whole")
        if found.problem:
            return verdict(False, found.problem, parsed=False)
        schema = expected if self.schema is None else self.schema
        try:
            problems = errors(schema, found.value, limit=5)
        except SchemaBudgetError as error:
            return ScoreResult(None, f"Not scored: {error}.", {"parsed": True})
        if not problems:
            return verdict(True, "The JSON fits the schema.", parsed=True)
        listed = []
        for problem in problems:
            path, sentence = explain(problem)
            listed.append({"path": ".".join(map(str, path))[:200], "problem": sentence[:300]})
        first = listed[0]
        where = first["path"] or "the top level"
        return verdict(False, f"At {where}: {first['problem']}", parsed=True, problems=listed)
