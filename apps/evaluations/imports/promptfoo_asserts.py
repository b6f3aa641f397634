"""promptfoo's assertions as scorers: which carry over, and why the others do not."""

from __future__ import annotations

import json
import re
from typing import Any

from apps.evaluations.imports import judged
from apps.evaluations.imports.base import Builder, text_of
from apps.evaluations.imports.nunjucks import Unsupported, render
from apps.evaluations.scorers.embedding import MAX_REFERENCES

CODE = "code from a file is never run here; write the rule with a scorer"
JUDGED = "what it asks its judge is not in the file: say it as a rubric after the import"
UNKNOWN = "GovTrack has no scorer that means the same"
REASONS = {
    "javascript": CODE,
    "python": CODE,
    "ruby": CODE,
    "webhook": "answers are sent to no other service",
    "answer-relevance": JUDGED,
    "context-recall": JUDGED,
    "context-relevance": JUDGED,
    "context-faithfulness": JUDGED,
    "search-rubric": JUDGED,
    "select-best": JUDGED,
    "pi": JUDGED,
    "classifier": JUDGED,
    "latency": "latency is measured for every call and watched apart from answers",
    "cost": "cost is measured for every call and limited by budgets",
    "perplexity": "log-probabilities are watched by probes",
}
BY_A_JUDGE = {
    "llm-rubric": ("Meets its rubric", judged.DEMAND),
    "model-graded-closedqa": ("Meets its criterion", judged.DEMAND),
    "g-eval": ("Meets its criteria", judged.DEMAND),
    "factuality": ("Agrees with the reference", judged.FACTS),
    "model-graded-factuality": ("Agrees with the reference", judged.FACTS),
}
Expectation = tuple[str, Any]


def carry(
    builder: Builder, assertion: dict[str, Any], values: dict[str, Any], where: str
) -> list[Expectation]:
    """(scorer's key, expectation) of one assertion; what cannot be carried becomes a loss."""
    kind = str(assertion.get("type", ""))
    if kind == "assert-set":
        builder.lose("assert-set", "its assertions stand alone; its threshold is left out", where)
        inner = assertion.get("assert") or []
        return [e for a in inner if isinstance(a, dict) for e in carry(builder, a, values, where)]
    if assertion.get("transform"):
        builder.lose(f"{kind} with 'transform'", CODE, where)
        return []
    if kind == "javascript" and (plain := _SIMPLE.fullmatch(str(assertion.get("value")).strip())):
        kind = ("not-" if plain["no"] else "") + ("icontains" if plain["fold"] else "contains")
        assertion = {**assertion, "value": plain["text"]}
    base = kind.removeprefix("not-")
    if base in REASONS:
        builder.lose(kind, REASONS[base], where)
        return []
    try:
        value = _filled(assertion.get("value"), values)
        found = _rule(builder, kind, value, str(assertion.get("metric") or ""))
    except Unsupported as error:
        builder.lose(kind, f"its value cannot be written out: {error}", where)
        return []
    if found is None:
        builder.lose(kind or "an assertion without a type", UNKNOWN, where)
        return []
    if assertion.get("weight") not in (None, 1):
        builder.lose("weights of assertions", "each assertion is a metric of its own", where)
    if assertion.get("threshold") is not None:
        builder.lose("thresholds of assertions", "a metric has a margin instead", where)
    if assertion.get("provider") and kind in (*BY_A_JUDGE, "similar"):
        builder.lose(
            f"provider of {kind}", "a registered version is chosen when answers are scored", where
        )
    if assertion.get("rubricPrompt"):
        builder.lose("rubricPrompt", "judges are asked in GovTrack's own words", where)
    return [found]


_SIMPLE = re.compile(
    r"(?:return )?(?P<no>!?)output(?P<fold>\.toLowerCase\(\))?"
    r"\.includes\((?P<quote>['\"])(?P<text>[^'\"\\{}]+)(?P=quote)\);?"
)
"""The one piece of code that means an assertion of its own."""


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, str):
        if value.startswith("file://"):
            raise Unsupported("it lies in another file")
        return render(value, values)
    if isinstance(value, list):
        return [_filled(v, values) for v in value]
    if isinstance(value, dict):
        return {k: _filled(v, values) for k, v in value.items()}
    return value


def _texts(value: Any) -> list[str]:
    """A list of texts; a text is cut at its commas, as promptfoo does."""
    if isinstance(value, list):
        return [text_of(v) for v in value if v not in (None, "")]
    return [part.strip() for part in text_of(value).split(",") if part.strip()]


def _rule(builder: Builder, kind: str, value: Any, metric: str) -> Expectation | None:
    def scorer(type_name: str, label: str, /, params: Any = None, **more: Any) -> str:
        return builder.scorer(metric or kind, type_name, metric or label, params, **more)

    negative = kind.startswith("not-")
    base = kind.removeprefix("not-")
    if base in ("contains", "icontains", "contains-any", "icontains-any", "contains-all",
                "icontains-all"):  # fmt: skip
        several = base.endswith(("-any", "-all"))
        texts = _texts(value) if several else [text_of(value)]
        if value is None or not texts or len(texts) > 50 or (negative and base.endswith("-all")):
            return None
        form = "none" if negative else "any" if base.endswith("-any") else "all"
        label = {"none": "Avoids texts", "any": "Names one of", "all": "Contains"}[form]
        return scorer("contains", label, {"casefold": base.startswith("i")}), {form: texts}
    if negative:
        if base == "is-refusal":
            key = scorer("refusal", "Refusals", needs_expect=False, direction="lower")
            return key, None
        return None
    if kind == "equals":
        if isinstance(value, dict | list):
            return scorer("json_diff", "Equals (parts)", {"extract": "whole"}), value
        return (
            None if value is None else (scorer("exact", "Equals", {"strip": False}), text_of(value))
        )
    if kind == "starts-with":
        pattern = r"\A" + re.escape(text_of(value))
        return (scorer("regex", "Begins with"), pattern) if len(pattern) <= 2000 else None
    if kind == "regex":
        return scorer("regex", "Pattern found"), text_of(value)
    if kind in ("is-json", "contains-json"):
        schema = value if isinstance(value, dict) else _json(value)
        extract = "whole" if kind == "is-json" else "first"
        label = "Is JSON" if kind == "is-json" else "Contains JSON"
        return scorer("json_schema", label, {"extract": extract}), schema
    if kind == "is-refusal":
        return scorer("refusal", "Refusals", needs_expect=False), None
    if kind == "similar":
        texts = value if isinstance(value, list) else [value]
        if not 0 < len(texts) <= MAX_REFERENCES or not all(isinstance(t, str) and t for t in texts):
            return None
        return scorer("embedding", "Near in meaning"), value
    if kind in BY_A_JUDGE:
        demand = judged.demand(value if isinstance(value, list) else [value])
        label, rubric = BY_A_JUDGE[kind]
        return (scorer("rubric", label, {"rubric": rubric}), demand) if demand.strip() else None
    return None


def _json(value: Any) -> Any:
    if value in (None, ""):
        return {}
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        raise Unsupported("its schema is not JSON") from None


_SHORT = re.compile(
    r"(?P<type>(?:not-)?(?:i?contains(?:-any|-all|-json)?|equals|is-json|regex|starts-with|"
    r"is-refusal|similar|levenshtein|javascript|python|llm-rubric|fn|eval|grade|latency|cost))"
    r"(?:\((?P<number>[\d.]+)\))?(?::(?P<value>.*))?",
    re.DOTALL,
)
_NAMES = {"fn": "javascript", "eval": "javascript", "grade": "llm-rubric"}


def of_text(text: str) -> dict[str, Any]:
    """The assertion that a cell of a test table means: 'contains: x', or a text to equal."""
    match = _SHORT.fullmatch(text.strip())
    if match is None or (match["value"] is None and match["type"] not in _ALONE):
        return {"type": "equals", "value": text}
    kind = _NAMES.get(match["type"], match["type"])
    return {"type": kind, "value": (match["value"] or "").strip() or None}


_ALONE = ("is-json", "contains-json", "is-refusal", "not-is-refusal")
