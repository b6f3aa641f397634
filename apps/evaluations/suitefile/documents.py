"""Plain values that fit the schema as the frozen types, and nothing else: no check is made here."""

from __future__ import annotations

from typing import Any

from apps.evaluations.suitefile.types import (
    NOT_SAID,
    Asking,
    Case,
    Image,
    ImagePart,
    Message,
    MetricSpec,
    Part,
    Prompt,
    ScorerSpec,
    Suite,
    TextPart,
    ToolCall,
)

ASKING_KEYS = ("tools", "tool_choice", "response_format")


def _messages(values: list[dict[str, Any]]) -> tuple[Message, ...]:
    return tuple(_message(value) for value in values)


def _message(value: dict[str, Any]) -> Message:
    content = value.get("content", "")
    if isinstance(content, list):
        content = tuple(_part(part) for part in content)
    calls = tuple(ToolCall(**call) for call in value.get("tool_calls", ()))
    return Message(value["role"], content, calls, value.get("tool_call_id", ""))


def _part(value: dict[str, Any]) -> Part:
    if value["type"] == "text":
        return TextPart(value["text"])
    return ImagePart(value["sha256"].replace(" ", ""), value.get("detail", ""))


def _asking(value: dict[str, Any]) -> Asking:
    if not any(key in value for key in ASKING_KEYS):
        return NOT_SAID  # one object for all of 100,000 cases
    tools = value.get("tools")
    return Asking(
        tools=None if tools is None else tuple(tools),
        tool_choice=value.get("tool_choice"),
        response_format=value.get("response_format"),
    )


def suite_of_document(document: dict[str, Any]) -> Suite:
    """A document that fits the schema as a Suite; the short forms become the long ones."""
    values = {k: v for k, v in document.items() if k not in ("schema", "defaults", "images")}
    defaults = document.get("defaults", {})
    prompt = document.get("prompt")
    if isinstance(prompt, str):
        values["prompt"] = Prompt((Message("user", prompt),))
    elif prompt is not None:
        values["prompt"] = Prompt(_messages(prompt["messages"]), prompt.get("prefix", ""))
    values["scorers"] = tuple(
        ScorerSpec(s["key"], s["type"], {k: v for k, v in s.items() if k not in ("key", "type")})
        for s in document["scorers"]
    )
    values["metrics"] = tuple(
        MetricSpec(**{**m, "bounds": tuple(m["bounds"]) if m.get("bounds") else None})
        for m in document["metrics"]
    )
    values["cases"] = tuple(case_of_document(c) for c in document["cases"])
    return Suite(
        **values,
        max_tokens=defaults.get("max_tokens"),
        stop=tuple(defaults.get("stop", ())),
        asking=_asking(defaults),
        images=tuple(
            Image(i["sha256"], i["media_type"], i.get("alt", ""))
            for i in document.get("images", ())
        ),
    )


def case_of_document(value: dict[str, Any]) -> Case:
    plain = {k: v for k, v in value.items() if k not in ASKING_KEYS}
    messages = _messages(value["messages"]) if "messages" in value else None
    return Case(
        **{**plain, "messages": messages, "tags": tuple(value.get("tags", ()))},
        asking=_asking(value),
    )
