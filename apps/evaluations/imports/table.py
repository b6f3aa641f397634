"""A CSV table: one case a row.

Columns: `id`, `expect` (or `expected`, `target`, `ideal`, `answer`), `tags` (parted by ;),
`weight`, `note`, and `prompt` (or `input`, `question`): the whole question. Every other column is
a variable; with a template (option `prompt`) `{{column}}` stands for it.
"""

from __future__ import annotations

import csv
import io
import json
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
    decode,
    text_of,
)
from apps.evaluations.imports.exporting import Losses
from apps.evaluations.suitefile import Suite

EXPECT = ("expect", "expected", "target", "ideal", "reference", "answer")
PROMPT = ("prompt", "input", "question", "query")
WRITTEN = ("id", "prompt", "expect", "tags", "weight", "note")
OWN = {"id", "tags", "weight", "note", *EXPECT, *PROMPT}


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    stem = filename.rsplit(".", 1)[0]
    builder = Builder(
        head,
        Head(
            slug=stem,
            name=stem,
            not_measured="What the expected column does not say.",
            source=f"Imported from the table {filename}.",
        ),
    )
    text = decode(data)
    try:
        dialect = csv.Sniffer().sniff(text[:4096].split("\n", 1)[0], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = list(csv.DictReader(io.StringIO(text), dialect=dialect))
    names = [str(n).strip() for n in (rows[0] if rows else {}) if n is not None]
    lowered = {n.lower(): n for n in names}
    question = next((lowered[n] for n in PROMPT if n in lowered), None)
    target = next((lowered[n] for n in EXPECT if n in lowered), None)
    if not rows or (question is None and not options.prompt):
        raise ImportRefused(
            "The table needs a column 'prompt' (or 'input', 'question'), or a template: give one."
        )
    rule = judged.rule_named(options.scorer, "exact")
    if rule == "choice" and target:
        judged.choice_scorer(builder, [r.get(target) or "" for r in rows])
    if options.prompt:
        builder.prompt = {"messages": [{"role": "user", "content": options.prompt}]}
    for number, raw in enumerate(rows, start=2):
        row = {str(k).strip(): v or "" for k, v in raw.items() if k is not None}
        if None in raw:
            builder.lose(
                "cells", "the row has more cells than the first one names", f"row {number}"
            )
        case = _case(builder, row, lowered, question, bool(options.prompt), number)
        if case is None:
            continue
        goal = [row.get(target)] if target else []
        builder.add(case, judged.expectations(builder, rule, goal, f"row {number}"))
    builder.carried += [f"{len(builder.cases)} rows", f"judged by '{rule}': {judged.HELP[rule]}"]
    unused = [n for n in names if n.lower() not in OWN] if not options.prompt else []
    if unused:
        builder.lose(f"columns {', '.join(unused)[:200]}", "no template uses them")
    return builder.finish()


def _case(
    builder: Builder,
    row: dict[str, str],
    lowered: dict[str, str],
    question: str | None,
    template: bool,
    number: int,
) -> dict[str, Any] | None:
    def cell(name: str) -> str:
        return row.get(lowered.get(name, ""), "").strip()

    case: dict[str, Any] = {"id": cell("id") or str(number - 1)}
    if template:
        case["vars"] = {k: v for k, v in row.items() if k.isidentifier()}
    else:
        content = row.get(question or "", "")
        if not content.strip():
            builder.lose("rows", "the question is empty", f"row {number}")
            return None
        case["messages"] = [{"role": "user", "content": content}]
    if cell("note"):
        case["note"] = cell("note")[:2000]
    case["tags"] = [t.strip() for t in cell("tags").replace(",", ";").split(";") if t.strip()]
    weight = cell("weight")
    if weight:
        try:
            case["weight"] = float(weight)
        except ValueError:
            builder.lose("weights", "they are no numbers", f"row {number}")
    return case


def write(suite: Suite) -> tuple[bytes, list[Loss]]:
    """A suite as a table: its variables are columns."""
    losses = Losses()
    named = dict.fromkeys(n for c in suite.cases for n in c.vars)
    names = [n for n in named if n.lower() not in WRITTEN]
    if len(names) < len(named):
        taken = ", ".join(n for n in named if n.lower() in WRITTEN)
        losses.add(f"variables {taken}", "a column of the table has this name already")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*WRITTEN, *names])
    for case in suite.cases:
        prompt = ""
        if case.messages is not None:
            only = case.messages[0] if len(case.messages) == 1 else None
            if only is not None and isinstance(only.content, str) and only.role == "user":
                prompt = only.content
            else:
                losses.add("conversations", "a cell holds one text", case.id)
                continue
        expect = "" if case.expect is None else text_of(case.expect)
        if isinstance(case.expect, dict | list):
            expect = json.dumps(case.expect, ensure_ascii=False)
        cells = [case.id, prompt, expect, ";".join(case.tags), text_of(case.weight), case.note]
        writer.writerow([*cells, *(text_of(case.vars.get(n, "")) for n in names)])
    if suite.prompt is not None:
        losses.add("the prompt's template", "give it again when you import the table")
    losses.of_suite(suite)
    return out.getvalue().encode(), losses.all()
