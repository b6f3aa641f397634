"""PostgreSQL and Valkey of one test alone, so that it may stop them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from govtrack import embedded
from govtrack.embedded_host import packages, reachable_copy, system_owner
from govtrack.supervisor import stop_guarded

ROOT = Path(__file__).resolve().parents[2]


class Servers:
    def __init__(self, folder: Path) -> None:
        # A commit is to outlive the server, as in production; tests elsewhere do without.
        embedded._EPHEMERAL["synchronous_commit"] = "on"
        self.stack = embedded.EmbeddedStack(folder, ephemeral=True)
        self.stack.start()
        env = {
            **os.environ,
            "DATABASE_URL": self.stack.database_url,
            "REDIS_URL": self.stack.redis_url,
        }
        command = [sys.executable, "manage.py", "migrate", "-v", "0"]
        subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=170)

    def stop(self) -> None:
        embedded._EPHEMERAL["synchronous_commit"] = "off"
        self.stack.stop()

    def restart(self, name: str, *, down_seconds: float) -> None:
        """End the server at once, as in a crash (PostgreSQL recovers from its log), and start it on
        the same port."""
        owner = system_owner()
        homes = packages()
        postgres, valkey = (reachable_copy(package, owner) for package in homes)
        stop_guarded(self.stack._servers.pop(name), 20.0)
        time.sleep(down_seconds)
        folder = (self.stack.data_dir / name).resolve()
        password = self.stack._passwords()[name]
        if name == "postgres":
            self.stack._start_postgres(postgres / "pginstall", folder, owner, password)
        else:
            server = next(valkey.glob("_binaries/*/valkey-server"), valkey / "valkey-server")
            self.stack._start_valkey(server, folder, owner, password)

    @contextmanager
    def database(self, blocker: Any) -> Iterator[str]:
        """A fresh clone that this process uses meanwhile (its URL)."""
        url = self.stack.database_url
        name = f"live_{uuid.uuid4().hex[:10]}"
        base = url.rpartition("/")[0]
        with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE govtrack')  # type: ignore[arg-type]
        parts = psycopg.conninfo.conninfo_to_dict(f"{base}/{name}")
        settings = connection.settings_dict
        usual = dict(settings)
        with blocker.unblock():
            connection.close()
            settings.update(
                NAME=name,
                USER=parts["user"],
                PASSWORD=parts["password"],
                HOST=parts["host"],
                PORT=parts["port"],
            )
            try:
                yield f"{base}/{name}"
            finally:
                connection.close()
                settings.update(usual)
