"""What every export shares: what is left out, and which messages and expectations are plain."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from apps.evaluations.imports.base import Loss, text_of
from apps.evaluations.suitefile import Suite, render_case
from apps.evaluations.suitefile.types import Case

Row = Callable[[Case, list[dict[str, Any]], Any], dict[str, Any]]


class Losses:
    """What an export leaves out."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Loss] = {}

    def add(self, what: str, why: str, where: str = "") -> None:
        loss = self.found.setdefault((what, why), Loss(what, why))
        loss.count += 1
        if where and len(loss.where) < 5:
            loss.where.append(where)

    def of_suite(self, suite: Suite) -> None:
        why = "this format holds questions and targets only"
        self.add(f"{len(suite.scorers)} scorers and {len(suite.metrics)} metrics", why)
        if suite.asking.canonical() or any(c.asking.canonical() for c in suite.cases):
            self.add("tools and answer forms", why)
        if suite.max_tokens or suite.stop:
            self.add("length limit and stop texts", why)
        if any(c.note or c.tags or c.weight != 1 for c in suite.cases):
            self.add("notes, tags and weights", why)

    def all(self) -> list[Loss]:
        return list(self.found.values())


def plain_messages(rendered: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    for message in rendered:
        if isinstance(message.get("content"), list):
            return [], "images"
        if "tool_calls" in message or message["role"] == "tool":
            return [], "turns with tool calls"
    return rendered, ""


def plain_target(expect: Any) -> Any:
    """Text or texts, where an expectation is that."""
    if isinstance(expect, bool) or expect is None:
        return None
    if isinstance(expect, str):
        return expect
    if isinstance(expect, int | float):
        return text_of(expect)
    if isinstance(expect, list) and expect and all(isinstance(e, str) for e in expect):
        return expect
    if isinstance(expect, dict):
        if set(expect) <= {"all", "any", "none"}:
            return plain_target(expect.get("any") or expect.get("all"))
        if len(expect) == 1:
            return plain_target(next(iter(expect.values())))
    return None


def json_lines_of(
    suite: Suite, row: Row, *, target: str, left_out: str
) -> tuple[bytes, list[Loss]]:
    """A suite as JSON Lines: `row` makes a case's line of its messages and plain expectation.

    target: the format's name for the expectation; left_out: why a case with other than plain
    messages is not written.
    """
    lines, losses = [], Losses()
    for case in suite.cases:
        messages, problem = plain_messages(render_case(suite, case))
        if problem:
            losses.add(problem, left_out, case.id)
            continue
        expected = plain_target(case.expect)
        if expected is None and case.expect is not None:
            losses.add("expectations that are no text", f"'{target}' is text", case.id)
        lines.append(json.dumps(row(case, messages, expected), ensure_ascii=False))
    losses.of_suite(suite)
    return ("\n".join(lines) + "\n").encode(), losses.all()
