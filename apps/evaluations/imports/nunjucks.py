"""The part of promptfoo's template language that carries over: names, paths, five filters.

Anything else ({% if %}, {% for %}, calls) is told to the caller, never guessed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from apps.evaluations.imports.base import text_of

_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
_FILTERS: dict[str, Any] = {
    "dump": lambda v: json.dumps(v, ensure_ascii=False),
    "trim": lambda v: text_of(v).strip(),
    "upper": lambda v: text_of(v).upper(),
    "lower": lambda v: text_of(v).lower(),
    "safe": text_of,
}


class Unsupported(ValueError):
    """The template needs promptfoo's own engine, or a variable that the test does not give."""


def is_plain(template: str) -> bool:
    """Whether it holds only {{names}}: then it is a suite's own template."""
    if "{%" in template or "{#" in template:
        return False
    return all(_NAME.fullmatch(m.group(1)) for m in _EXPRESSION.finditer(template))


def render(template: str, values: dict[str, Any]) -> str:
    """Raises Unsupported."""
    if "{%" in template or "{#" in template:
        raise Unsupported("it uses template statements ({% … %})")
    return _EXPRESSION.sub(lambda match: _value(match.group(1), values), template)


def _value(expression: str, values: dict[str, Any]) -> str:
    path, *filters = (part.strip() for part in expression.split("|"))
    if not _PATH.fullmatch(path):
        raise Unsupported(f"it uses the expression '{expression[:40]}'")
    value: Any = values
    for part in path.removeprefix("vars.").split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise Unsupported(f"the test gives no value for '{path[:40]}'")
    for name in filters:
        if name not in _FILTERS:
            raise Unsupported(f"it uses the filter '{name[:40]}'")
        value = _FILTERS[name](value)
    return text_of(value)
