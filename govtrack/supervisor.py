"""Start, watch and stop the few processes of one machine (`govtrack up`, the demo).

Two parts in one file, standard library only, no Django:

* `Supervisor` starts named children in order, waits until each is ready, restarts one that
  dies (with backoff) and stops them all in reverse order.
* A *guard*, `python govtrack/supervisor.py --guard PPID … -- argv`, stands between the supervisor
  and every child. It sees the supervisor's death at once (end of file on a pipe, and a changed
  parent pid), takes over orphaned grandchildren (PR_SET_CHILD_SUBREAPER) and ends the whole
  family. The child in turn dies with its guard (PR_SET_PDEATHSIG), so `kill -9` of either leaves
  nothing behind, Celery's prefork children included.

Why not honcho: it ends everything as soon as one process ends, so there is no restart; it knows
no readiness, start order or log files; and it puts every child in a session of its own with
nobody watching, so `kill -9` of honcho leaves all of them running. systemd and supervisord do
more, but need an installation outside the virtual environment.

The guards work on any Unix; taking over grandchildren that left the process group is Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

_LINUX = sys.platform.startswith("linux")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

LOG_ROTATE_BYTES = 5 * 1024 * 1024
LOG_KEEP = 3
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 30.0  # a child that lived this long starts again from the shortest backoff
TAIL_AFTER_FAILURES = 3


def spawn_guarded(
    argv: Sequence[str],
    *,
    output: IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    grace: float = 2.0,
) -> subprocess.Popen[bytes]:
    """Start `argv` under a guard; returns the guard, whose exit status is the command's.

    SIGTERM to the guard sends `stop_signal` to the command, a second SIGTERM kills the family.
    `user` (only for root) drops to that user. `grace` is what the family gets when this process
    dies. Keep the returned object: its `stdin` is the line that tells the guard we are alive.
    """
    options = ["--guard", str(os.getpid()), str(int(stop_signal)), str(grace), user or ""]
    return subprocess.Popen(
        # -I -S: start in 20 ms, deaf to PYTHON* variables that are meant for the command.
        [sys.executable, "-I", "-S", os.path.abspath(__file__), *options, "--", *argv],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        cwd=cwd,
        start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone
    )


def stop_guarded(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Ask the command to stop; after `timeout` seconds kill it and all its descendants."""
    for patience in (timeout, 5.0):
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    if process.poll() is None:
        process.kill()
    status = process.wait()
    if status < 0:
        _kill_family(process.pid)  # somebody killed the guard, which could not do it
    if process.stdin:
        process.stdin.close()
    return status


def _stat_fields() -> Iterator[tuple[int, int, int, str]]:
    """(pid, parent pid, session id, state) of every process; nothing where /proc is not Linux's."""
    if not _LINUX:
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    rest = stat.read().rpartition(")")[2].split()
                yield int(entry), int(rest[1]), int(rest[3]), rest[0]


def _family(root: int) -> set[int]:
    """Living descendants of `root`, and members of the session that it leads, without itself."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for pid, parent, session, state in _stat_fields():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
            if session == root:
                found.add(pid)
    queue = [root, *found]
    while queue:
        fresh = set(children.get(queue.pop(), [])) - found
        found |= fresh
        queue += fresh
    return found - {root}


def _kill_family(root: int) -> None:
    """SIGKILL the family until nobody is left: new forks may appear in between."""
    deadline = time.monotonic() + 2.0
    while (pids := _family(root)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _exec_child(argv: list[str], user: str, guard: int) -> NoReturn:
    """In the fresh fork: drop privileges, tie our life to the guard's, become the command."""
    try:
        os.setpgid(0, 0)
        if user:
            import pwd

            entry = pwd.getpwnam(user)
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        # After setuid, which would clear it. The guard has one thread, so the "parent thread"
        # that PDEATHSIG watches is the guard itself.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(143)
        for number in (signal.SIGPIPE, *_STOP_SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        os.execvp(argv[0], argv)  # noqa: S606 (a list, no shell)
    except (OSError, KeyError) as error:
        os.write(2, f"cannot start {argv[0]}: {error}\n".encode())
    os._exit(127)


def _guard(argv: Sequence[str]) -> int:
    """The guard process; see the module's docstring."""
    _, parent, stop_signal, grace, user, _, *command = argv
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # the command reads nothing
    os.close(null)
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    terms = 0

    def count(signum: int, frame: FrameType | None) -> None:
        nonlocal terms
        terms += 1

    signal.set_wakeup_fd(wake_write)
    for number in _STOP_SIGNALS:
        signal.signal(number, count)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)

    # Blocked over the fork, or a signal could reach the child before it is the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    own_pid = os.getpid()
    child = os.fork()
    if child == 0:
        _exec_child(command, user, own_pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    asked = 0
    deadline: float | None = None
    watched = [lifeline, wake_read]
    status: int | None = None
    while status is None:
        readable, _, _ = select.select(watched, [], [], 0.1 if deadline else 1.0)
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
        # End of file tells at once; the parent's pid also covers a leaked copy of the pipe.
        if deadline is None and (lifeline in readable or os.getppid() != int(parent)):
            watched.remove(lifeline)
            deadline = time.monotonic() + float(grace)
            terms = max(terms, 1)
        while True:  # reap the command and any orphan that we took over
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                status = os.waitstatus_to_exitcode(code)
        if status is None and terms > asked:
            # Only the leader is asked: Celery's children must not be torn out of their tasks
            # while the leader shuts down warmly.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, int(stop_signal)) if not asked else os.killpg(child, signal.SIGKILL)
            asked = terms
        if deadline and time.monotonic() > deadline:
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    _kill_family(own_pid)
    return 137 if status is None else status if status >= 0 else 128 - status


class StartFailed(Exception):
    """A child ended or was not ready in time; the message holds the end of its log."""


@dataclass
class _Child:
    name: str
    argv: list[str]
    env: Mapping[str, str] | None
    restart: bool
    ready: Callable[[], bool] | None
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float | None = None  # when to start it again
    ended: bool = False


class Supervisor:
    """Run named children with logs in `log_dir`; use as a context manager to stop them surely."""

    def __init__(
        self, log_dir: Path, *, say: Callable[[str], None] = print, ready_timeout: float = 60.0
    ) -> None:
        self.log_dir = log_dir
        self._say = say
        self._ready_timeout = ready_timeout
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._monitor: threading.Thread | None = None
        self._old_handlers: dict[int, object] = {}

    def add(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        restart: bool = True,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        """Add a child; `env=None` inherits ours, `ready` is polled until it returns true."""
        if any(child.name == name for child in self._children):
            raise ValueError(f"a child named {name!r} was added before")
        log = self.log_dir / f"{name}.log"
        self._children.append(_Child(name, list(argv), env, restart, ready, log))

    def start_all(self) -> None:
        """Start the children in order, each ready before the next; StartFailed if one is not.

        From here on SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread like Ctrl-C.
        """
        self.log_dir.mkdir(parents=True, exist_ok=True)
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                self._old_handlers[number] = signal.signal(number, signal.default_int_handler)
        for child in self._children:
            rotate(child.log)
            with self._lock:
                self._spawn(child)
            self._await_ready(child)
        self._monitor = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._monitor.start()

    def wait(self) -> None:
        """Return on SIGINT, SIGTERM or SIGHUP."""
        with contextlib.suppress(KeyboardInterrupt):
            while not self._stopping.wait(0.5):
                pass

    def stop_all(self, timeout: float = 10.0) -> None:
        """Stop all at once: each gets SIGTERM and `timeout` seconds, then its family dies."""
        self._stopping.set()
        if self._monitor is not None and self._monitor is not threading.current_thread():
            self._monitor.join()
        from concurrent.futures import ThreadPoolExecutor  # the guards start without it

        running = [child.process for child in self._children if child.process is not None]
        with ThreadPoolExecutor(max(1, len(running))) as pool:
            list(pool.map(lambda process: stop_guarded(process, timeout), running))
        for child in self._children:
            child.process = None
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._old_handlers.clear()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop_all()

    def _spawn(self, child: _Child) -> None:
        with child.log.open("ab") as output:
            child.process = spawn_guarded(child.argv, output=output, env=child.env)
        child.started = time.monotonic()
        child.due = None

    def _await_ready(self, child: _Child) -> None:
        deadline = time.monotonic() + self._ready_timeout
        why = ""
        while child.ready is not None:
            try:
                if child.ready():
                    return
            except Exception as error:  # a probe fails in many ways while its server starts
                why = f" ({error})"
            if child.process is not None and (status := child.process.poll()) is not None:
                raise StartFailed(
                    f"{child.name} ended with status {status} at start.\n{tail(child.log)}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{child.name} was not ready after {self._ready_timeout:g} s{why}; "
                    f"its log is {child.log}.\n{tail(child.log)}"
                )
            time.sleep(0.05)

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            for child in self._children:
                with self._lock:
                    self._look_after(child)

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.due is not None:
            if now >= child.due:
                self._spawn(child)
            return
        if child.ended or child.process is None or (status := child.process.poll()) is None:
            return
        stop_guarded(child.process, 0)  # reap, and sweep what outlived a killed guard
        if not child.restart:
            child.ended = True
            self._say(f"{child.name} ended with status {status} (log: {child.log}).")
            return
        child.failures = 1 if now - child.started > STEADY_SECONDS else child.failures + 1
        pause = BACKOFF_SECONDS[min(child.failures, len(BACKOFF_SECONDS)) - 1]
        child.due = now + pause
        self._say(
            f"{child.name} ended with status {status}; starting it again in {pause:g} s "
            f"(log: {child.log})."
        )
        if child.failures >= TAIL_AFTER_FAILURES:
            self._say(f"The last lines of its log:\n{tail(child.log)}")


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, indented; says so when there are none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            text = log.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"  {line}" for line in text) or "  (its log is empty)"


def rotate(log: Path) -> None:
    if not log.exists() or log.stat().st_size < LOG_ROTATE_BYTES:
        return
    for number in range(LOG_KEEP, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        if newer.exists():
            newer.replace(older)


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
