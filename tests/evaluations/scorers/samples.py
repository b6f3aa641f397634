"""Short ways to score one answer, and answers that nobody would wish for."""

from __future__ import annotations

from typing import Any

from apps.evaluations.scorers import Answer, ScoreResult, build_scorer
from apps.evaluations.suitefile import Case


def score(type_name: str, text: str, expect: Any = None, /, **params: Any) -> ScoreResult:
    """The result of one scorer for one answer. The expectation is checked as a suite's would be."""
    case = Case(id="c-1", expect=expect)
    scorer = build_scorer(type_name, params)
    scorer.check_case(case)
    return scorer.score(Answer(text), case)


def value(type_name: str, text: str, expect: Any = None, /, **params: Any) -> float | None:
    return score(type_name, text, expect, **params).value


SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "pattern": "^[a-z]+$"},
        "items": {"type": "array", "uniqueItems": True},
    },
    "required": ["kind"],
}
EXPECTED = {"kind": "motor", "amount": 5, "items": [1, {"a": None}]}

# Every scorer with parameters and an expectation that it accepts.
ALL: list[tuple[str, dict[str, Any], Any]] = [
    ("exact", {}, "motor"),
    ("exact", {"casefold": True, "strip": False}, ["Motor", "ſ"]),
    ("contains", {}, {"all": ["a", "b"], "any": ["c", "d"], "none": ["e"]}),
    ("contains", {"words": True}, "a"),
    ("regex", {}, r"(?i)(a+)+\s*$"),
    ("regex", {"pattern": r"kind: (\w*)", "group": 1, "ignore_case": True}, "motor"),
    ("choice", {"choices": ["motor", "motorcycle", "a"]}, "motor"),
    ("choice", {"choices": ["motor", "a"], "where": "anywhere", "casefold": False}, "a"),
    ("numeric", {}, 5),
    ("numeric", {"which": "last", "percent": "fraction", "decimal_comma": True}, 0.6),
    ("numeric", {"which": "any", "percent": "number", "relative": 0.1}, 1e300),
    ("numeric", {"units": {"km": 1, "m": 0.001, "€": 2}, "which": "last"}, 5),
    ("numeric", {"units": {"km": 1}, "bare": "accept", "which": "any"}, 5),
    ("json_schema", {"schema": SCHEMA}, None),
    ("json_schema", {"extract": "whole"}, {"type": "array", "uniqueItems": True}),
    ("json_diff", {}, EXPECTED),
    ("json_diff", {"ignore_order": True, "ignore_case": True, "tolerance": 0.5}, [EXPECTED, "A"]),
    ("tool_call", {}, {"name": "pay", "arguments": {"amount": 5, "to": ["a", {"b": None}]}}),
    ("tool_call", {"source": "either", "order": "strict"}, [{"name": "a"}, {"name": "a"}]),
    ("tool_call", {"source": "text", "compare": "names", "extra_calls": "allow"}, []),
    ("language", {}, "en"),
    ("language", {"among": ["en", "no", "fi"], "min_letters": 1}, ["no", "fi"]),
    ("length", {}, None),
    ("length", {"unit": "sentences"}, None),
    ("length_bounds", {"min": 1, "max": 5}, None),
    ("length_bounds", {"unit": "sentences"}, {"max": 2}),
    ("length", {"unit": "words"}, None),
    ("length", {"unit": "lines"}, None),
    ("refusal", {}, None),
    ("refusal", {"languages": ["en", "de", "fr", "es", "it", "pt", "nl"]}, None),
    ("style", {"feature": "style.words"}, None),
    ("style", {"feature": "readability"}, None),
    ("embedding", {}, ["a reference", "b"]),
    ("rubric", {"rubric": "Is polite."}, None),
    ("rubric", {"rubric": "Is polite.", "mode": "pairwise"}, "reference"),
]
RAW = {"length", "style"}

MEGA = 20 * 1024 * 1024
HOSTILE: dict[str, str] = {
    "empty": "",
    "twenty megabytes of one letter": "a" * MEGA,
    "twenty megabytes of digits": "1" * MEGA,
    "twenty megabytes of grouped digits": "1,000," * (MEGA // 6),
    "twenty megabytes of full stops": "." * MEGA + "x",
    "full stops before a letter": "." * 199_999 + "x",
    "twenty megabytes of white space": " " * MEGA + "x",
    "many numbers": "1 " * 100_000,
    "many percent signs": "%" * 200_000,
    "lone surrogates": "\ud800motor\udfff" * 100,
    "NUL characters": "motor\x00" * 100,
    "escaped surrogate in JSON": '{"kind": "\\ud800", "\\udfff": "\\u0000"}',
    "open brackets": "[" * 200_000,
    "deep JSON": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 30_000 + "1" + "}" * 30_000,
    "JSON just below the depth": "[" * 59 + "]" * 59,
    "JSON start marks": "{ " * 100_000,
    "quotes": '{"a": "' + '\\"' * 90_000,
    "wide JSON": "[" + "1," * 99_000 + "1]",
    "wide mixed JSON": '{"kind":"a","items":[' + '1,"1",[1],' * 15_000 + "null]}",
    "a number beyond floats": '{"amount": 1e999}',
    "a whole number beyond floats": '{"amount": ' + "9" * 290 + "}",
    "a number of five thousand digits": '{"amount": ' + "9" * 5000 + "}",
    "NaN in JSON": '{"amount": NaN}',
    "two hundred numbers": '{"kind":"a","items":[' + ",".join(map(str, range(200))) + "]}",
    "table": "|" * 100_000 + "x",
    "stars": "*" * 200_000,
    "label": "A" * 200_000 + ":",
    "apostrophes": "a'" * 100_000,
    "list marks": "- " * 100_000,
    "sorry": "sorry i " * 25_000,
    "combining marks": "e\u0301" * 100_000,
    "emoji": "\U0001f469\u200d\U0001f4bb" * 50_000,
}
