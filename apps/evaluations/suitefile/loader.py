"""Reading a suite: bytes in, a checked Suite or a SuiteError with every problem out.

Size is checked before anything is decoded, the encoding before anything is parsed, the structure
before anything is looked up, and nothing is returned unless all of it holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

from apps.evaluations.scorers.safe_schema import complaints
from apps.evaluations.suitefile.checks import Finding, findings
from apps.evaluations.suitefile.errors import (
    MAX_PROBLEMS,
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
from apps.evaluations.suitefile.schema import MAX_CASES, suite_schema
from apps.evaluations.suitefile.types import Case, Message, MetricSpec, Prompt, ScorerSpec, Suite

MAX_FILE_BYTES = 10 * 1024 * 1024
SUITE_FILE, CASES_FILE = "suite.yaml", "cases.jsonl"
_SCHEMA_STEPS = 50_000_000
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_NO_CASES = (
    "The suite has no cases. Add at least one under 'cases', or a cases.jsonl with one JSON "
    "object a line."
)


def load_suite_dir(path: str | os.PathLike[str]) -> Suite:
    """The suite in a directory (suite.yaml, and cases.jsonl unless its cases are inline)."""
    folder = FilePath(path)
    if not folder.is_dir():
        raise _whole(folder.name, "This is not a directory with a suite.yaml. Check the path.")
    data = _read_file(folder / SUITE_FILE)
    if data is None:
        message = f"There is no {SUITE_FILE} in the directory. Add it, or check the path."
        raise _whole(folder.name, message)
    return parse_suite_bytes(data, filename=SUITE_FILE, cases=_read_file(folder / CASES_FILE))


def load_suite(path: str | os.PathLike[str]) -> Suite:
    """The suite in a directory or in a single file."""
    place = FilePath(path)
    if place.is_dir():
        return load_suite_dir(place)
    data = _read_file(place)
    if data is None:
        raise _whole(place.name, "There is no such file. Check the path.")
    return parse_suite_bytes(data, filename=place.name)


def parse_suite_bytes(data: bytes, *, filename: str, cases: bytes | None = None) -> Suite:
    """The suite in a file's bytes: YAML or JSON, its cases inline or as JSON Lines in `cases`."""
    filename = os.path.basename(filename.replace("\\", "/")) or SUITE_FILE
    text = _decode(data, filename)
    if filename.lower().endswith(".jsonl"):
        message = "These are cases without a suite. Send suite.yaml too, or cases inline in it."
        raise _whole(filename, message)
    is_json = filename.lower().endswith(".json") or (
        not filename.lower().endswith((".yaml", ".yml")) and text.lstrip()[:1] == "{"
    )
    read: Callable[[], Iterator[Event]]
    read = (lambda: json_events(text)) if is_json else (lambda: yaml_events(text))
    document = _build(read(), filename)
    if document is None:
        raise _whole(filename, "The file is empty. Write a suite into it; see docs/suites.md.")
    if not isinstance(document, dict):
        message = "The file must be a mapping that begins with 'schema: govtrack/suite@1'."
        raise SuiteError([Problem(filename, 1, 1, "", message)])
    source = _Source(filename, read)
    if cases is not None:
        if "cases" in document:
            found = [Finding(("cases",), f"Cases are inline and in {CASES_FILE}. Keep one.")]
            raise SuiteError(source.problems(found))
        document["cases"] = source.read_cases(cases)
    wrong = complaints(suite_schema(), document, limit=MAX_PROBLEMS + 1, steps=_SCHEMA_STEPS)
    if wrong:
        raise SuiteError(source.problems([Finding(p, _reworded(p, m, document)) for p, m in wrong]))
    suite = _suite(document)
    found = findings(suite)
    if found:
        raise SuiteError(source.problems(found))
    return suite


class _Source:
    """The files of a suite, able to say where a path is. Places are looked up only for problems."""

    def __init__(self, filename: str, read: Callable[[], Iterator[Event]]) -> None:
        self.filename, self.read = filename, read
        self.lines: list[tuple[int, str]] | None = None

    def read_cases(self, data: bytes) -> list[Any]:
        """The cases of a JSON Lines file. Blank lines are skipped."""
        text = _decode(data, CASES_FILE)
        # Only "\n" ends a line here: JSON text may hold U+2028 and its like as they are.
        numbered = enumerate(text.split("\n"), start=1)
        self.lines = [(number, line) for number, line in numbered if line.strip()]
        if len(self.lines) > MAX_CASES:
            message = f"There are {len(self.lines):,} cases; {MAX_CASES:,} are allowed. Split them."
            raise _whole(CASES_FILE, message)
        values: list[Any] = []
        problems: list[Problem] = []
        for index, (number, line) in enumerate(self.lines):
            try:
                values.append(build(json_events(line, number)))
            except ReadError as error:
                path = print_path(("cases", index, *error.path))
                where = (error.line or number, error.column or 1)
                problems.append(Problem(CASES_FILE, *where, path, error.message))
                if len(problems) > MAX_PROBLEMS:
                    break
        if problems:
            raise SuiteError(problems)
        return values

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
        for path in wanted:
            if self.lines is None or path[:1] != ("cases",):
                inline.add(path)
            elif len(path) < 2:
                places[path] = (CASES_FILE, 1, 1)
            else:
                number, line = self.lines[int(path[1])]
                events = json_events(line, number)
                places[path] = (CASES_FILE, *locate(events, {path[2:]})[path[2:]])
                if places[path][1] < number:
                    places[path] = (CASES_FILE, number, 1)
        if inline:
            for path, (line_number, column) in locate(self.read(), inline).items():
                places[path] = (self.filename, line_number, column)
        return places


def _reworded(path: Path, message: str, document: dict[str, Any]) -> str:
    no_cases = path == ("cases",) and document.get("cases") == []
    if no_cases or (path == () and "'cases' is missing" in message):
        return _NO_CASES
    return message


def _whole(file: str, message: str) -> SuiteError:
    return SuiteError([Problem(file, 0, 0, "", message)])


def _read_file(path: FilePath) -> bytes | None:
    """The file's bytes, or None when it does not exist. Never reads more than the limit allows."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise _whole(path.name, f"The file cannot be read ({reason}). Check it.") from None


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // (1024 * 1024)
        raise _whole(file, f"The file is larger than {limit} MB. Split the suite into several.")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _whole(file, "The file is UTF-16 (see byte 0). Save it as UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"Not UTF-8 at byte {error.start} (0x{data[error.start]:02x}). Save it as UTF-8."
        raise SuiteError([Problem(file, line, column, "", message)]) from None
    text = text.removeprefix("\ufeff")
    control = _CONTROL.search(text)
    if control:
        position = control.start()
        line = text.count("\n", 0, position) + 1
        name = "NUL" if control.group() == "\0" else f"control (U+{ord(control.group()):04X})"
        message = f"The file holds a {name} character, which cannot be stored. Remove it."
        column = position - text.rfind("\n", 0, position)
        raise SuiteError([Problem(file, line, column, "", message)])
    return text


def _build(events: Iterator[Event], file: str) -> Any:
    try:
        return build(events)
    except ReadError as error:
        place = (error.line, error.column)
        raise SuiteError([Problem(file, *place, print_path(error.path), error.message)]) from None


def _messages(values: list[dict[str, str]]) -> tuple[Message, ...]:
    return tuple(Message(**value) for value in values)


def _suite(document: dict[str, Any]) -> Suite:
    """A document that fits the schema as a Suite; the short forms become the long ones."""
    values = {k: v for k, v in document.items() if k not in ("schema", "defaults")}
    defaults = document.get("defaults", {})
    prompt = document.get("prompt")
    if isinstance(prompt, str):
        values["prompt"] = Prompt((Message("user", prompt),))
    elif prompt is not None:
        values["prompt"] = Prompt(_messages(prompt["messages"]), prompt.get("prefix", ""))
    values["scorers"] = tuple(
        ScorerSpec(s["key"], s["type"], {k: v for k, v in s.items() if k not in ("key", "type")})
        for s in document["scorers"]
    )
    values["metrics"] = tuple(
        MetricSpec(**{**m, "bounds": tuple(m["bounds"]) if m.get("bounds") else None})
        for m in document["metrics"]
    )
    values["cases"] = tuple(_case(c) for c in document["cases"])
    return Suite(
        **values, max_tokens=defaults.get("max_tokens"), stop=tuple(defaults.get("stop", ()))
    )


def _case(value: dict[str, Any]) -> Case:
    messages = _messages(value["messages"]) if "messages" in value else None
    return Case(**{**value, "messages": messages, "tags": tuple(value.get("tags", ()))})
