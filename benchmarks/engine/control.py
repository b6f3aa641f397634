"""The provider as the benchmark sees it: start it, tell it what to do, read what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.engine.provider import fault, latency

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Variant:
    """One setting in which every tool is measured."""

    key: str
    label: str
    concurrency: int
    median: float = 0.3
    faults: bool = False

    def latencies(self, cases: int) -> list[float]:
        return [latency(prompt(i), median=self.median, sigma=0.4) for i in range(cases)]

    def ideal(self, cases: int) -> float:
        """Sum of the latencies over the concurrency, in seconds."""
        return sum(self.latencies(cases)) / self.concurrency

    def perfect(self, cases: int) -> float:
        """The span of a scheduler without any cost, list order, in seconds. A call that fails is
        asked again as soon as it may be (after Retry-After, else at once), before new ones."""
        import heapq

        slots = [0.0] * self.concurrency
        heapq.heapify(slots)
        waiting: list[tuple[float, float]] = []
        end = 0.0
        fresh = iter(range(cases))
        following = next(fresh, None)
        while following is not None or waiting:
            now = heapq.heappop(slots)
            if waiting and (waiting[0][0] <= now or following is None):
                ready, wait = heapq.heappop(waiting)
                now = max(now, ready) + wait
            else:
                assert following is not None
                wait = latency(prompt(following), median=self.median, sigma=0.4)
                kind = fault(prompt(following)) if self.faults else ""
                following = next(fresh, None)
                if kind == "reset":
                    now += wait / 2
                    heapq.heappush(waiting, (now, wait))
                elif kind:
                    heapq.heappush(waiting, (now + (1.0 if kind == "429 wait" else 0.0), wait))
                else:
                    now += wait
            end = max(end, now)
            heapq.heappush(slots, now)
        return end


def prompt(index: int) -> str:
    return f"bench-{index}"


def question(index: int) -> str:
    return f"Claim {prompt(index)}: which department? Answer with one word."


class Provider:
    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.provider"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def _call(self, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/control", data=data)
        with urllib.request.urlopen(request, timeout=10) as response:
            return dict(json.loads(response.read()))

    def prepare(self, variant: Variant) -> None:
        self._call({"median": variant.median, "sigma": 0.4, "faults": variant.faults})

    def stats(self) -> dict[str, Any]:
        return self._call(None)
