"""One call to one endpoint, and what it came to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version as package_version
from typing import Any, cast

import httpx
import openai
from django.conf import settings

from apps.core import outbound
from apps.evaluations.models import SampleStatus
from apps.evaluations.runner import answers, problems
from apps.evaluations.runner.answers import Parsed
from apps.evaluations.runner.problems import Misconfigured, Rejected, Retry, Unreachable
from apps.evaluations.runner.requests import Request
from apps.evaluations.scorers.base import storable_text
from apps.registry.models import Endpoint

KEPT_HEADERS = (
    "date",
    "server",
    "x-request-id",
    "openai-version",
    "openai-processing-ms",
    "x-model-version",
    "retry-after",
)
CONNECT_SECONDS = 10.0
EMBEDDINGS = "/embeddings"


@dataclass(frozen=True)
class Outcome:
    """What a slot came to. `response` is the body as received, byte for byte."""

    request: Request
    status: str
    parsed: Parsed = field(default_factory=Parsed)
    error_kind: str = ""
    error_message: str = ""
    response: bytes | None = None
    latency_ms: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    attempts: int = 1
    first_token_ms: float | None = None
    """Of streamed answers: from the request to the first piece of text."""
    close_for: float = 0.0
    """Seconds for which the endpoint's headers say that nothing more may be asked."""

    @property
    def tokens(self) -> int:
        return (self.parsed.prompt_tokens or 0) + (self.parsed.completion_tokens or 0)

    def after(self, attempts: int) -> Outcome:
        return replace(self, attempts=attempts)


def client_version() -> str:
    return f"openai/{openai.__version__} httpx/{package_version('httpx')}"[:80]


def failed(request: Request, problem: problems.Problem, attempts: int) -> Outcome:
    """The outcome of a slot whose last attempt failed."""
    return Outcome(
        request=request,
        status=SampleStatus.ERROR,
        error_kind=problem.kind[:40],
        error_message=problem.message,
        attempts=attempts,
    )


class EndpointClient:
    """Talks to one endpoint. Use it within one event loop, and close it there."""

    def __init__(self, endpoint: Endpoint, secret: str) -> None:
        self.endpoint = endpoint
        seconds = float(endpoint.timeout_seconds)
        self._http = outbound.async_client(
            allow_private=endpoint.allow_private_address,
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            max_bytes=settings.GOVTRACK["MAX_ANSWER_BYTES"],
            max_connections=max(endpoint.max_concurrency, 1),
        )
        self._client = openai.AsyncOpenAI(
            api_key=secret or "none",
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=cast(Any, self._http),  # typed for httpx's successor only; takes both
        )
        self._options: Any = {} if secret else {"headers": {"Authorization": openai.Omit()}}
        # The library reads these from the environment; they belong to no endpoint of ours.
        self._client.organization = None
        self._client.project = None

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ask(self, request: Request) -> Outcome:
        """One attempt. Raises Retry, Misconfigured or Unreachable; anything else is an outcome."""
        started = time.perf_counter()
        try:
            # The client's own time-outs run by phase; a server that drips is ended by this one.
            async with asyncio.timeout(self.endpoint.timeout_seconds):
                response = await self._client.post(
                    request.path, body=request.body, cast_to=httpx.Response, options=self._options
                )
        except openai.APIStatusError as error:
            return self._of_status(request, cast(Any, error.response), started)
        except (TimeoutError, openai.APITimeoutError) as error:
            if isinstance(error.__cause__, httpx.ConnectTimeout):
                raise self._unreachable("no connection within the time-out") from None
            raise Retry(
                "timeout",
                f"No answer within {self.endpoint.timeout_seconds} seconds: "
                f"{_phase(error.__cause__)}.",
            ) from None
        except openai.APIConnectionError as error:
            return self._of_connection(request, error.__cause__, started)
        latency = (time.perf_counter() - started) * 1000
        headers = plain(response.headers)
        content_type = headers.get("content-type", "")
        if problems.looks_like_html(content_type, response.content):
            raise problems.html(self.endpoint.base_url, response.status_code)
        # Vectors are no answer in words: whoever asked for them reads the body.
        if request.path == EMBEDDINGS:
            parsed = answers.usage_of(response.content)
        else:
            parsed = answers.parse(self.endpoint.api_style, content_type, response.content)
        return Outcome(
            request=request,
            status=SampleStatus.FILTERED if parsed.filtered else SampleStatus.ANSWERED,
            parsed=parsed,
            error_kind="content_filter" if parsed.filtered else "",
            error_message=parsed.note,
            response=response.content,
            latency_ms=latency,
            headers=kept(headers),
            close_for=problems.nothing_remains(headers),
            first_token_ms=_first_token_ms(response, content_type, started),
        )

    def _of_status(self, request: Request, response: httpx.Response, started: float) -> Outcome:
        try:
            document, _ = answers.decode(response.content)
        except Retry:
            document = None
        problem = problems.of_status(
            response.status_code,
            response.headers,
            response.content,
            document,
            asked=request.body,
            base_url=self.endpoint.base_url,
        )
        if not isinstance(problem, Rejected):
            raise problem
        return replace(
            failed(request, problem, 1),
            status=problem.status,
            response=response.content,
            latency_ms=(time.perf_counter() - started) * 1000,
            headers=kept(plain(response.headers)),
        )

    def _of_connection(
        self, request: Request, cause: BaseException | None, started: float
    ) -> Outcome:
        if isinstance(cause, outbound.AnswerTooLarge):
            problem = problems.Problem(
                "too_large",
                f"{cause} It was not stored. Ask for shorter answers (max_tokens), or raise "
                "GOVTRACK_MAX_ANSWER_BYTES.",
            )
            elapsed = (time.perf_counter() - started) * 1000
            return replace(failed(request, problem, 1), latency_ms=elapsed)
        if isinstance(cause, outbound.NameNotFound):
            raise Misconfigured(
                "dns", f"{cause} Check the endpoint's base URL, then Retry failed."
            ) from None
        if isinstance(cause, outbound.AddressRefused):
            raise Misconfigured(
                "address_refused",
                f"{cause} Use a public address, or have an administrator allow private "
                "addresses for this endpoint. Then Retry failed.",
            ) from None
        if isinstance(cause, httpx.ConnectError) and "CERTIFICATE" in str(cause).upper():
            raise Misconfigured(
                "tls",
                f"The certificate of {self.endpoint.base_url} cannot be verified. Check the base "
                "URL, or name your authority's certificates in SSL_CERT_FILE. Then Retry failed.",
            ) from None
        if isinstance(cause, httpx.ConnectError):
            raise self._unreachable("the connection was refused or could not be made") from None
        if isinstance(cause, httpx.RemoteProtocolError):
            raise Retry("cut", "The answer broke off before its end.") from None
        name = type(cause).__name__ if cause else "connection error"
        raise Retry("connection", f"The connection broke ({name}).") from None

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            "unreachable", f"The endpoint {self.endpoint.base_url} did not answer: {why}."
        )


def _phase(cause: BaseException | None) -> str:
    """What was being waited for when the time was over."""
    if isinstance(cause, httpx.WriteTimeout):
        return "the request could not be sent"
    if isinstance(cause, httpx.PoolTimeout):
        return "no connection became free"
    if isinstance(cause, httpx.ReadTimeout):
        return "nothing more came"
    return "what came had no end"


def _first_token_ms(response: httpx.Response, content_type: str, started: float) -> float | None:
    """Of a streamed answer: when the first piece of its text was there."""
    if "text/event-stream" not in content_type.lower():
        return None
    offset = answers.first_text_at(response.content)
    arrivals: list[tuple[int, float]] = response.extensions.get("arrivals", [])
    moments = [moment for total, moment in arrivals if offset is not None and total >= offset]
    return (moments[0] - started) * 1000 if moments else None


def plain(headers: httpx.Headers) -> dict[str, str]:
    """Names in lower case. httpx looks through all headers for each that is asked for."""
    return {k.lower().decode("latin-1"): v.decode("latin-1") for k, v in headers.raw}


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: storable_text(headers[name])[:300] for name in KEPT_HEADERS if name in headers}
