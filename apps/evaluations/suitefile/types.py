"""A suite as the rest of the product sees it: frozen, checked, and hashed by its content.

The hash covers what `canonical()` holds. Keys at their default are left out there, so that a new
optional key in a later version does not change the hash of every stored suite. A number has
one spelling (1.0 is 1), in the hash as in a rendered prompt. Treat the mappings as read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import rfc8785

SCHEMA = "govtrack/suite@1"
Direction = Literal["higher", "lower", "neutral"]


def content_hash(value: Any) -> str:
    """'sha256:<hex>' over the RFC 8785 JSON of a value."""
    return "sha256:" + hashlib.sha256(rfc8785.dumps(value)).hexdigest()


@dataclass(frozen=True)
class TextPart:
    text: str

    def canonical(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


@dataclass(frozen=True)
class ImagePart:
    """An image by its SHA-256 (64 hex digits), or by a {{variable}} that holds one."""

    sha256: str
    detail: str = ""

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {"type": "image", "sha256": self.sha256}
        return {**value, "detail": self.detail} if self.detail else value


Part = TextPart | ImagePart


@dataclass(frozen=True)
class ToolCall:
    """A call that an assistant's turn of a conversation made."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def canonical(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "arguments": self.arguments}


@dataclass(frozen=True)
class Message:
    """One turn. Content is text, or text and images in their order."""

    role: str
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def parts(self) -> tuple[Part, ...]:
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    def placed_parts(self) -> Iterator[tuple[tuple[str | int, ...], Part]]:
        """The parts, each with its path within the message."""
        if isinstance(self.content, str):
            yield ("content",), TextPart(self.content)
            return
        for index, part in enumerate(self.content):
            key = "text" if isinstance(part, TextPart) else "sha256"
            yield ("content", index, key), part

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {"role": self.role}
        if isinstance(self.content, tuple):
            value["content"] = [part.canonical() for part in self.content]
        elif self.content:
            value["content"] = self.content
        if self.tool_calls:
            value["tool_calls"] = [call.canonical() for call in self.tool_calls]
        if self.tool_call_id:
            value["tool_call_id"] = self.tool_call_id
        return value


@dataclass(frozen=True)
class Image:
    """An image that messages name by its hash. The bytes are no part of the suite's own hash:
    the SHA-256 stands for them."""

    sha256: str
    media_type: str
    alt: str = ""

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {"sha256": self.sha256, "media_type": self.media_type}
        return {**value, "alt": self.alt} if self.alt else value


@dataclass(frozen=True)
class Asking:
    """What goes with the messages: tools as {name, description, parameters, strict}, which of
    them must be called, and the form that the answer must have. None: not said here."""

    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {}
        if self.tools is not None:
            value["tools"] = list(self.tools)
        if self.tool_choice is not None:
            value["tool_choice"] = self.tool_choice
        if self.response_format is not None:
            value["response_format"] = self.response_format
        return value

    def over(self, other: Asking) -> Asking:
        """This, and the other's values where this says nothing."""
        return Asking(
            tools=other.tools if self.tools is None else self.tools,
            tool_choice=other.tool_choice if self.tool_choice is None else self.tool_choice,
            response_format=(
                other.response_format if self.response_format is None else self.response_format
            ),
        )


NOT_SAID = Asking()


@dataclass(frozen=True)
class Prompt:
    """The template: messages with {{variables}}, and a literal prefix of few-shot examples."""

    messages: tuple[Message, ...]
    prefix: str = ""

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {"messages": [m.canonical() for m in self.messages]}
        if self.prefix:
            value["prefix"] = self.prefix
        return value


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer as the suite declares it. The parameters are kept as written."""

    key: str
    type: str
    params: dict[str, Any] = field(default_factory=dict)

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "type": self.type, **self.params}


@dataclass(frozen=True)
class MetricSpec:
    """The weighted mean of one scorer's values over the cases that it scored.

    `margin` is the materiality: a smaller change, in the metric's own unit, is immaterial.
    """

    key: str
    label: str
    scorer: str
    direction: Direction
    margin: float
    unit: str = ""
    bounds: tuple[float, float] | None = None
    weight: float = 1.0

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "key": self.key,
            "label": self.label,
            "scorer": self.scorer,
            "direction": self.direction,
            "margin": self.margin,
        }
        if self.unit:
            value["unit"] = self.unit
        if self.bounds is not None:
            value["bounds"] = list(self.bounds)
        if self.weight != 1:
            value["weight"] = self.weight
        return value


@dataclass(frozen=True)
class Case:
    """One prompt with its expectation: variables for the template, or its own messages."""

    id: str
    vars: dict[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] | None = None
    expect: Any = None
    tags: tuple[str, ...] = ()
    weight: float = 1.0
    note: str = ""
    asking: Asking = NOT_SAID

    def canonical(self) -> dict[str, Any]:
        value: dict[str, Any] = {"id": self.id}
        if self.messages is not None:
            value["messages"] = [m.canonical() for m in self.messages]
        if self.vars:
            value["vars"] = self.vars
        if self.expect is not None:
            value["expect"] = self.expect
        if self.tags:
            value["tags"] = list(self.tags)
        if self.weight != 1:
            value["weight"] = self.weight
        if self.note:
            value["note"] = self.note
        return {**value, **self.asking.canonical()}

    @cached_property
    def content_hash(self) -> str:
        return content_hash(self.canonical())


@dataclass(frozen=True)
class Suite:
    slug: str
    name: str
    summary: str
    not_measured: str
    license: str
    source: str
    personal_data: bool
    scorers: tuple[ScorerSpec, ...]
    metrics: tuple[MetricSpec, ...]
    cases: tuple[Case, ...]
    prompt: Prompt | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    asking: Asking = NOT_SAID
    images: tuple[Image, ...] = ()
    image_data: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """The bytes that came with the files, by SHA-256; what is stored already need not come."""

    def canonical(self) -> dict[str, Any]:
        """The suite as plain JSON values, in the form that the files have too."""
        return {**self.frame(), "cases": [c.canonical() for c in self.cases]}

    def frame(self) -> dict[str, Any]:
        """`canonical()` without the cases."""
        value: dict[str, Any] = {
            "schema": SCHEMA,
            "slug": self.slug,
            "name": self.name,
            "summary": self.summary,
            "not_measured": self.not_measured,
            "license": self.license,
            "source": self.source,
            "personal_data": self.personal_data,
        }
        if self.prompt is not None:
            value["prompt"] = self.prompt.canonical()
        defaults: dict[str, Any] = {}
        if self.max_tokens is not None:
            defaults["max_tokens"] = self.max_tokens
        if self.stop:
            defaults["stop"] = list(self.stop)
        defaults |= self.asking.canonical()
        if defaults:
            value["defaults"] = defaults
        if self.images:
            value["images"] = [image.canonical() for image in self.images]
        value["scorers"] = [s.canonical() for s in self.scorers]
        value["metrics"] = [m.canonical() for m in self.metrics]
        return value

    @cached_property
    def content_hash(self) -> str:
        """That of `canonical()`, a case at a time: RFC 8785 sorts keys, so 'cases' come first."""
        frame = self.frame()
        assert all(key > "cases" for key in frame)
        digest = hashlib.sha256(b'{"cases":[')
        for index, case in enumerate(self.cases):
            digest.update(b"," if index else b"")
            digest.update(rfc8785.dumps(case.canonical()))
        digest.update(b"]," + rfc8785.dumps(frame)[1:])
        return "sha256:" + digest.hexdigest()
