"""The tools beside which GovTrack is measured, each run as its documentation says.

They are installed from npm and pip into a cache folder the first time (`--peers-dir`), at pinned
versions; where that fails the table says so and goes on without them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from benchmarks.engine.control import ROOT, Provider, Variant, prompt, question

PROMPTFOO, NODE, INSPECT = "0.123.0", "22", "0.3.285"
INSTALL_SECONDS = 600
RUN_SECONDS = 240


class NotInstalled(Exception):
    """The peer cannot be had here; the message says why."""


class Peer(ABC):
    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self) -> None:  # noqa: B027
        """Make sure that it is there. Raises NotInstalled."""

    @abstractmethod
    def command(self, provider: Provider, variant: Variant, cases: int, work: Path) -> list[str]:
        """The command line that evaluates all cases; `work` is an empty folder for its files."""

    def check(self, work: Path, cases: int) -> None:  # noqa: B027
        """Raise RuntimeError where an answer is missing."""

    def environment(self, work: Path) -> dict[str, str]:
        return dict(os.environ)

    def measure(self, provider: Provider, variant: Variant, cases: int) -> dict[str, float]:
        work = Path(tempfile.mkdtemp(prefix="govtrack-peer-"))
        try:
            argv = self.command(provider, variant, cases, work)
            provider.prepare(variant)
            with (work / "output.log").open("wb") as output:
                started = time.monotonic()
                process = subprocess.Popen(
                    argv,
                    cwd=work if self.name != "bare AsyncOpenAI loop" else ROOT,
                    env=self.environment(work),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                status, cpu, mb = _wait(process, RUN_SECONDS)
                wall = time.monotonic() - started
            stats = provider.stats()
            if status != 0:
                tail = (work / "output.log").read_text(errors="replace")[-600:]
                raise RuntimeError(f"{self.name} ended with status {status}: {tail}")
            self.check(work, cases)
            return {
                "wall": wall,
                "span": stats["last"] - stats["first"],
                "first": stats["first"] - started,
                "cpu": cpu,
                "mb": mb,
                "repeated": stats["repeated"],
                "peak": stats["peak"],
                "missing": cases - stats["answered"],
            }
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[int, float, float]:
    """Status, CPU seconds and peak memory in MB of the process and the children it waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu = usage.ru_utime + usage.ru_stime
            return process.returncode, cpu, usage.ru_maxrss * 1024 / 1e6
        time.sleep(0.005)
    os.killpg(process.pid, 9)
    process.wait()
    raise RuntimeError(f"no end after {seconds:g} seconds")


class Bare(Peer):
    name = "bare AsyncOpenAI loop"

    def command(self, provider: Provider, variant: Variant, cases: int, work: Path) -> list[str]:
        arguments = [provider.url, str(variant.concurrency), str(cases)]
        return [sys.executable, "-m", "benchmarks.engine.bare", *arguments]


class Promptfoo(Peer):
    name = f"promptfoo {PROMPTFOO}"

    @property
    def node(self) -> Path:
        """Node of npm's `node` package: promptfoo asks for 22.22 or newer."""
        return self.folder / "npm" / "node_modules" / "node" / "bin" / "node"

    @property
    def script(self) -> Path:
        home = self.folder / "npm" / "node_modules" / "promptfoo"
        binary: Any = json.loads((home / "package.json").read_text())["bin"]
        return home / (binary if isinstance(binary, str) else binary["promptfoo"])

    def install(self) -> None:
        home = self.folder / "npm"
        if not (home / ".installed").exists():
            if shutil.which("npm") is None:
                raise NotInstalled("npm is not here")
            home.mkdir(parents=True, exist_ok=True)
            _install(
                [
                    *("npm", "install", "--no-audit", "--no-fund", "--loglevel=error"),
                    *("--prefix", ".", f"promptfoo@{PROMPTFOO}", f"node@{NODE}"),
                ],
                home,
            )
            (home / ".installed").touch()
        if not self.node.exists():
            raise NotInstalled("npm's `node` package brought no binary for this machine")

    def command(self, provider: Provider, variant: Variant, cases: int, work: Path) -> list[str]:
        document = {
            "prompts": ["Claim {{id}}: which department? Answer with one word."],
            "providers": [
                {
                    "id": "openai:chat:bench",
                    "config": {"apiBaseUrl": provider.url, "apiKey": "none"},
                }
            ],
            "tests": [
                {"vars": {"id": prompt(i)}, "assert": [{"type": "icontains", "value": "motor"}]}
                for i in range(cases)
            ],
        }
        (work / "promptfooconfig.json").write_text(json.dumps(document))
        return [
            *(str(self.node), str(self.script), "eval", "-c", "promptfooconfig.json"),
            *("--no-cache", "-j", str(variant.concurrency), "--no-table", "--no-progress-bar"),
            *("-o", "out.json"),
        ]

    def environment(self, work: Path) -> dict[str, str]:
        quiet = ("TELEMETRY", "UPDATE", "REMOTE_GENERATION", "SHARING")
        return {
            **os.environ,
            **{f"PROMPTFOO_DISABLE_{name}": "1" for name in quiet},
            "PROMPTFOO_CONFIG_DIR": str(work / "home"),
            "PROMPTFOO_PASS_RATE_THRESHOLD": "0",
        }

    def check(self, work: Path, cases: int) -> None:
        results = json.loads((work / "out.json").read_text())["results"]["results"]
        answered = sum(bool((r.get("response") or {}).get("output")) for r in results)
        if answered < cases * 0.9:
            raise RuntimeError(f"{answered} of {cases} answered")


class Inspect(Peer):
    name = f"Inspect {INSPECT}"

    @property
    def binary(self) -> Path:
        return self.folder / "inspect" / "bin" / "inspect"

    def install(self) -> None:
        home = self.folder / "inspect"
        if (home / ".installed").exists():
            return
        _install([sys.executable, "-m", "venv", str(home)], self.folder)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _install([*pip, f"inspect-ai=={INSPECT}", "openai"], self.folder)
        (home / ".installed").touch()

    def command(self, provider: Provider, variant: Variant, cases: int, work: Path) -> list[str]:
        lines = [
            json.dumps({"id": prompt(i), "input": question(i), "target": "motor"})
            for i in range(cases)
        ]
        (work / "cases.jsonl").write_text("\n".join(lines))
        (work / "bench.py").write_text(
            "from inspect_ai import Task, task\n"
            "from inspect_ai.dataset import json_dataset\n"
            "from inspect_ai.scorer import includes\n"
            "from inspect_ai.solver import generate\n"
            "@task\ndef bench():\n"
            "    return Task(dataset=json_dataset('cases.jsonl'), solver=generate(),"
            " scorer=includes())\n"
        )
        # Its own defaults allow 10 connections; retries are its own.
        return [
            *(str(self.binary), "eval", "bench.py", "--model", "openai/bench"),
            *("--model-base-url", provider.url, "-M", "responses_api=false"),
            *("--max-connections", str(variant.concurrency), "--display", "none"),
            *("--max-samples", str(variant.concurrency * 2), "--log-dir", str(work / "logs")),
        ]

    def environment(self, work: Path) -> dict[str, str]:
        return {**os.environ, "OPENAI_API_KEY": "none", "PYTHONPATH": ""}


def _install(argv: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{Path(argv[0]).name}: {type(error).__name__}") from None
    if done.returncode:
        raise NotInstalled(f"{Path(argv[0]).name}: {(done.stderr or done.stdout).strip()[-200:]}")
