"""From a suite's template and a case's variables to the messages that are sent.

Substitution is one pass: a value that itself holds '{{name}}' stays as it is. The prefix and a
case's own messages are literal. Numbers, lists and mappings are written as RFC 8785 JSON, so the
content hash decides the prompt: 1.0 and 1 have one hash and one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import rfc8785

from apps.evaluations.suitefile.types import Case, Prompt, Suite

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
    for message in prompt.messages:
        size += len(message.content)
        size += sum(lengths.get(name, 0) for name in variables(message.content))
    return size


def render_case(suite: Suite, case: Case) -> list[dict[str, str]]:
    """The messages for one case, each with 'role' and 'content'."""
    if case.messages is not None:
        return [message.canonical() for message in case.messages]
    if suite.prompt is None:
        raise ValueError(f"Case '{case.id}' has no messages, and the suite has no prompt.")
    first = prefixed_message(suite.prompt)
    rendered = []
    for index, message in enumerate(suite.prompt.messages):
        content = VARIABLE.sub(lambda m: printed(case.vars[m.group(1)]), message.content)
        if index == first:
            content = suite.prompt.prefix + content
        rendered.append({"role": message.role, "content": content})
    return rendered
