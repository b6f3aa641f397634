"""A fast loopback provider in a process of its own: the same latencies for every tool.

    python -m benchmarks.engine.provider --port 0        prints {"port": N}, serves until killed

Standard library only. Latency is lognormal and seeded by the prompt, faults are seeded by the
prompt too and hit its first attempt only, so that every tool meets the same ones. `POST /control`
sets {"median", "sigma", "faults"} and resets the counts; `GET /control` reads them: first and
newest arrival, last departure, calls, prompts answered, calls in flight at most.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import re
import socket
import struct
import time
from typing import Any

# With this seed a scheduler without any cost has a span of 1.024 of the ideal at 32 at once, and of
# 1.059 under the faults: the long answers do not happen to come last.
SEED = 24
PROMPT = re.compile(rb"bench-\d+")
RATE_LIMITED_SHARE = 0.05
RESET_SHARE = 0.02
RETRY_AFTER_SECONDS = 1


def _uniforms(prompt: str, purpose: str) -> tuple[float, float]:
    digest = hashlib.sha256(f"{SEED}:{purpose}:{prompt}".encode()).digest()
    first, second = struct.unpack(">QQ", digest[:16])
    return (first + 1) / (2**64 + 1), (second + 1) / (2**64 + 1)


def latency(prompt: str, *, median: float, sigma: float) -> float:
    """Seconds that this prompt takes, whoever asks (Box-Muller on its hash)."""
    if median == 0:
        return 0.0
    u, v = _uniforms(prompt, "latency")
    return median * math.exp(sigma * math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v))


def fault(prompt: str) -> str:
    """What happens at this prompt's first attempt: "429", "429 wait", "reset" or ""."""
    u, v = _uniforms(prompt, "fault")
    if u < RATE_LIMITED_SHARE:
        return "429 wait" if v < 0.5 else "429"
    return "reset" if u < RATE_LIMITED_SHARE + RESET_SHARE else ""


class State:
    def __init__(self) -> None:
        self.median, self.sigma, self.faults = 0.3, 0.4, False
        self.reset()

    def reset(self) -> None:
        self.first = self.last = self.newest = 0.0
        self.calls = self.in_flight = self.peak = self.repeated = 0
        self.seen: set[str] = set()
        self.answered: set[str] = set()

    def stats(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "newest": self.newest,
            "calls": self.calls,
            "answered": len(self.answered),
            "repeated": self.repeated,
            "peak": self.peak,
        }


class Connection(asyncio.Protocol):
    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.state = state
        self.loop = loop
        self.buffer = b""
        self.need = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            match = re.search(rb"content-length: *(\d+)", head)
            total = end + 4 + (int(match[1]) if match else 0)
            if b"expect: 100-continue" in head and len(self.buffer) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self.buffer) < total:
                return
            line, body = self.buffer[: end + 1], self.buffer[end + 4 : total]
            self.buffer = self.buffer[total:]
            self.request(line, body)

    def request(self, head: bytes, body: bytes) -> None:
        method, path = head.split(b" ", 2)[:2]
        state = self.state
        if path == b"/control":
            if method == b"POST":
                for name, value in json.loads(body).items():
                    setattr(state, name, value)
                state.reset()
            self.send(200, state.stats())
            return
        if b"completions" not in path and b"responses" not in path:
            self.send(200, {"object": "list", "data": [{"id": "bench", "object": "model"}]})
            return
        found = PROMPT.search(body)
        prompt = found[0].decode() if found else "none"
        now = time.monotonic()
        state.first = state.first or now
        state.newest = now
        state.calls += 1
        state.in_flight += 1
        state.peak = max(state.peak, state.in_flight)
        state.repeated += prompt in state.answered
        wait = latency(prompt, median=state.median, sigma=state.sigma)
        kind = fault(prompt) if state.faults and prompt not in state.seen else ""
        state.seen.add(prompt)
        if kind.startswith("429"):
            self.loop.call_soon(self.limited, kind)
        elif kind == "reset":
            self.loop.call_later(wait / 2, self.abort)
        elif wait:
            self.loop.call_later(wait, self.answer, prompt, b"responses" in path)
        else:
            self.answer(prompt, b"responses" in path)

    def answer(self, prompt: str, responses: bool) -> None:
        self.state.in_flight -= 1
        if self.transport.is_closing():
            return
        self.state.answered.add(prompt)
        self.state.last = time.monotonic()
        text = f"The department for {prompt} is motor."
        document: dict[str, Any] = {
            "id": f"cmpl-{prompt}",
            "object": "chat.completion",
            "created": 1,
            "model": "bench",
            "system_fingerprint": "fp_bench",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28},
        }
        if responses:
            part = {"type": "output_text", "text": text, "annotations": []}
            document = {
                "id": f"resp-{prompt}",
                "object": "response",
                "created_at": 1,
                "status": "completed",
                "model": "bench",
                "output": [
                    {
                        "id": "m",
                        "type": "message",
                        "role": "assistant",
                        "status": "completed",
                        "content": [part],
                    }
                ],
                "usage": {"input_tokens": 20, "output_tokens": 8, "total_tokens": 28},
            }
        self.send(200, document)

    def limited(self, kind: str) -> None:
        self.state.in_flight -= 1
        more = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n" if kind == "429 wait" else ""
        error = {"message": "Rate limit reached.", "code": "rate_limit_exceeded"}
        self.send(429, {"error": error}, more)

    def abort(self) -> None:
        self.state.in_flight -= 1
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def send(self, status: int, document: Any, more: str = "") -> None:
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {status} Reason\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    state = State()
    server = await loop.create_server(
        lambda: Connection(state, loop), "127.0.0.1", port, backlog=1024
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # it does not outlive a benchmark that was killed
        await asyncio.sleep(1)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))
