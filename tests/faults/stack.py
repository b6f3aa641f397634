"""Real Celery workers and beats in processes, on a database and a broker of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 3


def broker_for(url: str, worker_id: str) -> str:
    """The same server, another database: flushing it hurts nobody else."""
    number = 14 if worker_id == "master" else 8 + int(worker_id.removeprefix("gw")) % 6
    return urlsplit(url)._replace(path=f"/{number}").geturl()


class Stack:
    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.broker = redis.Redis.from_url(redis_url)
        self.broker.flushdb()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "CELERY_BROKER_URL": redis_url,
            "GOVTRACK_LEASE_SECONDS": str(LEASE_SECONDS),
            "GOVTRACK_TICK_SECONDS": "0.5",
            "GOVTRACK_SHARD_CASES": "5",
            "GOVTRACK_LOG_JSON": "1",
            # A worker's start checks the pages' addresses too; these tests serve none.
            "CELERY_SKIP_CHECKS": "true",
        }

    def worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", "-Q", "evaluations,default", "-P", "prefork", "-c", "2")

    def beat(self) -> subprocess.Popen[bytes]:
        file = self.folder / f"beat-{len(self.processes)}"
        return self._start("beat", "-s", str(file), "--pidfile", "")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{arguments[0]}-{len(self.processes)}.log"
        command = [sys.executable, "-m", "celery", "-A", "govtrack", *arguments, "-l", "INFO"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdout=out, stderr=out, start_new_session=True
            )
        self.processes.append(process)
        process.log = log  # type: ignore[attr-defined]
        return process

    @staticmethod
    def signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """To the worker and all its children at once."""
        os.killpg(process.pid, number)

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        return str(process.log.read_text())  # type: ignore[attr-defined]

    def logs(self) -> str:
        return "\n".join(
            f"--- {p.log.name}\n{self.log_of(p)[-4000:]}"  # type: ignore[attr-defined]
            for p in self.processes
        )

    def stop(self) -> None:
        for process in self.processes:
            for number in (signal.SIGCONT, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            process.wait(10)
        self.broker.flushdb()
        self.broker.close()


def until(
    condition: Callable[[], object], *, seconds: float, what: str, logs: Callable[[], str]
) -> None:
    """Wait for it, or fail saying for what."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"Not within {seconds} seconds: {what}.\n{logs()}")
        time.sleep(0.05)
