"""The structure of a run's answered samples beside the baseline's: JSON texts, and tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from apps.drift.stats.structure import Shape, path_changes, shape
from apps.evaluations.models import Sample

MOST_CHARS = 100_000
FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n(.*)\n```\Z", re.DOTALL)
NO_CALLS = shape({}, "call")
Shapes = dict[str, list[Shape | None]]


def structure_rows(before: Iterable[Sample], now: Iterable[Sample]) -> list[dict[str, Any]]:
    """Rows for `Comparison.method["structure"]`; empty where nothing changed or nothing is JSON."""
    old_text, old_calls = _shapes(before)
    new_text, new_calls = _shapes(now)
    found = [*path_changes(old_text, new_text), *path_changes(old_calls, new_calls)]
    return [
        {
            "path": _storable(row.path),
            "change": row.change,
            "before": row.before,
            "after": row.after,
            "cases": row.cases,
            "of": row.of,
            "share": round(row.share, 4),
            "sentence": _storable(row.sentence),
        }
        for row in sorted(found, key=lambda r: -r.share * r.cases)
    ]


def _shapes(samples: Iterable[Sample]) -> tuple[Shapes, Shapes]:
    texts: Shapes = {}
    calls: Shapes = {}
    for sample in samples:
        key = sample.case.case_id
        texts.setdefault(key, []).append(_of_text(sample.text))
        calls.setdefault(key, []).append(_of_calls(sample))
    return texts, calls


def _of_text(text: str) -> Shape | None:
    text = text.strip()
    if fenced := FENCE.match(text):
        text = fenced[1].strip()
    value = _parsed(text) if text.startswith(("{", "[")) else None
    return None if value is None else shape(value)


def _of_calls(sample: Sample) -> Shape | None:
    """Tool calls as {name: arguments}; an answer without any is an empty mapping."""
    if not isinstance(sample.tool_calls, list) or not sample.tool_calls:
        return NO_CALLS
    called: dict[str, Any] = {}
    for item in sample.tool_calls:
        body = item.get("function", item) if isinstance(item, dict) else None
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            continue
        arguments = body.get("arguments")
        if isinstance(arguments, str):
            arguments = _parsed(arguments) if arguments.strip() else {}
        called[body["name"]] = arguments if arguments is not None else {}
    return shape(called, "call")


def _parsed(text: str) -> Any:
    if len(text) > MOST_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _storable(text: str) -> str:
    """PostgreSQL's JSON refuses NUL and lone surrogates; Python's knows both."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
