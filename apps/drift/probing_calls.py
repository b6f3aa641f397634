"""The calls of a probe: one token (or a few) each, under the endpoint's limits and policy."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog

from apps.core import outbound
from apps.core.errors import GovTrackError
from apps.drift.stats.probes_sampling import Drawn
from apps.evaluations.models import SampleStatus
from apps.evaluations.runner.answers import decode
from apps.evaluations.runner.calls import Calls
from apps.evaluations.runner.client import Outcome, kept
from apps.evaluations.runner.problems import Misconfigured, Problem, Rejected, Retry
from apps.evaluations.runner.requests import LENGTH_KEYS, PATHS, Request, canonical
from apps.evaluations.scorers.base import storable_text
from apps.registry import credentials
from apps.registry.models import Endpoint, ModelVersion

log = structlog.get_logger(__name__)
ATTEMPTS = 3
TOP = 20
ROUND_SECONDS = 240.0
MAX_CATALOGUE_BYTES = 4 * 1024 * 1024
# What shapes an answer and is not the model's: a probe asks without it, and at temperature 0.
LEFT_OUT = LENGTH_KEYS | {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "stop",
    "stream",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "logprobs",
    "top_logprobs",
}


@dataclass(frozen=True)
class Answer:
    """One answer of a round. `tops`: for each token drawn, the likeliest tokens at its place."""

    prompt: str
    text: str
    tops: list[list[tuple[str, float]]]
    drawn: list[Drawn]
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: float | None
    returned_model: str
    system_fingerprint: str
    headers: dict[str, str]


@dataclass
class Asked:
    """What came of a round of calls."""

    answers: list[Answer] = field(default_factory=list)
    asked: int = 0
    problem: str = ""
    refused: bool = False
    """The endpoint does not take such a request at all (a parameter it does not know)."""

    @property
    def tokens(self) -> int:
        return sum((a.prompt_tokens or 0) + (a.completion_tokens or 0) for a in self.answers)

    @property
    def latency_ms(self) -> float | None:
        found = [a.latency_ms for a in self.answers if a.latency_ms is not None]
        return statistics.median(found) if found else None


def build(
    version: ModelVersion,
    prompt: str,
    *,
    tokens: int = 1,
    logprobs: bool,
    own_sampling: bool = False,
    temperature: float = 0.0,
) -> Request:
    """The request of a probe: the version's name and extras, never its system prompt or tools (a
    probe watches the model, and twenty times a long prompt would not be cheap)."""
    style = version.endpoint.api_style
    given = dict(version.parameters)
    extra = given.pop("extra_body", None)
    length = next((k for k in sorted(LENGTH_KEYS) if k in given), "max_tokens")
    left_out = LEFT_OUT - {"temperature", "top_p", "top_k", "min_p"} if own_sampling else LEFT_OUT
    body: dict[str, Any] = extra if isinstance(extra, dict) else {}
    body = {**body, **{k: v for k, v in given.items() if k not in left_out}}
    body["model"] = version.requested_name
    if own_sampling:
        body.pop("seed", None)  # a fixed seed would draw the same completion each time
    else:
        body["temperature"] = temperature
    if style == Endpoint.ApiStyle.RESPONSES:
        body |= {"input": prompt, "max_output_tokens": max(tokens, 16)}
        body.setdefault("store", False)
        if logprobs:
            body |= {"include": ["message.output_text.logprobs"], "top_logprobs": TOP}
    elif style == Endpoint.ApiStyle.COMPLETIONS:
        body |= {"prompt": prompt, "max_tokens": tokens}
        if logprobs:
            body["logprobs"] = TOP
    else:
        length = length if length != "max_output_tokens" else "max_tokens"
        body |= {"messages": [{"role": "user", "content": prompt}], length: tokens}
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP}
    return Request(PATHS[Endpoint.ApiStyle(style)], body, canonical(body))


def ask_all(
    version: ModelVersion,
    requests: Sequence[tuple[str, Request]],
    *,
    at_once: int = 1,
    shuffle: str = "",
) -> Asked:
    """Ask every (prompt, request), at most `at_once` at a time, in an order drawn from `shuffle`.

    Never raises for what an endpoint does: the problem is part of the result. A round that takes
    longer than `ROUND_SECONDS` ends with what was answered by then.
    """
    order = list(requests)
    random.Random(shuffle).shuffle(order)  # noqa: S311
    asked = Asked(asked=len(order))
    try:
        secret = credentials.resolve(version.endpoint)
    except GovTrackError as error:
        asked.problem = str(error)
        return asked
    asyncio.run(_ask_all(version.endpoint, secret, order, max(1, at_once), asked))
    return asked


async def _ask_all(
    endpoint: Endpoint,
    secret: str,
    requests: Sequence[tuple[str, Request]],
    at_once: int,
    asked: Asked,
) -> None:
    gate = asyncio.Semaphore(min(at_once, endpoint.max_concurrency))
    stop = asyncio.Event()

    async def one(calls: Calls, prompt: str, request: Request) -> None:
        async with gate:
            if stop.is_set():
                return
            try:
                outcome = await _ask(calls, request)
            except (Retry, Problem) as problem:
                asked.problem = asked.problem or problem.message
                if isinstance(problem, Misconfigured | Rejected):
                    asked.refused |= problem.kind == "bad_parameter"
                    stop.set()
                return
            if outcome.status == SampleStatus.ANSWERED:
                asked.answers.append(_answer(endpoint.api_style, prompt, outcome))
            else:
                asked.problem = asked.problem or outcome.error_message

    try:
        async with Calls(endpoint, secret) as calls, asyncio.timeout(ROUND_SECONDS):
            await asyncio.gather(*(one(calls, p, r) for p, r in requests))
    except TimeoutError:
        asked.problem = asked.problem or f"The round took longer than {ROUND_SECONDS:.0f} seconds."


async def _ask(calls: Calls, request: Request) -> Outcome:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await calls.once(request)
        except Retry as problem:
            if attempt == ATTEMPTS:
                raise
            retry_after = problem.retry_after or 0.0
        await asyncio.sleep(max(retry_after, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


def _answer(style: str, prompt: str, outcome: Outcome) -> Answer:
    parsed = outcome.parsed
    tops, drawn = _logprobs(style, outcome.response or b"")
    return Answer(
        prompt=prompt,
        text=parsed.text,
        tops=tops,
        drawn=drawn,
        prompt_tokens=parsed.prompt_tokens,
        completion_tokens=parsed.completion_tokens,
        latency_ms=outcome.latency_ms,
        returned_model=parsed.returned_model,
        system_fingerprint=parsed.system_fingerprint,
        headers=outcome.headers,
    )


def _logprobs(style: str, raw: bytes) -> tuple[list[list[tuple[str, float]]], list[Drawn]]:
    """Top log-probabilities for each token, in each of the three API styles; empty without."""
    try:
        document, _ = decode(raw)
        places = _places(style, document)
    except (Retry, LookupError, TypeError, AttributeError):
        return [], []
    tops: list[list[tuple[str, float]]] = []
    drawn: list[Drawn] = []
    for own, candidates in places:
        top = [(storable_text(str(t))[:80], round(float(v), 5)) for t, v in candidates if _ok(v)]
        if not top or not _ok(own):
            return [], []
        tops.append(top)
        drawn.append(Drawn(round(float(own), 5), tuple(v for _, v in top)))
    return tops, drawn


def _places(style: str, document: Any) -> list[tuple[Any, list[tuple[str, Any]]]]:
    if style == Endpoint.ApiStyle.RESPONSES:
        parts = [p for item in document["output"] for p in item.get("content") or []]
        content = [place for part in parts for place in part.get("logprobs") or []]
    else:
        logprobs = document["choices"][0]["logprobs"]
        if "top_logprobs" in logprobs:  # legacy: parallel lists
            return [
                (own, list(top.items()))
                for own, top in zip(
                    logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
                )
            ]
        content = logprobs["content"]
    return [
        (place["logprob"], [(t["token"], t["logprob"]) for t in place["top_logprobs"]])
        for place in content
    ]


def _ok(value: Any) -> bool:
    """A log-probability: at most 0. Some servers say -9999 or minus infinity for none."""
    return isinstance(value, int | float) and -1000.0 < float(value) <= 1e-6


@dataclass(frozen=True)
class Catalogue:
    """What GET /models said about one name. None: it lists no such name (or nothing at all)."""

    entry: dict[str, Any] | None
    headers: dict[str, str]
    problem: str = ""
    latency_ms: float | None = None


LIMIT_HEADERS = ("x-ratelimit-limit-requests", "x-ratelimit-limit-tokens")


def catalogue(version: ModelVersion) -> Catalogue:
    """Ask the endpoint for its list of models: no token is spent."""
    try:
        secret = credentials.resolve(version.endpoint)
        return asyncio.run(_catalogue(version, secret))
    except GovTrackError as error:
        return Catalogue(None, {}, str(error))
    except (httpx.HTTPError, OSError, ValueError, TimeoutError) as error:
        return Catalogue(None, {}, f"The list of models could not be read: {error}"[:500])


async def _catalogue(version: ModelVersion, secret: str) -> Catalogue:
    endpoint = version.endpoint
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    started = time.perf_counter()
    async with (
        asyncio.timeout(endpoint.timeout_seconds),
        outbound.async_client(
            allow_private=endpoint.allow_private_address,
            timeout=float(endpoint.timeout_seconds),
            max_bytes=MAX_CATALOGUE_BYTES,
        ) as client,
    ):
        answer = await client.get(f"{endpoint.base_url.rstrip('/')}/models", headers=headers)
    latency = (time.perf_counter() - started) * 1000
    said = kept(answer.headers) | {
        k: storable_text(answer.headers[k])[:300] for k in LIMIT_HEADERS if k in answer.headers
    }
    if answer.status_code != 200:
        return Catalogue(None, said, f"GET /models: HTTP {answer.status_code}.", latency)
    document = json.loads(answer.content, parse_constant=lambda name: None)
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return Catalogue(None, said, "GET /models: there is no list in it.", latency)
    names = {r["id"]: r for r in rows if isinstance(r, dict) and isinstance(r.get("id"), str)}
    return Catalogue(names.get(version.requested_name), said, "", latency)
