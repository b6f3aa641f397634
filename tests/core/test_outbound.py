"""Where calls may go: checked on the very address that is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.test import override_settings

from apps.core import outbound
from apps.core.errors import InvalidInput
from tests.fixtures.provider import MB, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make the resolver answer these addresses, call by call (the last for ever)."""
    asked: list[str] = []

    async def getaddrinfo(self: Any, host: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def get(url: str, *, allow_private: bool = True, max_bytes: int = MB) -> httpx.Response:
    async def run() -> httpx.Response:
        client = outbound.async_client(
            allow_private=allow_private, timeout=5.0, max_bytes=max_bytes
        )
        async with client:
            return await client.post(url, json={"model": "assistant", "messages": "hello"})

    return asyncio.run(run())


def chat(provider: Provider, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{provider.port}/v1/chat/completions"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "::1",
        "fe80::1",
        "fd12::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_an_address_of_our_own_network_is_refused_unless_allowed(address: str) -> None:
    ip = ipaddress.ip_address(address)

    assert outbound.refusal(ip, allow_private=False)
    assert outbound.refusal(ip, allow_private=True) == ""


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert outbound.refusal(ipaddress.ip_address(address), allow_private=False) == ""


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1"],
)
def test_metadata_services_and_non_addresses_are_refused_whatever_is_allowed(address: str) -> None:
    assert outbound.refusal(ipaddress.ip_address(address), allow_private=True)


def test_the_installation_s_setting_outweighs_the_endpoint_s() -> None:
    with override_settings(GOVTRACK={**settings.GOVTRACK, "ALLOW_PRIVATE_ADDRESSES": False}):
        assert outbound.refusal(ipaddress.ip_address("127.0.0.1"), allow_private=True)


def test_an_allowed_private_address_is_called(provider: Provider) -> None:
    assert get(chat(provider)).status_code == 200


def test_a_private_address_that_is_not_allowed_is_not_connected_to(provider: Provider) -> None:
    with pytest.raises(outbound.AddressRefused, match="it is a loopback address"):
        get(chat(provider), allow_private=False)

    assert provider.state.connections == 0


def test_a_name_that_leads_inside_is_not_connected_to(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])

    with pytest.raises(outbound.AddressRefused):
        get(chat(provider, "api.example.com"), allow_private=False)

    assert provider.state.connections == 0


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_connected_to(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rebinding name: the first look-up is harmless, a second would be the metadata service.
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])

    assert get(chat(provider, "api.example.com")).status_code == 200
    assert asked == ["api.example.com"]


def test_of_several_addresses_only_those_that_may_be_called_are_tried(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["169.254.169.254", "127.0.0.1"])

    assert get(chat(provider, "api.example.com")).status_code == 200


def test_a_redirect_is_handed_back_and_not_followed(provider: Provider) -> None:
    provider.fail("status", status=302, headers={"Location": "http://169.254.169.254/"})

    assert get(chat(provider)).status_code == 302


def test_proxies_of_the_environment_are_not_used(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert get(chat(provider)).status_code == 200


def test_an_answer_longer_than_allowed_is_cut_off(provider: Provider) -> None:
    provider.fail("huge", bytes=3 * MB)

    with pytest.raises(outbound.AnswerTooLarge, match="longer than 1,048,576 bytes"):
        get(chat(provider))


def test_a_small_answer_that_inflates_is_cut_off(provider: Provider) -> None:
    provider.fail("bomb", bytes=50 * MB)

    with pytest.raises(outbound.AnswerTooLarge):
        get(chat(provider))


def test_a_compressed_answer_within_the_limit_is_read(provider: Provider) -> None:
    provider.fail("gzip")

    response = get(chat(provider))

    assert response.json()["choices"]
    assert "content-encoding" not in response.headers


def test_a_host_that_does_not_answer_is_a_connection_error() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{port}/v1")


def test_a_name_that_does_not_exist_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)

    with pytest.raises(outbound.NameNotFound, match="There is no host named"):
        get("http://api.example.com/v1")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "file:///etc/passwd",
        "example.com/v1",
        "http://",
        "http://[::1",
        "http://user:secret@example.com/v1",
        "https://example.com/v1?key=1",
        "https://example.com/v1#x",
        "https://exa mple.com/v1",
        "http://127.0.0.1:8000/v1",
        "http://localhost/v1",
        "http://2130706433/v1",
        "http://0x7f.1/v1",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]/v1",
        "http://example.com:99999/v1",
    ],
)
def test_an_address_that_could_never_be_called_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        outbound.check_url(url, allow_private=False)

    assert caught.value.field == "base_url"
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


def test_a_good_address_is_let_through() -> None:
    outbound.check_url("http://127.0.0.1:8000/v1", allow_private=True)
    outbound.check_url("https://8.8.8.8/v1", allow_private=False)


def test_a_name_that_does_not_resolve_today_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    outbound.check_url("https://api.example.com/v1", allow_private=False)


def ask_in_turn(provider: Provider, prompts: list[str]) -> list[str]:
    async def run() -> list[str]:
        client = outbound.async_client(allow_private=True, timeout=5.0, max_bytes=MB)
        texts = []
        async with client:
            for prompt in prompts:
                body = {"model": "assistant", "messages": [{"role": "user", "content": prompt}]}
                answer = await client.post(chat(provider), json=body)
                texts.append(answer.json()["choices"][0]["message"]["content"])
        return texts

    return asyncio.run(run())


def test_a_second_answer_to_one_question_does_not_pass_for_the_next_question_s(
    provider: Provider,
) -> None:
    prompts = ["first", "second", "third"]
    right = ask_in_turn(provider, prompts)
    before = provider.stats()["connections"]
    provider.fail("doubled", times=1)

    assert ask_in_turn(provider, prompts) == right
    # The connection that brought two answers was given up; the next one was kept. One more is ours.
    assert provider.stats()["connections"] - before - 2 == 2
