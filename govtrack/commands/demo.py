"""`govtrack demo`: the whole story on a real model, live, or headless with --check."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from govtrack import stack
from govtrack.commands.common import err, fail, sentences
from govtrack.embedded import EmbeddedError, EmbeddedStack
from govtrack.supervisor import StartFailed, Supervisor, tail

DEMO_DIR = Path(".govtrack-demo")
# Quicker than in production, so that a person can watch: ticks, leases.
PACE = {
    "GOVTRACK_TICK_SECONDS": "0.5",
    "GOVTRACK_LEASE_SECONDS": "15",
    "GOVTRACK_SHARD_CASES": "6",
    "GOVTRACK_DB_CONN_MAX_AGE": "60",
    # Probes collect their baseline over a week; the demo lasts minutes.
    "GOVTRACK_PROBES": "0",
}


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Headless; ends by itself; status 0 if all held.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the pages.")] = stack.DEFAULT_PORT,
    data_dir: Annotated[Path, typer.Option(help="Where the demo's data lives.")] = DEMO_DIR,
    base_url: Annotated[str, typer.Option(help="Your own OpenAI-compatible endpoint.")] = "",
    model: Annotated[str, typer.Option(help="Its model name.")] = "",
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds its API key.")
    ] = "",
) -> None:
    """Play the story: baseline, approval, quiet reruns, a silent change, a ticket, a decision.

    The demo's data is thrown away at its end. Use `govtrack up` for real work.
    """
    if bool(base_url) != bool(model):
        fail("base_url and model go together.", remedy="make demo BASE_URL=… MODEL=…")
    if api_key_env and not os.environ.get(api_key_env):
        fail(f"api_key_env: the environment variable {api_key_env} is empty.")
    if check:
        data_dir, port = Path(tempfile.mkdtemp(prefix="govtrack-demo-")), _free_port()
    console = Console(stderr=check, highlight=False)
    status = 1
    try:
        if not check:
            stack.check_port(port)
        # The demo always runs on servers of its own: it must never touch a real database.
        for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
            os.environ.pop(name, None)
        status = _play(data_dir.absolute(), port, console, check, base_url, model, api_key_env)
    except (EmbeddedError, StartFailed, stack.PortTaken, RuntimeError) as error:
        if check and (data_dir / "logs").is_dir():
            for log in sorted((data_dir / "logs").glob("*.log")):
                err.print(f"--- {log.name}\n{tail(log, 15)}", markup=False)
        fail(str(error))
    except KeyboardInterrupt:
        console.print("Stopped.")
        status = 0
    finally:
        if check:
            shutil.rmtree(data_dir, ignore_errors=True)
    raise typer.Exit(status)


def _play(
    data_dir: Path,
    port: int,
    console: Console,
    check: bool,
    base_url: str,
    model: str,
    api_key_env: str,
) -> int:
    began = time.monotonic()
    with EmbeddedStack(data_dir, ephemeral=True) as servers:
        console.print("[bold]GovTrack demo[/bold]: starting PostgreSQL, Valkey, web, worker …")
        env = stack.environment(
            data_dir, database_url=servers.database_url, redis_url=servers.redis_url
        )
        env.update(PACE)
        stack.migrate(env)
        with Supervisor(data_dir / "logs", say=console.print, ready_timeout=90) as supervisor:
            provider_port = 0
            if not base_url:
                provider_port = _add_provider(supervisor, data_dir, env, console)
            stack.add_product(supervisor, env=env, port=port)
            supervisor.start_all()
            os.environ.update(env)
            stack.load_django()
            from govtrack.demo.scenario import Scenario, Setting

            scenario = Scenario(
                Setting(
                    web=f"http://127.0.0.1:{port}",
                    base_url=base_url or f"http://127.0.0.1:{provider_port}/v1",
                    model=model or "assistant-instant",
                    api_key_env=api_key_env,
                    own_model=bool(base_url),
                    data_dir=data_dir,
                    decide=check,
                ),
                console,
            )
            scenario.seconds["start"] = round(time.monotonic() - began, 1)
            try:
                with sentences():
                    seen = scenario.play()
            except KeyboardInterrupt:
                console.print("\nStopping …")
                raise
            if check:
                seen["seconds"]["total"] = round(time.monotonic() - began, 1)
                print(json.dumps(seen), flush=True)
                return 0 if seen["ok"] else 1
            supervisor.wait()
            console.print("\nStopping …")
            return 0


def _add_provider(
    supervisor: Supervisor, data_dir: Path, env: dict[str, str], console: Console
) -> int:
    from govtrack.demo import provider

    console.print(f"The demo model: {provider.TERMS}.", soft_wrap=True)
    provider.model_file(data_dir)
    port = _free_port()
    url = f"http://127.0.0.1:{port}/v1"
    supervisor.add(
        "provider",
        provider.provider_argv(data_dir, port),
        env=env,
        ready=lambda: provider.is_ready(url),
    )
    return port


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
