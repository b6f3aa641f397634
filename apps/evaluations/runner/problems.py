"""Errors told apart by what follows from them.

| class | what follows |
|---|---|
| `Retry` | asked again with backoff; after the last attempt stored as an `error` sample |
| `Outcome` with status refused / filtered / error | stored: an outcome is data, not a hole |
| `Misconfigured` | the run stops with the sentence as its reason; a person mends, then retries |
| `Unreachable` | the shard is handed back with backoff; after a bounded time the run fails |
"""

from __future__ import annotations

import email.utils
import ipaddress
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from apps.core import outbound
from apps.evaluations.scorers.base import storable_text

MAX_MESSAGE = 600
# Beyond this, a wait asked for by the endpoint is cut: it may be asked again.
MAX_RETRY_AFTER = 120.0
RETRY_STATUSES = frozenset({408, 409, 425, 429})
FILTER_CODES = frozenset({"content_filter", "content_policy_violation"})
MODEL_MISSING = re.compile(
    r"model.{0,200}(not found|does not exist|not exist|unknown|no such|not available|not loaded)"
    r"|(no such|unknown|invalid) model",
    re.IGNORECASE | re.DOTALL,
)

TOO_LONG = re.compile(
    r"context (length|size|window)|maximum context|context_length|exceed_context"
    r"|prompt is too long|(prompt|input|request).{0,40}too (long|large|many tokens)"
    r"|too many (input )?tokens|token count.{0,60}exceeds",
    re.IGNORECASE | re.DOTALL,
)


class Problem(Exception):
    def __init__(self, kind: str, message: str) -> None:
        message = storable_text(message)[:MAX_MESSAGE]
        super().__init__(message)
        self.kind = kind
        self.message = message


class Retry(Problem):
    """May go well next time."""

    def __init__(self, kind: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(kind, message)
        self.retry_after = retry_after


class Rejected(Problem):
    """The endpoint will not answer this prompt, however often it is asked."""

    def __init__(self, kind: str, message: str, *, status: str) -> None:
        super().__init__(kind, message)
        self.status = status


class Misconfigured(Problem):
    """No prompt can be answered until a person changes something. The message says what."""


class Unreachable(Problem):
    """Nobody answers at the address just now."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks us to wait: Retry-After (seconds or date), or its ms form."""
    raw = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\d{1,9}(\.\d+)?", raw):
        return min(float(raw) / 1000, MAX_RETRY_AFTER)
    raw = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", raw):
        return min(float(raw), MAX_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(raw).timestamp() if raw else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None if when is None else min(max(0.0, when - time.time()), MAX_RETRY_AFTER)


def nothing_remains(headers: Mapping[str, str]) -> float:
    """Seconds to make no call where the headers of an answer say that no request remains; else 0.

    `x-ratelimit-reset-requests` is the time until the whole allowance is back; one request of it
    is back after its share of that.
    """
    if headers.get("x-ratelimit-remaining-requests", "").strip() != "0":
        return 0.0
    reset = duration(headers.get("x-ratelimit-reset-requests", ""))
    limit = headers.get("x-ratelimit-limit-requests", "").strip()
    share = int(limit) if re.fullmatch(r"\d{1,9}", limit) and int(limit) else 1
    return min(reset / share, MAX_RETRY_AFTER)


def duration(text: str) -> float:
    """Seconds of "20ms", "1s", "6m0s", "1h2m", "0.5"; 0 for anything else."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d{1,9}(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(n + unit for n, unit in parts) != text:
        return 0.0
    return sum(float(n) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for n, unit in parts)


def looks_like_html(content_type: str, body: bytes) -> bool:
    start = body[:500].lstrip().lower()
    return "text/html" in content_type.lower() or start.startswith((b"<!doctype html", b"<html"))


def error_part(document: Any) -> dict[str, Any]:
    """The `error` object of an answer, in the forms that servers give it."""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def of_status(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    document: Any,
    *,
    asked: Mapping[str, Any],
    base_url: str,
) -> Problem:
    """The problem that a status other than 2xx means. `document`: the parsed body, or None."""
    error = error_part(document)
    said = str(error.get("message") or "")[:300].strip()
    code = str(error.get("code") or error.get("type") or "")[:80]
    quoted = f' It said: "{said}"' if said else ""
    name = str(asked.get("model", ""))
    if status in (401, 403):
        return Misconfigured(
            "unauthorized",
            f"The endpoint {base_url} refused the credential (HTTP {status}).{quoted} Check the "
            "endpoint's credential and that it may use this model, then Retry failed.",
        )
    if status == 402 or (status == 429 and code in ("insufficient_quota", "billing_not_active")):
        return Misconfigured(
            "quota",
            f"The account at {base_url} has no quota left (HTTP {status}).{quoted} Check its plan "
            "and billing, then Retry failed.",
        )
    if status in (400, 413, 422, 500) and (
        code in ("context_length_exceeded", "exceed_context_size_error") or TOO_LONG.search(said)
    ):
        return Rejected(
            "context_length",
            f"The prompt and the answer asked for do not fit into the model's context "
            f"(HTTP {status}).{quoted} Shorten the case, lower max_tokens, or test a version with "
            "a longer context.",
            status="refused",
        )
    if status in RETRY_STATUSES or status >= 500:
        kind = "rate_limited" if status == 429 else "server_error"
        return Retry(
            kind,
            f"The endpoint answered HTTP {status}.{quoted}",
            retry_after=retry_after(headers),
        )
    if 300 <= status < 400:
        return Misconfigured(
            "redirect",
            f"The endpoint {base_url} redirects (HTTP {status}){_leads_to(headers)}, and redirects "
            "are not followed. If you trust that address, set it as the endpoint's base URL; then "
            "Retry failed.",
        )
    if looks_like_html(headers.get("content-type", ""), body):
        return html(base_url, status)
    if status == 404 or code == "model_not_found" or (said and MODEL_MISSING.search(said)):
        if code == "model_not_found" or MODEL_MISSING.search(said):
            return Misconfigured(
                "model_not_found",
                f"The endpoint {base_url} knows no model named '{name[:100]}' (HTTP {status})."
                f"{quoted} Check the version's requested name, then Retry failed.",
            )
        return Misconfigured(
            "not_found",
            f"The endpoint {base_url} has nothing at this path (HTTP {status}).{quoted} Check the "
            "base URL (it usually ends in /v1), the API style and the model's name, then Retry "
            "failed.",
        )
    if status == 405:
        return Misconfigured(
            "not_found",
            f"The endpoint {base_url} takes no such request (HTTP 405). Check the base URL and the "
            "API style, then Retry failed.",
        )
    if code in FILTER_CODES:
        return Rejected(
            "content_filter",
            f"The endpoint's content filter stopped the prompt.{quoted}",
            status="filtered",
        )
    parameter = str(error.get("param") or "").split(".")[0].split("[")[0]
    if code in ("unsupported_parameter", "unknown_parameter", "unsupported_value") or (
        parameter in asked and parameter not in ("messages", "input", "prompt")
    ):
        return Misconfigured(
            "bad_parameter",
            f"The endpoint {base_url} does not accept the parameter '{parameter or '?'}' "
            f"(HTTP {status}).{quoted} Register a version without it.",
        )
    return Rejected(
        "bad_request", f"The endpoint refused the prompt (HTTP {status}).{quoted}", status="refused"
    )


def _leads_to(headers: Mapping[str, str]) -> str:
    """Where a redirect points, without what may be secret in its path and query."""
    try:
        target = urlsplit(headers.get("location", ""))
        host, port = target.hostname or "", target.port
    except ValueError:
        return ""
    if not host:
        return ""
    try:
        private = outbound.refusal(ipaddress.ip_address(host), allow_private=False)
    except ValueError:
        private = ""
    place = f"{target.scheme or 'http'}://{host}" + (f":{port}" if port else "")
    return f" to {place[:200]}" + (" (an address of a private network)" if private else "")


def html(base_url: str, status: int) -> Misconfigured:
    return Misconfigured(
        "html",
        f"The endpoint {base_url} answered with a web page (HTTP {status}) instead of JSON. Check "
        "the base URL: it usually ends in /v1, and a sign-in page or a proxy may stand in "
        "front of it. Then Retry failed.",
    )
