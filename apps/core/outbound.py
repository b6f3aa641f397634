"""Calls to the outside: where they may go, and how much they may bring back.

The address is checked when the connection is made, on the very address that is connected to, so
a name that resolves to something harmless first and to 127.0.0.1 later gains nothing. Redirects
are not followed, proxies of the environment are not used, and an answer is cut off at a size that
counts bytes after decompression.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
from django.conf import settings

from apps.core.errors import InvalidInput

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Nothing that answers prompts lives here, but a cloud machine's own credentials do.
METADATA = frozenset(
    ipaddress.ip_address(a) for a in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254")
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
CHUNK = 64 * 1024
MAX_ARRIVALS = 1000


class AddressRefused(httpx.ConnectError):
    """The name leads to an address that this product may not call."""


class NameNotFound(httpx.ConnectError):
    """There is no such name (the name service answered so; it is not merely out of reach)."""


class AnswerTooLarge(httpx.ReadError):
    """The answer was longer than allowed, and was cut off."""


class EncodingNotAsked(httpx.ReadError):
    """The answer came in a content encoding that was not asked for and is not known here."""


def private_allowed(allow_private: bool) -> bool:
    """Both must agree: the administrator of the installation, and the endpoint."""
    return bool(allow_private and settings.GOVTRACK["ALLOW_PRIVATE_ADDRESSES"])


def refusal(address: Address, *, allow_private: bool) -> str:
    """Why this address may not be called; "" when it may."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address.teredo:
            embedded = address.teredo[1]
        if embedded is None and address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if embedded is not None:
            return refusal(embedded, allow_private=allow_private)
    if address in METADATA:
        return "it is a cloud machine's metadata service"
    if address.is_unspecified or address.is_multicast:
        return "it is not the address of one machine"
    if not address.is_global and not private_allowed(allow_private):
        kind = (
            "loopback"
            if address.is_loopback
            else "link-local"
            if address.is_link_local
            else "private or reserved"
        )
        return f"it is a {kind} address, and those are not allowed for this endpoint"
    return ""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise InvalidInput for an address that could never be called. Looks the name up; a name
    that does not resolve today is let through, since the check that counts is at connection."""
    remedy = "Give an address such as https://api.example.com/v1."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput("This is not a web address.", field="base_url", remedy=remedy) from None
    if parts.scheme not in ("http", "https"):
        raise InvalidInput(
            "Only http and https addresses can be called.", field="base_url", remedy=remedy
        )
    if not host or any(c.isspace() or ord(c) < 32 for c in url):
        raise InvalidInput("The address names no host.", field="base_url", remedy=remedy)
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "The address holds a user name or password.",
            field="base_url",
            remedy="Take it out of the address and store it as the endpoint's credential.",
        )
    if parts.query or parts.fragment:
        raise InvalidInput(
            "A base address has no query (?) and no fragment (#).", field="base_url", remedy=remedy
        )
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    reasons = [refusal(_address(entry), allow_private=allow_private) for entry in found]
    if reasons and all(reasons):
        raise InvalidInput(
            f"{host} may not be called: {reasons[0]}.",
            field="base_url",
            remedy="Use a public address, or have an administrator allow private addresses for "
            "this endpoint (and GOVTRACK_ALLOW_PRIVATE_ADDRESSES=1 for the installation).",
        )


def async_client(
    *,
    allow_private: bool,
    timeout: float | httpx.Timeout,
    max_bytes: int,
    max_connections: int = 100,
) -> httpx.AsyncClient:
    """An HTTP client under the policy above. Close it (`async with`, or `aclose`)."""
    return httpx.AsyncClient(
        transport=GuardedTransport(
            allow_private=allow_private, max_bytes=max_bytes, max_connections=max_connections
        ),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "gzip"},
    )


class GuardedTransport(httpx.AsyncBaseTransport):
    """A stack of idle connections for each origin. httpcore's own pool looks at every connection
    for every request: 10 ms of CPU a call with 64 of them, where this takes the newest idle one."""

    def __init__(self, *, allow_private: bool, max_bytes: int, max_connections: int = 100) -> None:
        self.max_bytes = max_bytes
        self._backend = GuardedBackend(allow_private=allow_private)
        self._places = asyncio.Semaphore(max_connections)
        self._idle: dict[tuple[bytes, bytes, int | None], list[httpcore.AsyncHTTPConnection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        origin = (url.raw_scheme, url.raw_host, url.port)
        await self._places.acquire()
        connection: httpcore.AsyncHTTPConnection | None = None
        try:
            connection = await self._connection(origin)
            response = await connection.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except BaseException as error:
            self._places.release()
            if connection is not None:
                await _discard(connection)
            if not isinstance(error, Exception) or (mapped := _as_httpx(error)) is error:
                raise
            raise mapped from error
        headers = response.headers
        encoding = b",".join(v for k, v in headers if k.lower() == b"content-encoding")
        if encoding:
            left_out = (b"content-encoding", b"content-length")
            headers = [(k, v) for k, v in headers if k.lower() not in left_out]
        if 300 <= response.status < 400:
            headers = [(k, v) for k, v in headers if k.lower() != b"location" or _is_url(v)]
        stream = _Released(response.stream, self, origin, connection)
        # How many bytes of the answer were there when: what a stream's first token is timed by.
        arrivals: list[tuple[int, float]] = []
        return httpx.Response(
            status_code=response.status,
            headers=headers,
            stream=_Limited(
                stream, encoding.decode("latin-1").strip().lower(), self.max_bytes, arrivals
            ),
            extensions={**response.extensions, "arrivals": arrivals},
        )

    async def _connection(
        self, origin: tuple[bytes, bytes, int | None]
    ) -> httpcore.AsyncHTTPConnection:
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.is_idle() and not connection.has_expired():
                return connection
            await _discard(connection)
        scheme, host, port = origin
        known = {b"http": 80, b"https": 443}.get(scheme)
        if known is None:
            raise httpx.UnsupportedProtocol("Only http and https addresses can be called.")
        return httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(scheme, host, port or known),
            ssl_context=_ssl_context(),
            keepalive_expiry=15.0,
            network_backend=self._backend,
        )

    async def release(
        self, origin: tuple[bytes, bytes, int | None], connection: httpcore.AsyncHTTPConnection
    ) -> None:
        """An answer was read, or given up: keep the connection if it can serve again."""
        self._places.release()
        if connection.is_idle() and not _holds_more(connection):
            self._idle.setdefault(origin, []).append(connection)
        else:
            await _discard(connection)

    async def aclose(self) -> None:
        for idle in self._idle.values():
            while idle:
                await _discard(idle.pop())


async def _discard(connection: httpcore.AsyncHTTPConnection) -> None:
    with suppress(Exception):
        await connection.aclose()


def _is_url(location: bytes) -> bool:
    """Of a Location that is none, the client would make a broken answer."""
    try:
        httpx.URL(location.decode("latin-1"))
    except (httpx.InvalidURL, ValueError):
        return False
    return True


def _holds_more(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Did more come than the one answer? A second answer to one question would lie in the parser
    and pass for the answer to the next question. True where it cannot be told."""
    parser = getattr(getattr(connection, "_connection", None), "_h11_state", None)
    return parser is None or bool(parser.trailing_data[0])


class _Released:
    """An answer's body; at its end the connection goes back."""

    def __init__(
        self,
        stream: Any,
        transport: GuardedTransport,
        origin: tuple[bytes, bytes, int | None],
        connection: httpcore.AsyncHTTPConnection,
    ) -> None:
        self._stream = stream
        self._give_back: Any = (transport.release, origin, connection)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        if self._give_back is None:
            return
        release, origin, connection = self._give_back
        self._give_back = None
        try:
            await self._stream.aclose()
        finally:
            await release(origin, connection)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Looks the name up, and connects to an address that was checked: no second look-up."""

    def __init__(self, *, allow_private: bool) -> None:
        self.allow_private = allow_private
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"The name {host} was not resolved in time.") from None
        except socket.gaierror as error:
            gone = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            if error.errno in gone:
                raise NameNotFound(f"There is no host named {host}.") from error
            raise httpcore.ConnectError(f"The name {host} could not be resolved.") from error
        except (UnicodeError, OSError) as error:
            raise NameNotFound(f"{host} is not a host name.") from error
        addresses = list(dict.fromkeys(_address(entry) for entry in found))
        reasons = {a: refusal(a, allow_private=self.allow_private) for a in addresses}
        allowed = [a for a in addresses if not reasons[a]]
        if not allowed:
            reason = next(iter(reasons.values()), "it has no address")
            raise AddressRefused(f"{host} may not be called: {reason}.")
        last: Exception = httpcore.ConnectError(f"{host} does not answer.")
        for address in allowed:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("Unix sockets may not be called.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Limited(httpx.AsyncByteStream):
    """Counts what comes out, and inflates in small steps: a few kilobytes of gzip can hold
    gigabytes."""

    def __init__(
        self, stream: Any, encoding: str, limit: int, arrivals: list[tuple[int, float]]
    ) -> None:
        self._stream = stream
        self._encoding = encoding
        self._limit = limit
        self._arrivals = arrivals

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        try:
            async for chunk in self._inflated():
                total += len(chunk)
                if len(self._arrivals) < MAX_ARRIVALS:
                    self._arrivals.append((total, time.perf_counter()))
                if total > self._limit:
                    raise AnswerTooLarge(f"The answer is longer than {self._limit:,} bytes.")
                yield chunk
        except Exception as error:
            if (mapped := _as_httpx(error)) is error:
                raise
            raise mapped from error

    async def _inflated(self) -> AsyncIterator[bytes]:
        if self._encoding in ("", "identity"):
            async for chunk in self._stream:
                yield chunk
            return
        if self._encoding not in ("gzip", "x-gzip"):
            raise EncodingNotAsked(f"The answer came in the encoding '{self._encoding[:40]}'.")
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        async for chunk in self._stream:
            while chunk:
                try:
                    yield inflate.decompress(chunk, CHUNK)
                except zlib.error as error:
                    raise httpx.DecodingError("The answer is not valid gzip.") from error
                chunk = inflate.unconsumed_tail
        if not inflate.eof:
            raise httpx.RemoteProtocolError("The answer was cut: its gzip stream has no end.")

    async def aclose(self) -> None:
        if hasattr(self._stream, "aclose"):
            await self._stream.aclose()


def _as_httpx(error: Exception) -> Exception:
    """httpcore's exceptions under their httpx name; anything else as it is."""
    if isinstance(error, httpx.HTTPError) or type(error).__module__.split(".")[0] != "httpcore":
        return error
    mapped = getattr(httpx, type(error).__name__, httpx.NetworkError)
    return mapped(str(error))  # type: ignore[no-any-return]


def _address(entry: tuple[Any, ...]) -> Address:
    return ipaddress.ip_address(str(entry[4][0]).split("%")[0])


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """The usual authorities, or those of SSL_CERT_FILE (a company's own)."""
    bundle = os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=bundle) if bundle else httpx.create_ssl_context()
