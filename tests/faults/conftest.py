from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stack import ROOT, Stack, broker_for
from tests.fixtures.live import live_db, live_template
from tests.fixtures.provider import Control

__all__ = ["live_db", "live_template"]


@pytest.fixture
def provider() -> Iterator[Control]:
    """The test provider in a process of its own, which no fault of a worker touches."""
    command = [sys.executable, "-m", "tests.fixtures.provider", "--latency", "0.15"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        yield Control(json.loads(process.stdout.readline())["port"])
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def stack(live_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    # This process wakes nobody: the ticks of the beat must be enough.
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    broker = broker_for(os.environ["REDIS_URL"], os.environ.get("PYTEST_XDIST_WORKER", "master"))
    running = Stack(live_db, broker, tmp_path)
    try:
        yield running
    finally:
        running.stop()
