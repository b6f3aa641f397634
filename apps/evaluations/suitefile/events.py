"""YAML and JSON as one stream of events with places, and the value built from it.

Both formats go through the same builder, so both are guarded alike: duplicate keys, depth, number
of values, and numbers that JSON cannot hold. The builder is a loop, so a file nested ten thousand
deep costs no stack. YAML is read as YAML 1.2 core: `no`, `12:30` and `2026-01-01` are text, not
false, 750 and a date; anchors, aliases, tags and merge keys are refused.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import yaml

from apps.evaluations.suitefile.errors import Path

MAX_DEPTH = 40
MAX_VALUES = 500_000
MAX_SAFE_INTEGER = 2**53 - 1


class Event(NamedTuple):
    kind: Literal["map", "seq", "end", "scalar"]
    value: Any
    line: int
    column: int


class ReadError(Exception):
    """A problem at a place of the text (counted from 1)."""

    def __init__(self, message: str, line: int = 0, column: int = 0, path: Path = ()) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.path = message, line, column, path


class NoAliasLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader's scanner and parser only: its composer, which follows aliases, is unused."""


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ZERO_LED = re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?|0[xo][0-9A-Fa-f]+")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_TOO_DEEP = f"Nested deeper than {MAX_DEPTH} levels. Flatten it."
_NO_NAN = "NaN and Infinity are not numbers that JSON can hold. Write a finite number, or text."


def yaml_events(text: str) -> Iterator[Event]:
    documents = 0
    parser = yaml.parse(text, Loader=NoAliasLoader)
    while True:
        try:
            event = next(parser, None)
        except yaml.MarkedYAMLError as error:
            raise _syntax_error(error) from None
        except (yaml.reader.ReaderError, RecursionError) as error:
            raise ReadError(f"Not readable as YAML ({str(error)[:120]}). Correct it.") from None
        if event is None:
            return
        mark: Any = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ReadError("A second document begins here. Keep one a file.", line, column)
        elif isinstance(event, yaml.AliasEvent):
            raise ReadError(
                f"The alias '*{event.anchor}' is not read: aliases can blow a small file up to any "
                "size. Write the value out in full.",
                line,
                column,
            )
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            if anchor := getattr(event, "anchor", None):
                raise ReadError(
                    f"The anchor '&{anchor}' is not read. Remove it, and write the value "
                    "out in full where it is used.",
                    line,
                    column,
                )
            if tag := getattr(event, "tag", None):
                shown = tag.replace("tag:yaml.org,2002:", "!!")[:60]
                raise ReadError(
                    f"The tag '{shown}' is not read. Remove it and write a plain value.",
                    line,
                    column,
                )
            if isinstance(event, yaml.ScalarEvent):
                plain = event.implicit[0]
                value = _resolve(event.value, line, column) if plain else event.value
                yield Event("scalar", value, line, column)
            elif isinstance(event, yaml.CollectionEndEvent):
                yield Event("end", None, line, column)
            else:
                kind: Literal["map", "seq"]
                kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
                yield Event(kind, None, line, column)


def _syntax_error(error: yaml.MarkedYAMLError) -> ReadError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = error.problem or error.context or "unknown problem"
    if "cannot start any token" in problem or "tab" in problem:
        return ReadError(
            "A character that YAML does not allow here: often a tab used to indent, or a value "
            "that begins with %, @ or `. Indent with spaces, and quote such values.",
            line,
            column,
        )
    if "nesting depth" in problem:
        return ReadError(_TOO_DEEP, line, column)
    if "Unicode character escape" in problem:
        return ReadError(
            "The escape is not a character: a lone surrogate (\\ud800 to \\udfff), or beyond "
            "Unicode. Write the whole character, or remove it.",
            line,
            column,
        )
    return ReadError(f"Not valid YAML: {problem[:200]}. Correct this line.", line, column)


def _resolve(text: str, line: int, column: int) -> Any:
    """A plain YAML scalar by the 1.2 core schema; what is ambiguous is refused."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 400 or text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        raise ReadError(_NO_NAN, line, column)
    if _ZERO_LED.fullmatch(text):
        raise ReadError(
            f"'{text[:40]}' could be a number or text. Put it in quotation marks if it is text, "
            "or write the number without leading zeros.",
            line,
            column,
        )
    return text


_JSON_TOKEN = re.compile(
    r'[ \t\r\n]*+(?:([{}\[\]])|("(?:[^"\\]++|\\.)*+")|([-+A-Za-z0-9.]++)|[:,])', re.DOTALL
)
_CLOSERS = {"}": "end", "]": "end", "{": "map", "[": "seq"}


def json_events(text: str, first_line: int = 1) -> Iterator[Event]:
    """Events of a JSON text. The builder's guards apply first, then the grammar is checked."""
    line, line_start, position, end = first_line, 0, 0, len(text.rstrip(" \t\r\n"))
    checked = False
    while position < end:
        match = _JSON_TOKEN.match(text, position)
        if match is None or not checked:
            _check_json(text, first_line)
            checked = True
        if match is None:
            raise ReadError("Not valid JSON. Correct it.", line, position - line_start + 1)
        group = match.lastindex
        token_start = match.start(group) if group else match.end() - 1
        breaks = text.count("\n", position, token_start)
        if breaks:
            line += breaks
            line_start = text.rfind("\n", position, token_start) + 1
        column = token_start - line_start + 1
        position = match.end()
        if group == 1:
            kind: Any = _CLOSERS[match.group(1)]
            yield Event(kind, None, line, column)
        elif group == 2:
            yield Event("scalar", json.loads(match.group(2)), line, column)
        elif group == 3:
            yield Event("scalar", _json_scalar(match.group(3), line, column), line, column)


def _check_json(text: str, first_line: int) -> None:
    try:
        json.loads(text, parse_int=str)
    except json.JSONDecodeError as error:
        raise ReadError(
            f"Not valid JSON: {error.msg}. Correct it here.",
            first_line + error.lineno - 1,
            error.colno,
        ) from None
    except RecursionError:
        # The builder stops at its limit, long before the end, and says where.
        return


def _json_scalar(token: str, line: int, column: int) -> Any:
    if token in ("NaN", "Infinity", "-Infinity"):
        raise ReadError(_NO_NAN, line, column)
    if token in ("true", "false", "null"):
        return _WORDS[token]
    if _INT.fullmatch(token):
        return int(token) if len(token) <= 400 else MAX_SAFE_INTEGER + 1
    return float(token)


def _number(value: int | float, event: Event, path: Path) -> int | float:
    """One spelling a number: 1.0 is 1. What JSON readers disagree on is refused."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ReadError(_NO_NAN, event.line, event.column, path)
        if not value.is_integer() or abs(value) > MAX_SAFE_INTEGER:
            return value
        return int(value)
    if abs(value) > MAX_SAFE_INTEGER:
        raise ReadError(
            "A whole number above 2^53 - 1 is not exact in every JSON reader. "
            "Put it in quotation marks.",
            event.line,
            event.column,
            path,
        )
    return value


class _Frame:
    """An open mapping or list while the builder or the locator walks."""

    __slots__ = ("container", "is_map", "key", "pending")

    def __init__(self, is_map: bool) -> None:
        self.container: Any = {} if is_map else []
        self.is_map = is_map
        self.key: str | int = "" if is_map else -1
        self.pending = False  # a key was read and its value is due


def _path(stack: list[_Frame]) -> Path:
    return tuple(frame.key for frame in stack)


def build(events: Iterator[Event]) -> Any:
    """The value of an event stream. Raises ReadError at the first thing that cannot be used."""
    stack: list[_Frame] = []
    result: Any = None
    values = 0
    for event in events:
        values += 1
        if values > MAX_VALUES:
            message = f"The file holds more than {MAX_VALUES:,} values. Split the suite."
            raise ReadError(message, event.line, event.column)
        top = stack[-1] if stack else None
        if event.kind == "end":
            stack.pop()
            continue
        if top and top.is_map and not top.pending:
            _take_key(top, event, stack)
            continue
        if top and not top.is_map:
            top.key = int(top.key) + 1
        value: Any = event.value
        if event.kind == "scalar":
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = _number(value, event, _path(stack))
            if isinstance(value, str):
                _check_text(value, event, _path(stack))
        else:
            frame = _Frame(event.kind == "map")
            value = frame.container
        if top is None:
            result = value
        elif top.is_map:
            top.container[top.key] = value
            top.pending = False
        else:
            top.container.append(value)
        if event.kind != "scalar":
            stack.append(frame)
            if len(stack) > MAX_DEPTH:
                raise ReadError(_TOO_DEEP, event.line, event.column)
    return result


def _take_key(top: _Frame, event: Event, stack: list[_Frame]) -> None:
    key = event.value
    if event.kind != "scalar" or not isinstance(key, str):
        shown = "" if event.kind != "scalar" else f" '{str(key)[:40]}'"
        message = f"The key{shown} is not text. Put it in quotation marks."
        raise ReadError(message, event.line, event.column, _path(stack[:-1]))
    _check_text(key, event, _path(stack[:-1]))
    # Interned: the cases of a suite have the same few keys, a hundred thousand times.
    top.key, top.pending = sys.intern(key), True
    if key in top.container:
        message = f"The key '{key[:60]}' appears twice in one mapping. Remove or rename one."
        raise ReadError(message, event.line, event.column, _path(stack))


def _check_text(text: str, event: Event, path: Path) -> None:
    if "\x00" in text:
        message = "The text holds a NUL character, which cannot be stored. Remove it."
        raise ReadError(message, event.line, event.column, path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ReadError(
            f"The text holds a lone surrogate (\\u{ord(text[error.start]):04x}), half of a "
            "character. Write the whole character, or remove it.",
            event.line,
            event.column,
            path,
        ) from None


def locate(events: Iterator[Event], wanted: set[Path]) -> dict[Path, tuple[int, int]]:
    """Where each wanted path is, or its longest part that exists: (line, column)."""
    prefixes = {path[:n] for path in wanted for n in range(len(path) + 1)}
    places: dict[Path, tuple[int, int]] = {}
    stack: list[_Frame] = []
    for event in events:
        top = stack[-1] if stack else None
        if event.kind == "end":
            stack.pop()
            continue
        if top and top.is_map and not top.pending:
            top.key, top.pending = str(event.value), True
            path = _path(stack)
        else:
            if top and not top.is_map:
                top.key = int(top.key) + 1
            path = _path(stack)
            if top and top.is_map:
                top.pending = False
            if event.kind != "scalar":
                stack.append(_Frame(event.kind == "map"))
        if path in prefixes:
            places.setdefault(path, (event.line, event.column))
    for path in wanted:
        part = path
        while part not in places and part:
            part = part[:-1]
        places[path] = places.get(part, (1, 1))
    return places
