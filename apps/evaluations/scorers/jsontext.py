"""Finding the JSON in what a model wrote, with bounded work.

Trap: the inner object of an answer that was cut off is valid JSON of its own. A scan that goes on
to the next brace would score `{"claim": {"kind": "motor"}` (no closing brace) as the inner part.
So when the JSON runs to the end of the text unfinished, the search stops there.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 60
MAX_STARTS = 20
_FENCE = re.compile(r"\A\s*```[A-Za-z0-9]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_START = re.compile(r"[\[{]")


@dataclass(frozen=True)
class Found:
    """The JSON value that was found, or the sentence saying why there is none."""

    value: Any = None
    problem: str | None = None


class _BadNumberError(ValueError):
    pass


def _integer(text: str) -> int:
    if len(text) > 300:
        raise _BadNumberError("a number with more than 300 digits")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _BadNumberError(f"the number {text[:20]}, which is too large")
    return number


def _constant(text: str) -> float:
    raise _BadNumberError(f"{text}, which is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_constant)


def find_json(text: str, *, whole: bool = False) -> Found:
    """The first JSON object or array in the text; with `whole`, the text must be JSON alone."""
    stripped = text.strip()
    if not stripped:
        return Found(problem="The answer is empty.")
    if not whole and (fence := _FENCE.match(text)):
        stripped = fence.group(1).strip()
    found, _ = _decode(stripped, 0)
    if found and found.problem is None and found.value[1] == len(stripped):
        return Found(found.value[0])
    if whole:
        reason = found.problem if found and found.problem else "Text follows the JSON value."
        return Found(problem=f"The answer is not JSON alone. {reason}")
    problem = "There is no JSON object or list in the answer."
    position = 0
    for _ in range(MAX_STARTS):
        start = _START.search(stripped, position)
        if start is None:
            break
        found, unfinished = _decode(stripped, start.start())
        if found.problem is None:
            return Found(found.value[0])
        problem = found.problem
        if unfinished:
            break
        position = start.start() + 1
    return Found(problem=problem)


def _decode(text: str, start: int) -> tuple[Found, bool]:
    """The value at `start` with its end, or a problem; and whether the search should stop."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            return Found(problem="The JSON is cut off before its end."), True
        return Found(problem=f"Not valid JSON: {error.msg} at character {error.pos + 1}."), False
    except _BadNumberError as error:
        return Found(problem=f"Not usable JSON: it holds {error}."), True
    except RecursionError:
        return Found(problem=f"The JSON is nested deeper than {MAX_DEPTH} levels."), True
    if depth(value) > MAX_DEPTH:
        return Found(problem=f"The JSON is nested deeper than {MAX_DEPTH} levels."), True
    return Found((value, end)), False


def depth(value: Any) -> int:
    """How deep a JSON value is nested, counted without recursion; stops above MAX_DEPTH."""
    deepest, stack = 0, [(value, 0)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        if level > MAX_DEPTH:
            break
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list):
            stack.extend((child, level + 1) for child in children)
    return deepest


def leaves(value: Any) -> int:
    """How many values without children a JSON value holds; an empty container counts as one."""
    count, stack = 0, [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict | list) and node:
            stack.extend(node.values() if isinstance(node, dict) else node)
        else:
            count += 1
    return count
