"""Cases as JSON Lines, read one after the other: of a suite of 100,000 cases the text, the plain
values and the cases are never in memory together, only the cases."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

from apps.core.batches import batched
from apps.evaluations.scorers.safe_schema import complaints
from apps.evaluations.suitefile.decoding import MAX_CASES_BYTES, decode, too_large, whole
from apps.evaluations.suitefile.documents import case_of_document
from apps.evaluations.suitefile.errors import (
    MAX_PROBLEMS,
    Finding,
    Problem,
    SuiteError,
    print_path,
)
from apps.evaluations.suitefile.events import ReadError, build, json_events
from apps.evaluations.suitefile.schema import MAX_CASES, suite_schema
from apps.evaluations.suitefile.types import Case

CASES_FILE = "cases.jsonl"
SCHEMA_STEPS = 50_000_000
CHECKED_TOGETHER = 500
NO_CASES = (
    "The suite has no cases. Add at least one under 'cases', or a cases.jsonl with one JSON "
    "object a line."
)


class CaseLines:
    """The lines of a file that can be read again; blank ones are skipped. Only "\\n" ends a line:
    JSON text may hold U+2028 and its like as they are."""

    def __init__(self, source: bytes | BinaryIO, name: str = CASES_FILE) -> None:
        self.name = name
        self._file = io.BytesIO(source) if isinstance(source, bytes) else source

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """(number, text). Raises SuiteError for what is no text, and for too much of it."""
        self._file.seek(0)
        byte = number = 0
        while data := self._file.readline(MAX_CASES_BYTES + 1 - byte):
            number += 1
            text = decode(data, self.name, line=number, byte=byte)
            byte += len(data)
            if byte > MAX_CASES_BYTES:
                raise too_large(self.name, MAX_CASES_BYTES)
            if text.strip():
                yield number, text.removesuffix("\n")

    def lines_of(self, indices: set[int]) -> dict[int, tuple[int, str]]:
        """The lines of some cases, by the cases' index."""
        last = max(indices, default=-1)
        found: dict[int, tuple[int, str]] = {}
        for index, line in enumerate(self):
            if index in indices:
                found[index] = line
            if index >= last:
                break
        return found

    def read(self) -> tuple[list[Case], list[Finding]]:
        """The cases, or what of them does not fit the schema (then the cases are not complete).
        Raises SuiteError where a line cannot be read."""
        # Encoding and size are looked at before anything is parsed.
        count = sum(1 for _ in self)
        if count > MAX_CASES:
            message = f"There are {count:,} cases; {MAX_CASES:,} are allowed. Split them."
            raise whole(self.name, message)
        if not count:
            return [], [Finding(("cases",), NO_CASES)]
        cases: list[Case] = []
        wrong: list[Finding] = []
        for chunk in batched(self._values(), CHECKED_TOGETHER):
            values = [value for _, value in chunk]
            left = MAX_PROBLEMS + 1 - len(wrong)
            for path, message in complaints(_schema(), values, limit=left, steps=SCHEMA_STEPS):
                place = ("cases", chunk[int(path[0])][0], *path[1:])
                wrong.append(Finding(place, message))
            if len(wrong) > MAX_PROBLEMS:
                break
            if not wrong:
                cases += map(case_of_document, values)
        return cases, wrong

    def _values(self) -> Iterator[tuple[int, Any]]:
        """(index, value). Once a line cannot be read only such lines are looked for."""
        problems: list[Problem] = []
        for index, (number, line) in enumerate(self):
            try:
                value = build(json_events(line, number))
            except ReadError as error:
                path = print_path(("cases", index, *error.path))
                where = (error.line or number, error.column or 1)
                problems.append(Problem(self.name, *where, path, error.message))
                if len(problems) > MAX_PROBLEMS:
                    break
            else:
                if not problems:
                    yield index, value
        if problems:
            raise SuiteError(problems)


@cache
def _schema() -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": "#/$defs/case"}, "$defs": suite_schema()["$defs"]}
