"""A suite as the rest of the product sees it: frozen, checked, and hashed by its content.

The hash covers what `canonical()` holds. Keys at their default are left out there, so that a new
optional key in a later version does not change the hash of every stored suite. A number has
one spelling (1.0 is 1), in the hash as in a rendered prompt. Treat the mappings as read-only.
"""

from __future__ import annotations

import hashlib
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
class Message:
    role: str
    content: str

    def canonical(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


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
        return value

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

    def canonical(self) -> dict[str, Any]:
        """The suite as plain JSON values, in the form that the files have too."""
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
        if defaults:
            value["defaults"] = defaults
        value["scorers"] = [s.canonical() for s in self.scorers]
        value["metrics"] = [m.canonical() for m in self.metrics]
        value["cases"] = [c.canonical() for c in self.cases]
        return value

    @cached_property
    def content_hash(self) -> str:
        return content_hash(self.canonical())
