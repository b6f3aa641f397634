"""OpenAI Evals: JSON Lines with `input` (messages or text) and `ideal` (text or texts).

The class that judges stands in another file (the registry), so the rule is asked for: `match`
(begins with, the usual one), `includes`, or another.
"""

from __future__ import annotations

from typing import Any

from apps.evaluations.imports import judged
from apps.evaluations.imports.base import (
    Builder,
    Files,
    Head,
    Imported,
    ImportRefused,
    Loss,
    Options,
    chat,
    json_lines,
    text_of,
)
from apps.evaluations.imports.exporting import json_lines_of
from apps.evaluations.suitefile import Suite
from apps.evaluations.suitefile.types import Case

KNOWN = {"input", "ideal", "id", "metadata", "tags"}


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    stem = filename.rsplit(".", 1)[0]
    builder = Builder(
        head,
        Head(
            slug=stem,
            name=stem,
            not_measured="What the targets do not say.",
            source=f"Imported from the OpenAI Evals file {filename}.",
        ),
    )
    rule = judged.rule_named(options.scorer, "match")
    rows = [(n, row) for n, row in json_lines(data) if isinstance(row, dict) and "input" in row]
    if not rows:
        raise ImportRefused("No line has an 'input'. Is this a file of OpenAI Evals samples?")
    if rule == "choice":
        judged.choice_scorer(builder, [text_of(t) for _, r in rows for t in targets_of(r)[:1]])
    for number, row in rows:
        where = f"line {number}"
        given = row["input"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else chat(given)
        if isinstance(messages, str):
            builder.lose("samples", messages, where)
            continue
        for key in set(row) - KNOWN:
            builder.lose(f"key '{key[:40]}'", "it has no counterpart in a suite", where)
        expects = judged.expectations(builder, rule, targets_of(row), where)
        builder.add({"id": str(row.get("id", number)), "messages": messages}, expects)
    builder.carried += [f"{len(builder.cases)} samples", f"judged by '{rule}': {judged.HELP[rule]}"]
    if not options.scorer:
        builder.lose("The eval's class", "it stands in the registry, not here; 'match' is taken")
    return builder.finish()


def targets_of(row: dict[str, Any]) -> list[Any]:
    ideal = row.get("ideal")
    return ideal if isinstance(ideal, list) else [ideal]


def write(suite: Suite) -> tuple[bytes, list[Loss]]:
    """A suite as samples: the question as it is asked, and its expectation where that is text."""
    return json_lines_of(suite, _row, target="ideal", left_out="this format cannot hold them")


def _row(case: Case, messages: list[dict[str, Any]], ideal: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"id": case.id, "input": messages}
    if ideal is not None:
        row["ideal"] = ideal
    return row
