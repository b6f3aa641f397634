"""Writing a suite as one YAML file that reads back to the same content hash.

Text that YAML 1.1 or 1.2 readers could take for something else (no, 1e5, 12:30, 2026-01-01) is
quoted, and text of several lines is written as a block where YAML can hold it exactly.
"""

from __future__ import annotations

import re
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


def dump_suite(suite: Suite) -> bytes:
    """The suite as YAML with inline cases, UTF-8."""
    text: str = yaml.dump(
        suite.canonical(),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return text.encode("utf-8")
