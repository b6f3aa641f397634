"""A silent change of numerics, end to end: KV cache to q4_0 on a real model, through the product.

    python -m benchmarks.detection.live_product [--kind kv_q4] [--data-dir DIR] [--keep --port 8000]

The demo's provider (llama.cpp, Gemma 3 270M, one name) is approved with its suites; log-probability
probes collect their baseline while suites are rerun beside them, which is the load; then the
provider switches its KV cache to q4_0 and tells nobody. The product runs as `govtrack up` starts
it: embedded servers, pages, Celery workers, beat. Only the pace differs: a baseline of minutes
instead of a week, and a round every few seconds instead of a day.

What it saw on stderr, and on the last line one JSON object. --data-dir keeps the data, for
`govtrack up --data-dir DIR`; --keep leaves the pages up until Ctrl-C. About six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from govtrack.demo.provider import KINDS

NAME = "live-product"
# A baseline of minutes and a round every few seconds cost more than the budget of a day.
PACE = {
    "GOVTRACK_TICK_SECONDS": "0.5",
    "GOVTRACK_SHARD_CASES": "6",
    "GOVTRACK_DB_CONN_MAX_AGE": "60",
    "GOVTRACK_PROBES": "1",
    "GOVTRACK_PROBE_TOKENS_A_DAY": "50000000",
}


def run(folder: Path, *, kind: str, keep: bool, port: int) -> int:
    from rich.console import Console

    from govtrack import stack
    from govtrack.commands.demo import _add_provider, _free_port
    from govtrack.embedded import EmbeddedStack
    from govtrack.supervisor import Supervisor

    began = time.monotonic()
    # On servers of its own, always: it must never touch a real database.
    for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SECRET_KEY"):
        os.environ.pop(name, None)
    console = Console(stderr=True, highlight=False)
    with EmbeddedStack(folder) as servers:
        env = stack.environment(
            folder, database_url=servers.database_url, redis_url=servers.redis_url
        )
        env.update(PACE)
        stack.migrate(env)
        with Supervisor(folder / "logs", say=console.print, ready_timeout=120) as supervisor:
            provider_port = _add_provider(supervisor, folder, env, console)
            port = port or _free_port()
            stack.add_product(supervisor, env=env, port=port)
            supervisor.start_all()
            os.environ.update(env)
            stack.load_django()
            from benchmarks.detection.live_story import Story
            from govtrack.demo.scenario import Setting

            setting = Setting(
                web=f"http://127.0.0.1:{port}",
                base_url=f"http://127.0.0.1:{provider_port}/v1",
                model="assistant-instant",
                api_key_env="",
                own_model=False,
                data_dir=folder,
                decide=False,
            )
            story = Story(setting, console, kind=kind)
            seen = story.play()
            minutes = round((time.monotonic() - began) / 60, 1)
            goals = [
                {"name": name, "goal": "yes", "value": held, "met": held}
                for name, held in story.expectations.items()
            ]
            results = {**seen, "kind": kind, "minutes": minutes}
            print(json.dumps({"benchmark": NAME, "results": results, "goals": goals}), flush=True)
            if keep:
                lead = story.world.people["lead"].email, story.world.passwords["lead"]
                console.print(f"Pages on port {port} until Ctrl-C: {lead[0]} {lead[1]}")
                supervisor.wait()
            return 0 if seen["ok"] else 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.live_product")
    parser.add_argument("--kind", choices=[k for k in KINDS if k != "baseline"], default="kv_q4")
    parser.add_argument("--data-dir", type=Path, help="keep the data there (default: thrown away)")
    parser.add_argument("--keep", action="store_true", help="leave the pages up until Ctrl-C")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.data_dir or Path(tempfile.mkdtemp(prefix="govtrack-live-"))
    try:
        status = run(folder.absolute(), kind=asked.kind, keep=asked.keep, port=asked.port)
    except KeyboardInterrupt:
        status = 130
    finally:
        if asked.data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
