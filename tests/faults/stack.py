"""Real Celery workers, beats and a web process, on a database and a broker of their own."""

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
from django.db import InterfaceError, OperationalError, connection

from tests.faults import clocks

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
        self.application = "govtrack"
        self.clock: Path | None = None
        """A file with the seconds by which the clock of processes started from now on is wrong."""
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

    def worker(self, queues: str = "evaluations,default", processes: int = 2) -> subprocess.Popen:
        return self._celery("worker", "-Q", queues, "-P", "prefork", "-c", str(processes))

    def runner(self) -> subprocess.Popen[bytes]:
        """A worker for the calls alone, as in production."""
        return self.worker("evaluations", 1)

    def ticker(self) -> subprocess.Popen[bytes]:
        """A worker for the short steps alone, as in production."""
        return self.worker("default", 1)

    def beat(self) -> subprocess.Popen[bytes]:
        file = self.folder / f"beat-{len(self.processes)}"
        return self._celery("beat", "-s", str(file), "--pidfile", "")

    def web(self, port: int) -> subprocess.Popen[bytes]:
        command = ["-m", "gunicorn", "govtrack.wsgi:application", "--bind", f"127.0.0.1:{port}"]
        return self._start("web", *command, "--workers", "1", "--threads", "2")

    def _celery(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["-m", "celery", "-A", self.application, kind, *arguments, "-l", "INFO"]
        if kind == "worker":
            name = f"w{len(self.processes)}@%h"
            command += ["-n", name, "--without-mingle", "--without-gossip"]
        return self._start(kind, *command)

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{kind}-{len(self.processes)}.log"
        env = dict(self.env)
        if self.clock is not None:
            env["LD_PRELOAD"] = str(clocks.library(self.folder))
            env["GOVTRACK_TEST_CLOCK"] = str(self.clock)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.processes.append(process)
        process.log = log  # type: ignore[attr-defined]
        return process

    @staticmethod
    def signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """To the process and all its children at once."""
        os.killpg(process.pid, number)

    def kill(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            self.signal(process, signal.SIGKILL)
        for process in processes:
            process.wait(10)

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
        with suppress(redis.RedisError):
            self.broker.flushdb()
        self.broker.close()


def family(process: subprocess.Popen[bytes]) -> set[int]:
    """The process ids of a process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return {process.pid, *map(int, children)}


def until(
    condition: Callable[[], object], *, seconds: float, what: str, logs: Callable[[], str]
) -> None:
    """Wait for it, also through an outage of the database, or fail saying for what."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OperationalError, InterfaceError):
            connection.close()
        if time.monotonic() > end:
            raise AssertionError(f"Not within {seconds} seconds: {what}.\n{logs()}")
        time.sleep(0.05)
