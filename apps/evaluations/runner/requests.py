"""What is asked: a version's configuration and a case become one request body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from apps.evaluations.runner import forms
from apps.evaluations.suitefile import Case, Suite, asking_of, render_case
from apps.registry.models import Endpoint, ModelVersion

PATHS = {
    Endpoint.ApiStyle.CHAT: "/chat/completions",
    Endpoint.ApiStyle.RESPONSES: "/responses",
    Endpoint.ApiStyle.COMPLETIONS: "/completions",
}
# Whichever of these a version sets decides the length; the suite's default then gives way.
LENGTH_KEYS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})


@dataclass(frozen=True)
class Request:
    path: str
    body: dict[str, Any]
    canonical: bytes
    """RFC 8785 form of the body: what is stored and hashed. Headers are no part of it."""


def build(version: ModelVersion, api_style: str, suite: Suite, case: Case) -> Request:
    """The request for a case. The version's own parameters win over the suite's defaults: they
    are what was approved."""
    messages = forms.messages(render_case(suite, case), api_style)
    if version.system_prompt:
        messages = [{"role": "system", "content": version.system_prompt}, *messages]
    parameters = dict(version.parameters)
    # What the endpoint knows and the common API does not, e.g. {"cache_prompt": false}.
    extra = parameters.pop("extra_body", None)
    extra = extra if isinstance(extra, dict) else {}
    if suite.stop and api_style != Endpoint.ApiStyle.RESPONSES:
        parameters.setdefault("stop", list(suite.stop))
    if suite.max_tokens is not None and not LENGTH_KEYS & set(parameters):
        key = "max_output_tokens" if api_style == Endpoint.ApiStyle.RESPONSES else "max_tokens"
        parameters[key] = suite.max_tokens
    body: dict[str, Any] = {**extra, **parameters, "model": version.requested_name}
    if api_style == Endpoint.ApiStyle.CHAT:
        body["messages"] = messages
    elif api_style == Endpoint.ApiStyle.RESPONSES:
        body["input"] = messages
        # Nothing of ours stays with the provider unless the version says so.
        body.setdefault("store", False)
    else:
        body["prompt"] = "\n".join(m["content"] for m in messages)
    if version.tools and api_style != Endpoint.ApiStyle.COMPLETIONS:
        body["tools"] = version.tools
    for key, value in forms.asking(asking_of(suite, case), api_style, version.tools).items():
        if key == "tools" or key not in parameters:
            body[key] = value
    return Request(PATHS[Endpoint.ApiStyle(api_style)], body, canonical(body))


def canonical(body: Mapping[str, Any]) -> bytes:
    try:
        return rfc8785.dumps(dict(body))
    except (rfc8785.CanonicalizationError, UnicodeError):
        # Numbers beyond 2^53 and lone surrogates have no RFC 8785 form.
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
