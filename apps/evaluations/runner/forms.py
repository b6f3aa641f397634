"""A suite's own form of messages, tools and answer forms, as each API style wants it.

A suite is kept in one form that belongs to no vendor. What a style cannot carry stops the run with
the reason (Misconfigured): an image left out in silence would be another question.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from apps.evaluations import stored
from apps.evaluations.models import Payload
from apps.evaluations.runner.problems import Misconfigured
from apps.evaluations.suitefile import Asking
from apps.registry.models import Endpoint

CHAT, RESPONSES = Endpoint.ApiStyle.CHAT, Endpoint.ApiStyle.RESPONSES
_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"))


def messages(rendered: Iterable[dict[str, Any]], api_style: str) -> list[dict[str, Any]]:
    """Messages as the style sends them. Raises Misconfigured."""
    if api_style == CHAT:
        return [_chat(message) for message in rendered]
    if api_style == RESPONSES:
        return [item for message in rendered for item in _items(message)]
    plain = list(rendered)
    for message in plain:
        if "tool_calls" in message or not isinstance(message.get("content"), str):
            raise _cannot("images and tool calls")
    return plain


def _chat(message: dict[str, Any]) -> dict[str, Any]:
    sent = {**message, "content": _content(message.get("content"), CHAT)}
    if "tool_calls" in message:
        sent["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": _arguments(call)},
            }
            for call in message["tool_calls"]
        ]
    return sent


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message as items of the Responses API, where calls and their answers stand alone."""
    if message["role"] == "tool":
        return [
            {
                "type": "function_call_output",
                "call_id": message["tool_call_id"],
                "output": message.get("content", ""),
            }
        ]
    items: list[dict[str, Any]] = []
    if message.get("content"):
        content = _content(message["content"], RESPONSES)
        items.append({"role": message["role"], "content": content})
    for call in message.get("tool_calls", ()):
        items.append(
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": call["name"],
                "arguments": _arguments(call),
            }
        )
    return items


def _arguments(call: dict[str, Any]) -> str:
    return json.dumps(call["arguments"], sort_keys=True, ensure_ascii=False)


def _content(content: Any, api_style: str) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part, api_style) for part in content]


def _part(part: dict[str, Any], api_style: str) -> dict[str, Any]:
    if part["type"] == "text":
        kind = "input_text" if api_style == RESPONSES else "text"
        return {"type": kind, "text": part["text"]}
    address = _data_url(part["sha256"])
    detail = {"detail": part["detail"]} if "detail" in part else {}
    if api_style == RESPONSES:
        return {"type": "input_image", "image_url": address, **detail}
    return {"type": "image_url", "image_url": {"url": address, **detail}}


def _data_url(sha256: str) -> str:
    try:
        content = stored.image(sha256)
    except Payload.DoesNotExist:
        raise Misconfigured(
            "image", f"The image {sha256[:12]}… of this suite is not stored. Import it again."
        ) from None
    kind = next((kind for magic, kind in _MAGIC if content.startswith(magic)), "image/webp")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def asking(wanted: Asking, api_style: str, own_tools: Any) -> dict[str, Any]:
    """Keys of the request body. Tools of the version itself come first; a name that both
    describe is the version's: that is what was approved. Raises Misconfigured."""
    body: dict[str, Any] = {}
    if api_style not in (CHAT, RESPONSES):
        if wanted.tools or wanted.response_format not in (None, {"type": "text"}):
            raise _cannot("tools and answer forms")
        return body
    if wanted.tools:
        approved = list(own_tools or [])
        taken = {_name(tool) for tool in approved}
        added = [_tool(t, api_style) for t in wanted.tools if t["name"] not in taken]
        body["tools"] = approved + added
    if wanted.tool_choice is not None and (wanted.tools or own_tools):
        body["tool_choice"] = _choice(wanted.tool_choice, api_style)
    if wanted.response_format is not None:
        form = dict(wanted.response_format)
        if api_style == RESPONSES:
            body["text"] = {"format": form}
        elif form["type"] == "json_schema":
            kind = form.pop("type")
            body["response_format"] = {"type": kind, "json_schema": form}
        else:
            body["response_format"] = form
    return body


def _name(tool: Any) -> str:
    """The name of a tool in either API's form."""
    if not isinstance(tool, dict):
        return ""
    inner = tool.get("function")
    return str((inner if isinstance(inner, dict) else tool).get("name", ""))


def _tool(tool: dict[str, Any], api_style: str) -> dict[str, Any]:
    if api_style == RESPONSES:
        return {"type": "function", **tool}
    return {"type": "function", "function": tool}


def _choice(choice: str | dict[str, Any], api_style: str) -> Any:
    if isinstance(choice, str):
        return choice
    if api_style == RESPONSES:
        return {"type": "function", "name": choice["name"]}
    return {"type": "function", "function": {"name": choice["name"]}}


def _cannot(what: str) -> Misconfigured:
    return Misconfigured(
        "unsupported",
        f"This suite holds {what}, which the legacy Completions API cannot carry. Use an endpoint "
        "of the style Chat Completions or Responses.",
    )
