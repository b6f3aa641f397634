"""From a suite's template and a case's variables to the messages that are sent.

Substitution is one pass: a value that itself holds '{{name}}' stays as it is. The prefix and a
case's own messages are literal. Numbers, lists and mappings are written as RFC 8785 JSON, so the
content hash decides the prompt: 1.0 and 1 have one hash and one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import rfc8785

from apps.evaluations.suitefile.types import Asking, Case, Message, Prompt, Suite, TextPart

MAX_PROMPT_CHARS = 400_000
VARIABLE = re.compile(r"\{\{\s{0,5}([A-Za-z_][A-Za-z0-9_]{0,63})\s{0,5}\}\}")
BRACES = re.compile(r"\{\{[^{}\n]{0,100}\}\}")


def variables(template: str) -> Iterator[str]:
    """The names used in a template, with repeats."""
    return (match.group(1) for match in VARIABLE.finditer(template))


def printed(value: Any) -> str:
    return value if isinstance(value, str) else rfc8785.dumps(value).decode()


def prefixed_message(prompt: Prompt) -> int:
    """Which message the prefix goes before: the first of the user, or the first at all."""
    roles = [message.role for message in prompt.messages]
    return roles.index("user") if "user" in roles else 0


def rendered_size(prompt: Prompt, case: Case) -> int:
    """How many characters the rendered messages have at most, without building them."""
    lengths = {name: len(printed(value)) for name, value in case.vars.items()}
    size = len(prompt.prefix)
    for text in prompt_texts(prompt):
        size += len(text) + sum(lengths.get(name, 0) for name in variables(text))
    return size


def prompt_texts(prompt: Prompt) -> Iterator[str]:
    """Every template of a prompt: texts, and references to images."""
    for message in prompt.messages:
        for part in message.parts:
            yield part.text if isinstance(part, TextPart) else part.sha256


def render_case(suite: Suite, case: Case) -> list[dict[str, Any]]:
    """The messages for one case, in the suite's own form: 'role' and 'content', which is text or
    parts of type text and image; 'tool_calls' and 'tool_call_id' where a turn has them."""
    if case.messages is not None:
        return [message.canonical() for message in case.messages]
    if suite.prompt is None:
        raise ValueError(f"Case '{case.id}' has no messages, and the suite has no prompt.")
    first = prefixed_message(suite.prompt)
    rendered = []
    for index, message in enumerate(suite.prompt.messages):
        prefix = suite.prompt.prefix if index == first else ""
        rendered.append(_rendered(message, case, prefix))
    return rendered


def _rendered(message: Message, case: Case, prefix: str) -> dict[str, Any]:
    def fill(template: str) -> str:
        return VARIABLE.sub(lambda m: printed(case.vars[m.group(1)]), template)

    if isinstance(message.content, str):
        return {**message.canonical(), "content": prefix + fill(message.content)}
    parts: list[dict[str, Any]] = [
        TextPart(fill(part.text)).canonical()
        if isinstance(part, TextPart)
        else replace(part, sha256=fill(part.sha256)).canonical()
        for part in message.content
    ]
    if prefix:
        parts.insert(0, TextPart(prefix).canonical())
    return {**message.canonical(), "content": parts}


def asking_of(suite: Suite, case: Case) -> Asking:
    """Tools, tool choice and answer form of a case: its own, else the suite's."""
    return case.asking.over(suite.asking)
