"""Writing a suite as one YAML file that reads back to the same content hash.

Text that YAML 1.1 or 1.2 readers could take for something else (no, 1e5, 12:30, 2026-01-01) is
quoted, and text of several lines is written as a block where YAML can hold it exactly.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from apps.evaluations.suitefile.types import Suite

_RISKY = re.compile(r"[+\-.0-9]|[=<~!&*%@`]")


class _Dumper(yaml.SafeDumper):
    """No aliases, however often one object is used; lists are indented under their key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = None
    if _RISKY.match(text):
        style = '"'
    elif not text.isprintable():  # line breaks of all kinds (U+0085, U+2028), controls
        style = "|" if _fits_block(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _fits_block(text: str) -> bool:
    """Whether a literal block keeps the text exactly, also with other YAML writers and readers."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return plain and bool(lines[0]) and not lines[0].startswith(" ")


_Dumper.add_representer(str, _text)


def dump_suite(suite: Suite, image_data: Mapping[str, bytes] | None = None) -> bytes:
    """The suite as YAML with inline cases and, where given, the bytes of its images, UTF-8."""
    cases = [case.canonical() for case in suite.cases]
    return dump_yaml({**_frame(suite, image_data), "cases": cases}).encode("utf-8")


def pack_suite(suite: Suite) -> tuple[bytes, bytes]:
    """The suite as JSON, and its cases as JSON Lines: for `parse_suite_bytes`, however many there
    are; in one file they would soon be too many values."""
    cases = b"\n".join(_json(case.canonical()) for case in suite.cases)
    return _json(_frame(suite, None)), cases


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def _frame(suite: Suite, image_data: Mapping[str, bytes] | None) -> dict[str, Any]:
    frame = suite.frame()
    known = {**suite.image_data, **(image_data or {})}
    for image in frame.get("images", ()):
        if image["sha256"] in known:
            image["data"] = base64.b64encode(known[image["sha256"]]).decode()
    return frame


def dump_yaml(value: Any) -> str:
    """Any part of a suite as YAML that reads back as the same value."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return text
