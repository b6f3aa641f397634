"""What makes a model version that version: its request configuration, checked and hashed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from apps.core.errors import InvalidInput
from apps.core.inputs import integer, known_keys, number

PARAMETERS = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "store",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "repetition_penalty",
        "verbosity",
        "response_format",
        "service_tier",
        "stream",
        "parallel_tool_calls",
        "tool_choice",
        "extra_body",
    }
)
# What a request is made of comes from the case and the version; extra_body must not replace it.
RESERVED = frozenset({"model", "messages", "input", "prompt", "stream", "n", "tools", "api_key"})
RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
WHOLE = {
    "max_tokens": (1, 1_000_000),
    "max_completion_tokens": (1, 1_000_000),
    "max_output_tokens": (1, 1_000_000),
    "top_k": (0, 1_000_000),
    "top_logprobs": (0, 20),
    "seed": (-(2**53) + 1, 2**53 - 1),
}
MOST_BYTES = 200_000
MOST_DEPTH = 30


def config_hash(
    *,
    requested_name: str,
    pin_kind: str,
    parameters: Mapping[str, Any],
    system_prompt: str,
    tools: Sequence[Any],
    api_style: str,
) -> str:
    """ "sha256:" + SHA-256 of the RFC 8785 JSON of the configuration."""
    canonical = rfc8785.dumps(
        {
            "requested_name": requested_name,
            "pin_kind": pin_kind,
            "parameters": dict(parameters),
            "system_prompt": system_prompt,
            "tools": list(tools),
            "api_style": api_style,
        }
    )
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def checked_parameters(given: object) -> dict[str, Any]:
    """Known keys with values in range, plain JSON throughout. Raises InvalidInput."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidInput(
            "“parameters” must be an object.", field="parameters", remedy='E.g. {"temperature": 0}.'
        )
    known_keys(given, PARAMETERS, "parameters")
    _plain_json(given, "parameters")
    for key, (low, high) in RANGES.items():
        if key in given and not low <= number(given[key], f"parameters.{key}") <= high:
            raise InvalidInput(
                f"“{key}” must be from {low:g} to {high:g}.",
                field=f"parameters.{key}",
                remedy=f"Got {given[key]!r}.",
            )
    for key, (least, most) in WHOLE.items():
        if key in given:
            integer(given[key], f"parameters.{key}", least=least, most=most)
    for key in ("logprobs", "parallel_tool_calls", "store", "stream"):
        if key in given and not isinstance(given[key], bool):
            raise InvalidInput(
                f"“{key}” must be true or false.", field=f"parameters.{key}", remedy="Set it so."
            )
    extra = given.get("extra_body", {})
    if not isinstance(extra, Mapping) or RESERVED & set(extra):
        raise InvalidInput(
            "“extra_body” must be an object that does not replace the request itself.",
            field="parameters.extra_body",
            remedy=f"Leave out {', '.join(sorted(RESERVED))}.",
        )
    _check_stop(given.get("stop"))
    return dict(json.loads(json.dumps(given)))


def checked_tools(given: object) -> list[Any]:
    """A list of objects, plain JSON throughout. Raises InvalidInput."""
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInput("“tools” must be a list.", field="tools", remedy="Send [] for none.")
    if len(given) > 128 or not all(isinstance(tool, Mapping) for tool in given):
        raise InvalidInput(
            "“tools” must hold at most 128 objects.",
            field="tools",
            remedy="Each as the provider's API documents it.",
        )
    _plain_json(given, "tools")
    return list(json.loads(json.dumps(given)))


def _check_stop(stop: object) -> None:
    if stop is None or (isinstance(stop, str) and stop):
        return
    many = isinstance(stop, list) and 0 < len(stop) <= 16
    if not many or not all(isinstance(s, str) and s for s in stop):  # type: ignore[attr-defined]
        raise InvalidInput(
            "“stop” must be a text or a list of 1 to 16 texts.",
            field="parameters.stop",
            remedy="Leave it out for none.",
        )


def _plain_json(value: Any, where: str) -> None:
    """Only what JSON and PostgreSQL can hold: finite numbers, no NUL, string keys, not deep."""
    pending: list[tuple[Any, str, int]] = [(value, where, 0)]
    total = 0
    while pending:
        item, path, depth = pending.pop()
        if depth > MOST_DEPTH:
            raise _refused(where, "is nested too deeply", f"At most {MOST_DEPTH} levels.")
        if isinstance(item, Mapping):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise _refused(path, "has a key that is not text", "Keys must be strings.")
                pending += [(key, path, depth + 1), (inner, f"{path}.{key[:40]}", depth + 1)]
        elif isinstance(item, list | tuple):
            pending += [(inner, f"{path}[{i}]", depth + 1) for i, inner in enumerate(item)]
        elif isinstance(item, str):
            total += len(item)
            if "\x00" in item or any("\ud800" <= c <= "\udfff" for c in item):
                raise _refused(path, "holds a character that cannot be stored", "Remove it.")
        elif isinstance(item, float) and not math.isfinite(item):
            raise _refused(path, "is not a finite number", "JSON knows no NaN or infinity.")
        elif isinstance(item, int) and not isinstance(item, bool) and abs(item) >= 2**53:
            raise _refused(path, "is too large a whole number", "Stay below 2^53.")
        elif item is not None and not isinstance(item, bool | int | float):
            raise _refused(path, "is no JSON value", "Use text, numbers, lists and objects.")
        total += 8
        if total > MOST_BYTES:
            raise _refused(where, "is too large", f"At most {MOST_BYTES // 1000} kB.")


def _refused(path: str, what: str, remedy: str) -> InvalidInput:
    return InvalidInput(f"“{path}” {what}.", field=path, remedy=remedy)
