"""Reading a suite: bytes in, a checked Suite or a SuiteError with every problem out.

Size is checked before anything is decoded, the encoding before anything is parsed, the structure
before anything is looked up, and nothing is returned unless all of it holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from apps.evaluations.scorers.safe_schema import complaints
from apps.evaluations.suitefile import images
from apps.evaluations.suitefile.caselines import CASES_FILE, NO_CASES, SCHEMA_STEPS, CaseLines
from apps.evaluations.suitefile.checks import findings
from apps.evaluations.suitefile.decoding import MAX_FILE_BYTES, decode, too_large, whole
from apps.evaluations.suitefile.documents import suite_of_document
from apps.evaluations.suitefile.errors import (
    MAX_PROBLEMS,
    Finding,
    Path,
    Problem,
    SuiteError,
    print_path,
)
from apps.evaluations.suitefile.events import (
    Event,
    ReadError,
    build,
    json_events,
    locate,
    yaml_events,
)
from apps.evaluations.suitefile.schema import frame_schema, suite_schema
from apps.evaluations.suitefile.types import Case, Suite

SUITE_FILE = "suite.yaml"


def load_suite_dir(path: str | os.PathLike[str]) -> Suite:
    """The suite in a directory (suite.yaml, and cases.jsonl unless its cases are inline)."""
    folder = FilePath(path)
    if not folder.is_dir():
        raise whole(folder.name, "This is not a directory with a suite.yaml. Check the path.")
    data = _read_file(folder / SUITE_FILE)
    if data is None:
        message = f"There is no {SUITE_FILE} in the directory. Add it, or check the path."
        raise whole(folder.name, message)
    with ExitStack() as stack:
        try:
            cases = stack.enter_context((folder / CASES_FILE).open("rb"))
        except FileNotFoundError:
            cases = None
        except OSError as error:
            raise _unreadable(CASES_FILE, error) from None
        return parse_suite_bytes(
            data, filename=SUITE_FILE, cases=cases, files=partial(images.read_beside, folder)
        )


def load_suite(path: str | os.PathLike[str]) -> Suite:
    """The suite in a directory or in a single file."""
    place = FilePath(path)
    if place.is_dir():
        return load_suite_dir(place)
    data = _read_file(place)
    if data is None:
        raise whole(place.name, "There is no such file. Check the path.")
    return parse_suite_bytes(data, filename=place.name)


def parse_suite_bytes(
    data: bytes,
    *,
    filename: str,
    cases: bytes | BinaryIO | None = None,
    cases_file: str = CASES_FILE,
    files: Callable[[str], bytes | None] | None = None,
) -> Suite:
    """The suite in a file's bytes: YAML or JSON, its cases inline or as JSON Lines in `cases`.

    `cases` is read line by line, so a file may be open in place of its bytes.
    `files` gives the bytes of an image file that the suite names, or None where there is none.
    """
    filename = os.path.basename(filename.replace("\\", "/")) or SUITE_FILE
    if len(data) > MAX_FILE_BYTES:
        raise too_large(filename, MAX_FILE_BYTES)
    text = decode(data, filename)
    if filename.lower().endswith(".jsonl"):
        message = "These are cases without a suite. Send suite.yaml too, or cases inline in it."
        raise whole(filename, message)
    is_json = filename.lower().endswith(".json") or (
        not filename.lower().endswith((".yaml", ".yml")) and text.lstrip()[:1] == "{"
    )
    read: Callable[[], Iterator[Event]]
    read = (lambda: json_events(text)) if is_json else (lambda: yaml_events(text))
    document = _build(read(), filename)
    if document is None:
        raise whole(filename, "The file is empty. Write a suite into it; see docs/suites.md.")
    if not isinstance(document, dict):
        message = "The file must be a mapping that begins with 'schema: govtrack/suite@1'."
        raise SuiteError([Problem(filename, 1, 1, "", message)])
    source = _Source(filename, read)
    schema = suite_schema()
    streamed: list[Case] | None = None
    wrong: list[Finding] = []
    if cases is not None:
        if "cases" in document:
            found = [Finding(("cases",), f"Cases are inline and in {CASES_FILE}. Keep one.")]
            raise SuiteError(source.problems(found))
        source.lines = CaseLines(cases, cases_file)
        schema = frame_schema()
        streamed, wrong = source.lines.read()
    found = [
        Finding(path, _reworded(path, message, document))
        for path, message in complaints(
            schema, document, limit=MAX_PROBLEMS + 1, steps=SCHEMA_STEPS
        )
    ]
    if found or wrong:
        raise SuiteError(source.problems([*found, *wrong]))
    suite, found = checked(document, files, cases=streamed)
    if found:
        raise SuiteError(source.problems(found))
    return suite


def parse_document(document: dict[str, Any], *, filename: str = "suite") -> Suite:
    """A suite from plain values, such as an importer or a form makes: checked like a file, but
    without places. Raises SuiteError."""
    name = f"{filename}.json"
    cases = document.get("cases")
    if not isinstance(cases, list):
        return parse_suite_bytes(_json(document), filename=name)
    frame = {key: value for key, value in document.items() if key != "cases"}
    return parse_suite_bytes(
        _json(frame), filename=name, cases=b"\n".join(map(_json, cases)), cases_file=name
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def checked(
    document: dict[str, Any],
    files: Callable[[str], bytes | None] | None,
    *,
    cases: list[Case] | None = None,
) -> tuple[Suite, list[Finding]]:
    """The suite of a document that fits the schema, and what the schema could not see. `cases`
    are those that were read beside it."""
    data, wrong = images.collect(document.get("images", []), files)
    suite = suite_of_document(document if cases is None else {**document, "cases": ()})
    suite = replace(suite, image_data=data)
    if cases is not None:
        suite = replace(suite, cases=tuple(cases))
    return suite, [*wrong, *findings(suite)]


class _Source:
    """The files of a suite, able to say where a path is. Places are looked up only for problems."""

    def __init__(self, filename: str, read: Callable[[], Iterator[Event]]) -> None:
        self.filename, self.read = filename, read
        self.lines: CaseLines | None = None

    def problems(self, found: list[Finding]) -> list[Problem]:
        wanted = {f.path for f in found} | {f.other for f in found if f.other is not None}
        places = self._places(wanted)
        problems = []
        for finding in found:
            message = finding.message
            if finding.other is not None:
                message += f" It is first used in line {places[finding.other][1]}."
            file, line, column = places[finding.path]
            problems.append(Problem(file, line, column, print_path(finding.path), message))
        return problems

    def _places(self, wanted: set[Path]) -> dict[Path, tuple[str, int, int]]:
        places: dict[Path, tuple[str, int, int]] = {}
        inline: set[Path] = set()
        of_cases: dict[Path, int] = {}
        for path in wanted:
            if self.lines is None or path[:1] != ("cases",):
                inline.add(path)
            elif len(path) < 2:
                places[path] = (self.lines.name, 1, 1)
            else:
                of_cases[path] = int(path[1])
        if self.lines is not None:
            lines = self.lines.lines_of(set(of_cases.values()))
            for path, index in of_cases.items():
                number, line = lines[index]
                found = locate(json_events(line, number), {path[2:]})[path[2:]]
                if found[0] < number:
                    found = (number, 1)
                places[path] = (self.lines.name, *found)
        if inline:
            for path, (line_number, column) in locate(self.read(), inline).items():
                places[path] = (self.filename, line_number, column)
        return places


def _reworded(path: Path, message: str, document: dict[str, Any]) -> str:
    no_cases = path == ("cases",) and document.get("cases") == []
    if no_cases or (path == () and "'cases' is missing" in message):
        return NO_CASES
    return message


def _read_file(path: FilePath) -> bytes | None:
    """The file's bytes, or None when it does not exist. Never reads more than the limit allows."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path.name, error) from None


def _unreadable(name: str, error: OSError) -> SuiteError:
    reason = error.strerror or "unknown reason"
    return whole(name, f"The file cannot be read ({reason}). Check it.")


def _build(events: Iterator[Event], file: str) -> Any:
    try:
        return build(events)
    except ReadError as error:
        place = (error.line, error.column)
        raise SuiteError([Problem(file, *place, print_path(error.path), error.message)]) from None
