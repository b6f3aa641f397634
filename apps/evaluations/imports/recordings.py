"""Recorded answers, one JSON object a line (.jsonl, or .jsonl.gz): what a model said, when.

Keys: `model`, `id` (the case; the same over models), `query` (text or messages), `reference`,
`answer`, and, where known, `temperature`, `max_tokens`, `latency_s`, `cost_usd`, `answered_at`,
`replicate`. The questions become a suite; the answers can be stored as runs of it, model by model,
so that a change of years ago is compared like one of today.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

from apps.evaluations.imports import judged
from apps.evaluations.imports.base import (
    Builder,
    Files,
    Head,
    Imported,
    ImportRefused,
    Options,
    RecordedAnswer,
    chat,
    json_lines,
    text_of,
)

MAX_BYTES = 512 * 1024 * 1024
PARAMETERS = ("temperature", "top_p", "max_tokens", "seed")
KNOWN = {"model", "id", "query", "reference", "answer", "latency_s", "cost_usd", "answered_at",
         "replicate", "prompt_tokens", "completion_tokens", "error", *PARAMETERS}  # fmt: skip
RULES = (*judged.RULES, "marked")


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    stem = filename.split(".", 1)[0]
    builder = Builder(
        head,
        Head(
            slug=stem,
            name=stem,
            summary=f"The questions of the recording {filename}.",
            not_measured="What the references do not say.",
            source=f"Imported from the recording {filename}.",
        ),
    )
    rows = [(n, r) for n, r in json_lines(_unpacked(data)) if isinstance(r, dict)]
    if not rows or not all("query" in r and "id" in r for _, r in rows[:100]):
        raise ImportRefused("These are no recordings: each line needs 'id', 'query' and 'answer'.")
    rule = options.scorer or _guessed(rows)
    if rule != "marked":
        judged.rule_named(rule, "")
    if rule == "choice":
        judged.choice_scorer(builder, [text_of(r.get("reference")) for _, r in rows])
    cases: dict[str, tuple[str, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for number, row in rows:
        where = f"line {number}"
        name, query = text_of(row["id"]), row["query"]
        if name not in cases:
            messages = (
                [{"role": "user", "content": query}] if isinstance(query, str) else chat(query)
            )
            if isinstance(messages, str) or not query:
                builder.lose("lines", "the query is empty or no text", where)
                continue
            expects = _expected(builder, rule, row.get("reference"), where)
            cases[name] = (
                builder.add({"id": name, "messages": messages}, expects),
                text_of(query),
            )
        elif cases[name][1] != text_of(query):
            builder.lose("lines", "another question stands under the same id", where)
            continue
        for key in set(row) - KNOWN:
            builder.lose(f"key '{key[:40]}'", "it has no counterpart here", where)
        model = text_of(row.get("model") or "")
        if "answer" not in row and "error" not in row:
            continue
        replicate = counts.get((model, name), 0)
        counts[model, name] = replicate + 1
        builder.answers.append(_answer(row, cases[name][0], model, replicate))
    models = dict.fromkeys(a.model for a in builder.answers)
    builder.carried += [
        f"{len(cases)} questions as cases",
        f"{len(builder.answers)} answers of {', '.join(models) or 'no model'}",
        f"judged by '{rule}'",
    ]
    return builder.finish()


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        unpacker = zlib.decompressobj(31)
        content = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ImportRefused(f"The file is damaged: {error}.") from None
    if unpacker.unconsumed_tail:
        raise ImportRefused("The recording unpacks to more than 512 MB. Split it.")
    if not unpacker.eof:
        raise ImportRefused("The file is damaged: it ends too early.")
    return content


def _guessed(rows: list[tuple[int, dict[str, Any]]]) -> str:
    """'marked' where the question asks for the answer in brackets or a box, else 'includes'."""
    asks = [text_of(r["query"]) for _, r in rows[:50]]
    marked = sum(bool(re.search(r"\[\w+\]|\\boxed", a)) for a in asks)
    return "marked" if marked * 2 > len(asks) else "includes"


def _expected(builder: Builder, rule: str, reference: Any, where: str) -> list[Any]:
    r"""`marked`: the last [word] or \boxed{…} of the answer counts, upper and lower case alike."""
    if rule != "marked":
        return judged.expectations(builder, rule, [reference], where)
    text = text_of(reference if reference is not None else "")
    boxed = re.search(r"boxed\{([^{}]*)\}", text)
    value = (boxed.group(1) if boxed else text).strip().strip("[]").strip()
    if not value:
        builder.lose("lines without a reference", "they are asked, but not judged", where)
        return []
    pattern = r"(?s).*(?:\[\s*([^\[\]\n]{1,80}?)\s*\]|\\boxed\{\s*([^{}\n]{1,80}?)\s*\})"
    if boxed:
        pattern = r"(?s).*\\boxed\{\s*([^{}\n]{1,80}?)\s*\}"
    else:
        pattern = r"(?s).*\[\s*([^\[\]\n]{1,80}?)\s*\]"
    params = {"pattern": pattern, "group": 1, "ignore_case": True}
    return [(builder.scorer("accuracy", "regex", "Right answer", params), value)]


def _answer(row: dict[str, Any], case_id: str, model: str, replicate: int) -> RecordedAnswer:
    seconds = row.get("latency_s")
    return RecordedAnswer(
        case_id=case_id,
        model=model,
        text=text_of(row.get("answer") if row.get("answer") is not None else ""),
        replicate=row["replicate"] if isinstance(row.get("replicate"), int) else replicate,
        answered_at=text_of(row.get("answered_at") or ""),
        latency_ms=seconds * 1000 if isinstance(seconds, int | float) else None,
        prompt_tokens=_count(row.get("prompt_tokens")),
        completion_tokens=_count(row.get("completion_tokens")),
        error=text_of(row.get("error") or "")[:2000],
        parameters={k: row[k] for k in PARAMETERS if k in row},
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
