"""Suites of other tools, in and out. One small file a format; docs/suites.md lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from apps.evaluations.imports import (
    inspect_dataset,
    inspect_log,
    openai_evals,
    promptfoo,
    promptfoo_export,
    recordings,
    table,
)
from apps.evaluations.imports.base import (
    Files,
    Head,
    Imported,
    ImportRefused,
    Loss,
    Options,
    RecordedAnswer,
)
from apps.evaluations.suitefile import Suite

__all__ = [
    "FORMATS",
    "Files",
    "Format",
    "Head",
    "ImportRefused",
    "Imported",
    "Loss",
    "Options",
    "RecordedAnswer",
    "guess",
    "nothing_beside",
    "read",
    "write",
]


class _Read(Protocol):
    def __call__(
        self, data: bytes, *, filename: str, head: Head, options: Options, files: Files
    ) -> Imported: ...


@dataclass(frozen=True)
class Format:
    name: str
    label: str
    read: _Read
    write: Callable[[Suite], tuple[bytes, list[Loss]]] | None = None
    ending: str = ""


FORMATS = {
    each.name: each
    for each in (
        Format(
            "promptfoo",
            "promptfoo configuration",
            promptfoo.read,
            promptfoo_export.write,
            "promptfoo.yaml",
        ),
        Format(
            "openai-evals",
            "OpenAI Evals samples (JSONL)",
            openai_evals.read,
            openai_evals.write,
            "jsonl",
        ),
        Format(
            "inspect-dataset",
            "Inspect dataset (JSONL, JSON, CSV)",
            inspect_dataset.read,
            inspect_dataset.write,
            "jsonl",
        ),
        Format("inspect-log", "Inspect log (.eval, .json)", inspect_log.read),
        Format("recordings", "Recorded answers (JSONL, .gz)", recordings.read),
        Format("csv", "Table (CSV)", table.read, table.write, "csv"),
    )
}


def nothing_beside(name: str) -> bytes | None:
    return None


def read(
    name: str,
    data: bytes,
    *,
    filename: str,
    head: Head | None = None,
    options: Options | None = None,
    files: Files = nothing_beside,
) -> Imported:
    """A file of another tool as a suite's document. Raises ImportRefused."""
    if name not in FORMATS:
        raise ImportRefused(f"There is no format '{name[:40]}'. Known: {', '.join(FORMATS)}.")
    return FORMATS[name].read(
        data,
        filename=filename.replace("\\", "/").rsplit("/", 1)[-1][:100] or "file",
        head=head or Head(),
        options=options or Options(),
        files=files,
    )


def write(name: str, suite: Suite) -> tuple[bytes, list[Loss]]:
    """A suite in another tool's form, and what that form cannot hold. Raises ImportRefused."""
    writer = FORMATS[name].write if name in FORMATS else None
    if writer is None:
        able = ", ".join(f.name for f in FORMATS.values() if f.write)
        raise ImportRefused(f"Nothing is written as '{name[:40]}'. Known: {able}.")
    return writer(suite)


def guess(filename: str, data: bytes) -> str:
    """The format that a file's name and beginning look like; '' where none does."""
    name, start = filename.lower(), data[:4096]
    if name.endswith(".eval"):
        return "inspect-log"
    if name.endswith((".jsonl.gz", ".json.gz")):
        return "recordings"
    if name.endswith(".csv"):
        return "csv"
    if name.endswith((".yaml", ".yml")):
        named = re.search(rb"(?m)^[\"']?(prompts|tests|scenarios|providers)[\"']?\s*:", start)
        return "promptfoo" if named and b"govtrack/suite@" not in start else ""
    if name.endswith((".jsonl", ".ndjson")):
        if b'"query"' in start:
            return "recordings"
        return "openai-evals" if b'"ideal"' in start else "inspect-dataset"
    if name.endswith(".json"):
        if b'"eval"' in start and b'"status"' in start:
            return "inspect-log"
        return "promptfoo" if b'"prompts"' in start else ""
    return ""
