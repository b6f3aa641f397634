"""A file of another tool, read, checked and reported on; nothing is stored here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from apps.evaluations import imports
from apps.evaluations.imports.base import RecordedAnswer
from apps.evaluations.scorers.base import storable_text
from apps.evaluations.suitefile import Suite


@dataclass(frozen=True)
class Converted:
    """A checked suite and the importer's report."""

    suite: Suite
    origin: dict[str, Any]
    answers: list[RecordedAnswer]

    @property
    def models(self) -> dict[str, int]:
        """How many answers of which model."""
        counts: dict[str, int] = {}
        for answer in self.answers:
            counts[answer.model] = counts.get(answer.model, 0) + 1
        return counts


def convert(
    format_name: str,
    data: bytes,
    *,
    filename: str,
    head: imports.Head,
    options: imports.Options,
    files: imports.Files = imports.nothing_beside,
) -> Converted:
    """Read a file and store nothing. Raises ImportRefused, and SuiteError where what was read
    breaks a suite's own rules."""
    imported = imports.read(
        format_name, data, filename=filename, head=head, options=options, files=files
    )
    origin = {
        "format": format_name,
        "file": filename[:200],
        "sha256": hashlib.sha256(data).hexdigest(),
        "carried": [storable_text(c)[:300] for c in imported.carried],
        "left_out": [
            {
                "what": storable_text(loss.what)[:200],
                "why": storable_text(loss.why)[:300],
                "where": [storable_text(w)[:80] for w in loss.where],
                "count": loss.count,
            }
            for loss in imported.losses[:200]
        ],
    }
    return Converted(imported.suite(), origin, imported.answers)
