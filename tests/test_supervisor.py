"""The supervisor: order, restarts, and nobody left behind whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from govtrack import supervisor as module
from govtrack.supervisor import StartFailed, Supervisor, spawn_guarded, stop_guarded

ROOT = Path(module.__file__).parents[1]

# Writes its pid, then starts a child, and one more that leaves the process group and session.
FAMILY = """
import os, subprocess, sys, time
folder = sys.argv[1]
def note(name, pid):
    with open(f"{folder}/.{name}", "w") as file:
        file.write(str(pid))
    os.rename(f"{folder}/.{name}", f"{folder}/{name}")
note("grandchild", subprocess.Popen(["sleep", "600"]).pid)
note("runaway", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
note("child", os.getpid())
time.sleep(600)
"""

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FAMILY


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def family(folder: Path) -> list[int]:
    """The pids of a FAMILY once it is complete."""
    assert eventually((folder / "child").exists), "the family never came up"
    return [int((folder / name).read_text()) for name in ("child", "grandchild", "runaway")]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path, said):
    with Supervisor(tmp_path / "logs", say=said.append, ready_timeout=10) as running:
        yield running


def test_children_start_in_order_and_each_is_ready_before_the_next(supervisor, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    supervisor.add(
        "slow",
        python("import sys,time; time.sleep(0.3); open(sys.argv[1],'w'); time.sleep(99)", first),
        ready=first.exists,
    )
    supervisor.add(
        "next",
        python(
            "import os,sys; open(sys.argv[2],'w').write(str(os.path.exists(sys.argv[1])))",
            first,
            second,
        ),
        restart=False,
    )
    supervisor.start_all()
    assert eventually(lambda: second.exists() and second.read_text() == "True")


def test_a_child_that_ends_at_start_is_reported_with_the_end_of_its_log(supervisor):
    supervisor.add(
        "broken", python("print('no such table'); raise SystemExit(3)"), ready=lambda: False
    )
    with pytest.raises(StartFailed, match=r"(?s)broken ended with status 3 .*no such table"):
        supervisor.start_all()


def test_a_child_that_never_becomes_ready_is_reported_with_the_reason(tmp_path):
    def refuse() -> bool:
        raise ConnectionError("connection refused")

    with Supervisor(tmp_path, ready_timeout=0.3) as running:
        running.add("deaf", python("import time; time.sleep(99)"), ready=refuse)
        with pytest.raises(StartFailed, match=r"not ready after 0\.3 s \(connection refused\)"):
            running.start_all()


def test_a_program_that_does_not_exist_is_named(supervisor, tmp_path):
    supervisor.add("ghost", ["/no/such/program"], ready=lambda: False)
    with pytest.raises(StartFailed, match=r"cannot start /no/such/program: .*No such file"):
        supervisor.start_all()


def test_two_children_of_one_name_are_refused(supervisor):
    supervisor.add("web", ["true"])
    with pytest.raises(ValueError, match="'web' was added before"):
        supervisor.add("web", ["true"])


def test_a_killed_child_is_started_again(supervisor, tmp_path, said):
    supervisor.add("worker", python(FAMILY, tmp_path))
    supervisor.start_all()
    first = family(tmp_path)
    (tmp_path / "child").unlink()
    os.kill(first[0], signal.SIGKILL)
    second = family(tmp_path)
    assert second[0] != first[0]
    assert not any(alive(pid) for pid in first), "the first family is gone as a whole"
    assert "worker ended with status 137; starting it again in 0.5 s" in said[0]


def test_a_child_that_fails_again_and_again_shows_its_last_lines(supervisor, said, monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_SECONDS", (0.05, 0.1))
    supervisor.add("beat", python("print('clock is wrong'); raise SystemExit(1)"))
    supervisor.start_all()
    assert eventually(lambda: any("clock is wrong" in line for line in said))
    assert sum("starting it again in 0.1 s" in line for line in said) >= 1, "the pause grows"


def test_a_child_that_may_end_is_not_started_again(supervisor, said):
    supervisor.add("once", python("pass"), restart=False)
    supervisor.start_all()
    assert eventually(lambda: bool(said))
    time.sleep(0.5)
    assert len(said) == 1
    assert said[0].startswith("once ended with status 0")


def test_children_are_stopped_at_once_so_that_slow_ones_do_not_add_up(supervisor, tmp_path):
    for name in ("worker", "web", "beat"):
        ready = tmp_path / name
        code = (
            "import signal,sys,time\n"
            "def end(*_):\n"
            "    time.sleep(3); sys.exit()\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "open(sys.argv[1],'w')\n"
            "time.sleep(99)"
        )
        supervisor.add(name, python(code, ready), ready=ready.exists)
    supervisor.start_all()
    began = time.monotonic()
    supervisor.stop_all()
    assert 3 <= time.monotonic() - began < 8.5  # one after the other would take 9


def test_a_child_deaf_to_sigterm_is_killed_with_its_whole_family(supervisor, tmp_path):
    supervisor.add("deaf", python(STUBBORN, tmp_path))
    supervisor.start_all()
    pids = family(tmp_path)
    began = time.monotonic()
    supervisor.stop_all(timeout=0.3)
    assert time.monotonic() - began < 20
    assert not any(alive(pid) for pid in pids)


def test_each_child_gets_its_environment_and_no_terminal(supervisor, tmp_path):
    code = "import os,sys; print(os.environ['COLOUR'], sys.stdin.read() == '', flush=True)"
    supervisor.add("child", python(code), env={"COLOUR": "green"}, restart=False)
    supervisor.start_all()
    log = tmp_path / "logs" / "child.log"
    assert eventually(lambda: log.read_text() == "green True\n")


def test_a_long_log_is_rotated_at_start(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOG_ROTATE_BYTES", 100)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "web.log").write_text("x" * 200)
    (logs / "web.log.1").write_text("older")
    supervisor.add("web", python("print('fresh')"), restart=False)
    supervisor.start_all()
    assert eventually(lambda: (logs / "web.log").read_text() == "fresh\n")
    assert (logs / "web.log.1").read_text() == "x" * 200
    assert (logs / "web.log.2").read_text() == "older"


def test_the_exit_status_of_a_command_is_the_guards(tmp_path):
    with (tmp_path / "log").open("wb") as output:
        assert spawn_guarded(python("raise SystemExit(7)"), output=output).wait(10) == 7
        quiet = spawn_guarded(python(FAMILY, tmp_path), output=output)
        family(tmp_path)
        assert stop_guarded(quiet, 5) == 128 + signal.SIGTERM


MAIN = """
import sys
from pathlib import Path
from govtrack.supervisor import Supervisor
folder = Path(sys.argv[1])
with Supervisor(folder / "logs") as running:
    running.add("worker", [sys.executable, "-c", sys.argv[2], str(folder)])
    running.start_all()
    running.wait()
print("stopped cleanly")
"""


def start_main(folder: Path, code: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", MAIN, str(folder), code]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.faults
@pytest.mark.parametrize("code", [FAMILY, STUBBORN], ids=["polite", "deaf"])
def test_kill_9_of_the_supervisor_leaves_no_child_and_no_grandchild_alive(tmp_path, code):
    main = start_main(tmp_path, code)
    pids = family(tmp_path)
    main.kill()
    main.communicate()
    assert eventually(lambda: not any(alive(pid) for pid in pids), 5.0)


@pytest.mark.faults
def test_kill_9_of_a_guard_ends_its_family_and_a_new_one_is_started(supervisor, tmp_path):
    supervisor.add("worker", python(FAMILY, tmp_path))
    supervisor.start_all()
    pids = family(tmp_path)
    (tmp_path / "child").unlink()
    guard = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    child, grandchild, runaway = pids
    assert eventually(lambda: not alive(child) and not alive(grandchild), 5.0)
    assert family(tmp_path)[0] != child
    os.kill(runaway, signal.SIGKILL)  # left group and session, and its guard is dead: nobody knows


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_stops_everything_cleanly(tmp_path, number):
    main = start_main(tmp_path, FAMILY)
    pids = family(tmp_path)
    main.send_signal(number)
    output, _ = main.communicate(timeout=10)
    assert output == "stopped cleanly\n"
    assert main.returncode == 0
    assert not any(alive(pid) for pid in pids)
