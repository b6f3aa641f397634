"""What came back: bytes that a stranger wrote, read without trusting a single field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.evaluations.runner.problems import Retry
from apps.evaluations.scorers.base import storable, storable_text
from apps.registry.models import Endpoint

MAX_INT = 2**31 - 1
MAX_TOOL_DEPTH = 12


@dataclass(frozen=True)
class Parsed:
    text: str = ""
    tool_calls: list[Any] = field(default_factory=list)
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt's, those that the provider had in its cache and asks less for."""
    returned_model: str = ""
    system_fingerprint: str = ""
    note: str = ""
    """What was odd about an answer that could be used all the same."""

    @property
    def filtered(self) -> bool:
        return self.finish_reason == "content_filter"


class _Odd:
    """Counts numbers that JSON does not have (NaN, Infinity); they become null."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, name: str) -> None:
        self.names.add(name)


def decode(raw: bytes) -> tuple[Any, str]:
    """The document, and a note about numbers that were none. Raises Retry('malformed')."""
    odd = _Odd()
    try:
        document = json.loads(raw, parse_constant=odd)
    except (ValueError, RecursionError):
        raise Retry("malformed", "The answer is not JSON.") from None
    note = ""
    if odd.names:
        names = ", ".join(sorted(odd.names))
        note = f"The answer held {names}, which is not a number in JSON: taken as unknown."
    return document, note


def parse(api_style: str, content_type: str, raw: bytes) -> Parsed:
    """Read an answer of HTTP status 2xx. Raises Retry when it is none."""
    if "text/event-stream" in content_type.lower():
        document, note = _from_stream(raw)
    else:
        document, note = decode(raw)
    if not isinstance(document, dict):
        raise Retry("malformed", "The answer is JSON, but not an object.")
    if isinstance(document.get("error"), dict) and not document.get("choices"):
        said = str(document["error"].get("message", ""))[:300]
        raise Retry("server_error", f'The endpoint answered with an error: "{said}"')
    if api_style == Endpoint.ApiStyle.RESPONSES:
        return _responses(document, note)
    return _choices(document, note)


def usage_of(raw: bytes) -> Parsed:
    """The counts and the name of an answer that holds no words (embeddings)."""
    try:
        document, note = decode(raw)
    except Retry:
        return Parsed()
    if not isinstance(document, dict):
        return Parsed()
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Parsed(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        returned_model=_name(document.get("model"), 300),
        note=note,
    )


def _choices(document: dict[str, Any], note: str) -> Parsed:
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Retry("empty", "The endpoint answered without any choice (an empty choice list).")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice["text"]} if "text" in choice else {}
    text = _text(message.get("content")) or _text(message.get("refusal"))
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    if not text and not calls and "content" not in message:
        raise Retry("malformed", "The answer's first choice holds no message.")
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Parsed(
        text=storable_text(text),
        tool_calls=storable(calls, MAX_TOOL_DEPTH),
        finish_reason=_name(choice.get("finish_reason"), 40),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_cached(usage.get("prompt_tokens_details")),
        returned_model=_name(document.get("model"), 300),
        system_fingerprint=_name(document.get("system_fingerprint"), 200),
        note=note,
    )


def _responses(document: dict[str, Any], note: str) -> Parsed:
    output = document.get("output")
    if not isinstance(output, list) or not output:
        raise Retry("empty", "The endpoint answered without any output (an empty output list).")
    items = [item for item in output if isinstance(item, dict)]
    text = "".join(_text(item.get("content")) for item in items if item.get("type") == "message")
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    incomplete = document.get("incomplete_details")
    reason = incomplete.get("reason") if isinstance(incomplete, dict) else document.get("status")
    return Parsed(
        text=storable_text(text),
        tool_calls=storable(
            [i for i in items if str(i.get("type", "")).endswith("_call")], MAX_TOOL_DEPTH
        ),
        finish_reason=_name(reason, 40),
        prompt_tokens=_count(usage.get("input_tokens")),
        completion_tokens=_count(usage.get("output_tokens")),
        cached_tokens=_cached(usage.get("input_tokens_details")),
        returned_model=_name(document.get("model"), 300),
        system_fingerprint=_name(document.get("system_fingerprint"), 200),
        note=note,
    )


def _from_stream(raw: bytes) -> tuple[dict[str, Any], str]:
    """A streamed answer as one document. A stream without an end was cut: Retry('cut')."""
    merged: dict[str, Any] = {"choices": []}
    text: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    finish = note = ""
    ended = started = False
    for event in _events(raw):
        if event == "[DONE]":
            ended = True
            break
        chunk, chunk_note = decode(event.encode("utf-8", "surrogatepass"))
        note = note or chunk_note
        if not isinstance(chunk, dict):
            continue
        if chunk.get("type") in ("response.completed", "response.incomplete"):
            complete = chunk.get("response")
            return (complete if isinstance(complete, dict) else {}), note
        for key in ("model", "system_fingerprint", "usage", "error"):
            if chunk.get(key):
                merged[key] = chunk[key]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            continue
        started = True
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else choice
        text.append(_text(delta.get("content", delta.get("text"))))
        for call in delta.get("tool_calls") or []:
            _merge_call(calls, call)
        finish = _name(choice.get("finish_reason"), 40) or finish
    if not ended and not finish and "error" not in merged:
        raise Retry("cut", "The answer's stream broke off before its end.")
    if started:
        message = {
            "content": "".join(text),
            "tool_calls": [calls[index] for index in sorted(calls)],
        }
        merged["choices"] = [{"message": message, "finish_reason": finish}]
    return merged, note


def first_text_at(raw: bytes) -> int | None:
    """How many bytes of a streamed answer had come when its first piece of text was there."""
    offset = 0
    for line in raw.split(b"\n"):
        offset += len(line) + 1
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        try:
            chunk, _ = decode(line[5:].strip())
        except Retry:
            return None
        if not isinstance(chunk, dict):
            continue
        if str(chunk.get("type", "")).endswith("text.delta") and chunk.get("delta"):
            return min(offset, len(raw))
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else choice
            if _text(delta.get("content", delta.get("text"))) or delta.get("tool_calls"):
                return min(offset, len(raw))
    return None


def _merge_call(calls: dict[int, dict[str, Any]], part: Any) -> None:
    if not isinstance(part, dict):
        return
    index = part.get("index")
    call = calls.setdefault(
        index if isinstance(index, int) else 0,
        {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
    )
    call["id"] = part.get("id") or call["id"]
    function = part.get("function")
    if isinstance(function, dict):
        for key in ("name", "arguments"):
            call["function"][key] += _text(function.get(key))


def _events(raw: bytes) -> Iterator[str]:
    for line in raw.decode("utf-8", "replace").splitlines():
        if line.startswith("data:"):
            yield line[5:].strip()


def _text(value: Any) -> str:
    """Text, or a list of parts with text in them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(
            str(part.get("text") or part.get("refusal") or "")
            if isinstance(part, dict)
            else part
            if isinstance(part, str)
            else ""
            for part in value
        )
    return ""


def _name(value: Any, limit: int) -> str:
    return storable_text(value)[:limit] if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if 0 <= value <= MAX_INT else None


def _cached(details: Any) -> int | None:
    return _count(details.get("cached_tokens")) if isinstance(details, dict) else None
