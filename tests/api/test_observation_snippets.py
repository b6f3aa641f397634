"""What docs/probes.md tells people to copy is run here, against the real API over HTTP."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from apps.access import services as access
from apps.core import clock
from apps.drift.models import ObservationBatch, ObservedTraffic
from tests.fixtures.provider import Provider
from tests.world import build_world

DOCS = Path(__file__).parents[2] / "docs" / "probes.md"
NGINX = os.environ.get("NGINX") or shutil.which("nginx")
# LiteLLM is not among our packages: LITELLM_PYTHON names an interpreter that has it.
LITELLM = os.environ.get("LITELLM_PYTHON") or sys.executable


def snippet(language: str, part: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    [one] = [text for text in found if part in text]
    return str(one)


@dataclass
class Reported:
    """GovTrack at an address, a token of a service, and an endpoint that production calls."""

    url: str
    token: str
    provider: Provider
    folder: Path

    def rows(self, count: int, seconds: float = 20.0) -> list[ObservedTraffic]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = list(ObservedTraffic.objects.order_by("returned_model"))
            if sum(r.requests for r in rows) >= count:
                return rows
            time.sleep(0.1)
        raise AssertionError(f"{ObservedTraffic.objects.count()} rows after {seconds} s")

    def script(self, code: str, python: str = sys.executable) -> None:
        path = self.folder / "snippet.py"
        path.write_text(code)
        env = {**os.environ, "OPENAI_API_KEY": "sk-x", "NO_PROXY": "*", "no_proxy": "*"}
        done = subprocess.run(
            [python, str(path)], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def ship(self, reopen: str = "true") -> subprocess.CompletedProcess[str]:
        env = {
            "GOVTRACK_URL": self.url,
            "GOVTRACK_TOKEN": self.token,
            "REOPEN": reopen,
            "PATH": os.environ["PATH"],
            "NO_PROXY": "*",
        }
        return subprocess.run(
            ["sh", "-c", snippet("sh", "batch_id")],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def reported(live_db: str, tmp_path: Path) -> Iterator[Reported]:
    world = build_world()
    _, secret = access.create_token(
        actor=world.owner,
        user=world.owner,
        name="gateway",
        scopes=["run"],
        expires_at=clock.now() + dt.timedelta(hours=1),
    )
    server = LiveServer("127.0.0.1")
    try:
        with Provider(models=[world.version.requested_name]) as provider:
            world.endpoint.base_url = provider.url
            world.endpoint.save(update_fields=["base_url"])
            yield Reported(server.url, secret, provider, tmp_path)
    finally:
        server.stop()


def test_the_openai_client_reports_its_calls(reported: Reported) -> None:
    call = f"""
client = openai.OpenAI(base_url="{reported.provider.url}", api_key="sk-x")
begin("{reported.url}", "{reported.token}", every=0.2)
for n in range(3):
    asked = [{{"role": "user", "content": "Hi"}}]
    said = observed(client, model="assistant-instant", messages=asked)
    assert said.choices[0].message.content
while not seen.empty():
    time.sleep(0.1)
time.sleep(1.5)
"""
    reported.script(snippet("python", "SimpleQueue") + call)
    [row] = reported.rows(3)
    assert (row.requests, row.returned_model) == (3, "assistant-instant")
    assert row.prompt_tokens > 0
    assert row.latency_count == 3


def test_a_batch_that_is_sent_twice_counts_once(reported: Reported) -> None:
    """GovTrack is away at first: the thread tries again."""
    call = f"""
away = httpx.Client.post
tries = []
def post(self, *args, **fields):
    answer = away(self, *args, **fields)
    tries.append(answer)
    if len(tries) == 1:
        raise httpx.ReadTimeout("the answer was lost")
    return answer
httpx.Client.post = post
client = openai.OpenAI(base_url="{reported.provider.url}", api_key="sk-x")
begin("{reported.url}", "{reported.token}", every=0.2)
observed(client, model="assistant-instant", messages=[{{"role": "user", "content": "Hi"}}])
while len(tries) < 2:
    time.sleep(0.1)
"""
    reported.script(snippet("python", "SimpleQueue") + call)
    [row] = reported.rows(1)
    assert row.requests == 1
    assert ObservationBatch.objects.count() == 1


def test_litellm_reports_its_calls(reported: Reported) -> None:
    there = subprocess.run([LITELLM, "-c", "import litellm, openai, httpx"], check=False)
    if there.returncode:
        pytest.skip("LiteLLM is not installed (LITELLM_PYTHON names an interpreter that has it)")
    call = f"""
import asyncio, litellm
litellm.callbacks = [GovTrack()]
begin("{reported.url}", "{reported.token}", every=0.2)
request = dict(model="openai/assistant-instant", api_base="{reported.provider.url}",
               api_key="sk-x", messages=[{{"role": "user", "content": "Hi"}}])
litellm.completion(**request)
async def main():
    await litellm.acompletion(**request)
    await asyncio.sleep(2)
asyncio.run(main())
time.sleep(3)
"""
    code = snippet("python", "SimpleQueue") + snippet("python", "CustomLogger") + call
    reported.script(code, LITELLM)
    [row] = reported.rows(2)
    assert row.requests == 2
    assert row.returned_model == "assistant-instant"
    assert row.prompt_tokens > 0


tools = pytest.mark.skipif(
    not all(map(shutil.which, ("jq", "curl"))), reason="the shell snippet needs jq and curl"
)


@tools
def test_lines_as_envoy_and_nginx_write_them_are_shipped_once(reported: Reported) -> None:
    now = clock.now()
    base = {"base_url": reported.provider.url, "requested_name": "assistant-instant"}
    lines: list[dict[str, Any]] = [
        base
        | {
            "observed_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "returned_model": None,
            "status": 200,
            "latency_ms": 87,
        },
        base
        | {
            "observed_at": now.isoformat(timespec="seconds"),
            "returned_model": "assistant-instant-b",
            "status": "503",
            "seconds": 0.25,
        },
        base | {"requested_name": "-", "observed_at": now.isoformat()},
    ]
    log = reported.folder / "govtrack.log"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    # GovTrack refuses at first: the batch stays.
    token, reported.token = reported.token, "wrong"
    reported.ship()
    assert not ObservedTraffic.objects.exists()
    assert list(reported.folder.glob("batch.*"))
    reported.token = token
    done = reported.ship()
    assert not list(reported.folder.glob("batch.*")), done.stderr

    plain, served = reported.rows(2)
    assert (plain.returned_model, plain.latency_ms_sum, plain.errors) == ("", 87.0, 0)
    assert (served.returned_model, served.latency_ms_sum) == ("assistant-instant-b", 250.0)
    assert served.errors == 1
    assert reported.ship().returncode == 0  # nothing is left
    assert ObservationBatch.objects.count() == 1


@tools
def test_a_log_without_a_single_model_is_put_away(reported: Reported) -> None:
    (reported.folder / "govtrack.log").write_text('{"requested_name": ""}\n')
    assert reported.ship().returncode == 0
    assert not list(reported.folder.glob("batch.*"))
    assert not ObservationBatch.objects.exists()


@tools
@pytest.mark.skipif(not NGINX, reason="nginx is not installed (NGINX names its program)")
def test_nginx_writes_such_lines(reported: Reported, free_port: Callable[[], int]) -> None:
    import httpx

    port, folder = free_port(), reported.folder
    rules = snippet("nginx", "log_format").replace(
        "https://api.vendor.example/v1", reported.provider.url
    )
    rules = rules.replace("/var/log/nginx/", f"{folder}/")
    upstream = reported.provider.url.removesuffix("/v1")
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ {temporary}\n{rules}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; }} }} }}\n"
    )
    command = f"{NGINX} -c {folder}/nginx.conf -e {folder}/error.log"
    server = subprocess.Popen(command.split())
    try:
        body = {"model": "assistant-instant", "messages": [{"role": "user", "content": "Hi"}]}
        with httpx.Client(trust_env=False, headers={"X-Model": "assistant-instant"}) as http:
            for _ in range(50):
                try:
                    http.get(f"http://127.0.0.1:{port}/v1/models", headers={"X-Model": ""})
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            answer = http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
        assert answer.status_code == 200
        done = reported.ship(f"{command} -s reopen")
        assert not list(folder.glob("batch.*")), done.stderr
    finally:
        server.terminate()
        server.wait(10)
    [row] = reported.rows(1)
    assert (row.requests, row.errors) == (1, 0)
    assert row.latency_count == 1


@pytest.fixture
def free_port() -> Callable[[], int]:
    import socket

    def free() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return free
