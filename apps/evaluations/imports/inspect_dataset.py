"""Inspect datasets: JSON Lines, JSON or CSV with input, target, choices, id, metadata.

The scorer stands in the task's Python, so the rule is asked for. A question with choices is written
out with letters, and the target's letter is expected.
"""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
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
    decode,
    json_lines,
    text_of,
)
from apps.evaluations.imports.exporting import json_lines_of
from apps.evaluations.suitefile import Suite
from apps.evaluations.suitefile.types import Case

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENVIRONMENT = ("sandbox", "files", "setup")


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    stem = filename.rsplit(".", 1)[0]
    builder = Builder(
        head,
        Head(
            slug=stem,
            name=stem,
            not_measured="What the targets do not say.",
            source=f"Imported from the Inspect dataset {filename}.",
        ),
    )
    rows = _rows(data, filename)
    rule = judged.rule_named(options.scorer, "includes")
    if rule == "choice":
        targets = [text_of(t) for _, r in rows for t in listed(r.get("target"))[:1]]
        judged.choice_scorer(builder, targets)
    if not options.scorer:
        builder.lose("The task's scorer", "it stands in Python, not here; 'includes' is taken")
    for number, row in rows:
        add_sample(builder, row, f"sample {row.get('id', number)}", rule, number)
    builder.carried += [f"{len(builder.cases)} samples", f"judged by '{rule}': {judged.HELP[rule]}"]
    return builder.finish()


def _rows(data: bytes, filename: str) -> list[tuple[int, dict[str, Any]]]:
    if filename.lower().endswith(".csv"):
        table = csv.DictReader(io.StringIO(decode(data)))
        rows: list[tuple[int, Any]] = [(n, _cells(r)) for n, r in enumerate(table, start=2)]
    else:
        rows = json_lines(data)
    found = [(n, r) for n, r in rows if isinstance(r, dict) and r.get("input")]
    if not found:
        raise ImportRefused("No row has an 'input'. Is this an Inspect dataset?")
    return found


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {k: v for k, v in row.items() if k is not None and v not in (None, "")}
    for key in ("choices", "target", "metadata", "input"):
        value = cells.get(key)
        if isinstance(value, str) and value[:1] in "[{":
            with suppress(ValueError):  # else a text that begins with a bracket
                cells[key] = json.loads(value)
    if isinstance(cells.get("choices"), str):
        cells["choices"] = [c.strip() for c in cells["choices"].split(",")]
    return cells


def add_sample(
    builder: Builder, row: dict[str, Any], where: str, rule: str, number: int | str
) -> str | None:
    """The case's id, None where the sample cannot be carried over."""
    given = row["input"]
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else chat(given)
    if isinstance(messages, str):
        builder.lose("samples", messages, where)
        return None
    for key in ENVIRONMENT:
        if row.get(key):
            builder.lose(f"'{key}'", "a suite asks questions; it runs no environment", where)
    choices = row.get("choices")
    expects: list[Any]
    if isinstance(choices, list) and choices:
        if len(choices) > len(LETTERS):
            builder.lose("samples", "more than 26 choices", where)
            return None
        messages = with_choices(messages, choices)
        expects = letter_expectation(builder, listed(row.get("target")), where)
        builder.lose(
            "choices", "they are written below the question; Inspect words this its own way"
        )
    else:
        expects = judged.expectations(builder, rule, listed(row.get("target")), where)
    case = {"id": str(row.get("id", number)), "messages": messages, "tags": tags_of(row)}
    return builder.add(case, expects)


def with_choices(messages: list[dict[str, Any]], choices: list[Any]) -> list[dict[str, Any]]:
    lines = "\n".join(f"{LETTERS[i]}) {text_of(c)}" for i, c in enumerate(choices))
    *before, last = messages
    content = f"{last.get('content', '')}\n\n{lines}\n\nAnswer with the letter only."
    return [*before, {**last, "content": content}]


def letter_expectation(builder: Builder, targets: list[Any], where: str) -> list[Any]:
    letter = text_of(targets[0]).strip().upper() if len(targets) == 1 else ""
    if len(letter) != 1 or letter not in LETTERS:
        builder.lose("targets that are not one letter", "they are asked, but not judged", where)
        return []
    pattern = r"(?m)^\W*(?:ANSWER\W+)?([A-Za-z])\b\W*$|\bANSWER\W*:?\W*([A-Za-z])\b"
    key = builder.scorer("letter", "regex", "Right letter", {"ignore_case": True})
    return [(key, pattern.replace("[A-Za-z]", letter))]


def tags_of(row: dict[str, Any]) -> list[str]:
    metadata = row.get("metadata")
    if not isinstance(metadata, dict):
        return []
    return [f"{k}={text_of(v)}" for k, v in metadata.items() if isinstance(v, str | int | float)]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def write(suite: Suite) -> tuple[bytes, list[Loss]]:
    """A suite as JSON Lines that Inspect's json_dataset reads."""
    why = "they are left out of this export"
    return json_lines_of(suite, _row, target="target", left_out=why)


def _row(case: Case, messages: list[dict[str, Any]], target: Any) -> dict[str, Any]:
    return {
        "id": case.id,
        "input": messages,
        "target": target if target is not None else "",
        "metadata": {"tags": list(case.tags), "weight": case.weight, "note": case.note},
    }
