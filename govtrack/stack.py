"""The whole product on one machine: servers, migrations, web, worker and beat, under one roof.

Django is imported late: settings read the environment that `environment()` fills.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from govtrack.embedded import EmbeddedStack, running_stack
from govtrack.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA_DIR = Path(".govtrack")
DEFAULT_PORT = 8000


class PortTaken(Exception):
    """Another program listens on the web port."""


def environment(data_dir: Path, *, database_url: str, redis_url: str) -> dict[str, str]:
    """Variables for every process of the stack. Keys are made once and kept in the data directory,
    readable by the owner only; what the caller's environment sets wins."""
    made = {
        "DJANGO_SETTINGS_MODULE": "govtrack.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": _kept(data_dir / "secret-key", lambda: secrets.token_urlsafe(64)),
        "GOVTRACK_ENCRYPTION_KEY": _kept(data_dir / "encryption-key", _fernet_key),
        "GOVTRACK_HTTPS": "0",
        "GOVTRACK_BEAT_FILE": str(data_dir / "beat-schedule"),
        "GOVTRACK_CREDENTIALS_DIR": str(data_dir / "credentials"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return {**made, **{k: v for k, v in os.environ.items() if v}}


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _kept(path: Path, make: Callable[[], str]) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        value = make()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        return value


def servers(data_dir: Path) -> AbstractContextManager[EmbeddedStack | None]:
    """The embedded servers, or nothing to start where both addresses are given."""
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return nullcontext()
    return EmbeddedStack(data_dir)


def addresses(stack: EmbeddedStack | None) -> tuple[str, str]:
    database = os.environ.get("DATABASE_URL") or (stack.database_url if stack else "")
    redis = os.environ.get("REDIS_URL") or (stack.redis_url if stack else "")
    return database, redis


def use_running(data_dir: Path) -> None:
    """Point this process at the running stack (or the given addresses) and load Django.

    Raises RuntimeError, with what to do, when there is neither.
    """
    if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        info = running_stack(data_dir)
        if info is None:
            raise RuntimeError(
                f"Nothing runs on {data_dir}. Start it with `govtrack up` in another terminal, "
                "name its directory with --data-dir, or set DATABASE_URL and REDIS_URL."
            )
        os.environ.update(
            environment(data_dir, database_url=info.database_url, redis_url=info.redis_url)
        )
    load_django()


def load_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
    os.environ.setdefault("GOVTRACK_LOG_LEVEL", "WARNING")
    import django

    django.setup()
    import govtrack.celery  # noqa: F401  (else tasks would be sent to the default broker)


def migrate(env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "-v", "0"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The database could not be migrated:\n{done.stderr[-2000:]}")


def check_port(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(
                f"Port {port} is taken by another program. Choose another: --port {port + 1} "
                f"(make: PORT={port + 1})."
            ) from error


def add_product(
    supervisor: Supervisor, *, env: dict[str, str], port: int, workers: int = 2
) -> None:
    """Web, workers and beat, in that order.

    Runs have workers of their own: a session of calls lasts many seconds, and the short steps that
    follow a run (compare, open a ticket, hold the gate) must not wait for it.
    """
    supervisor.add(
        "web",
        web_command(port),
        env={**env, "GOVTRACK_PROCESS": "govtrack-web"},
        ready=lambda: answers(f"http://127.0.0.1:{port}/readyz"),
    )
    for name, argv in celery_commands(env, workers=workers).items():
        supervisor.add(name, argv, env={**env, "GOVTRACK_PROCESS": f"govtrack-{name}"})


def web_command(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "govtrack.wsgi:application"),
        *("--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4"),
        *("--chdir", str(ROOT), "--no-control-socket"),
    ]


def celery_commands(env: Mapping[str, str], *, workers: int = 2) -> dict[str, list[str]]:
    """The command lines of worker, runner and beat, by name.

    The runner loads the HTTP client before it forks: the first run need not wait for that, and
    its processes share the memory.
    """
    celery = [sys.executable, "-m", "celery", "--workdir", str(ROOT), "-A", "govtrack"]
    found = {}
    for name, queue, processes in (("worker", "default", 1), ("runner", "evaluations", workers)):
        found[name] = [
            *celery,
            *("worker", "-Q", queue, "-P", "prefork", "-c", str(processes)),
            *("--without-gossip", "--without-mingle", "-n", f"{name}@%h", "-l", "INFO"),
            *(("-I", "apps.evaluations.runner.loop") if name == "runner" else ()),
        ]
    found["beat"] = [*celery, "beat", "-l", "INFO", "-s", env["GOVTRACK_BEAT_FILE"], "--pidfile="]
    return found


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
