"""A run watched in a real terminal (a pty), and Ctrl-C in it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.evaluations.models import Run, RunState
from apps.evaluations.services import start_run
from tests.fixtures.evaluations import make_revision
from tests.fixtures.live import live_db, live_template
from tests.world import build_world

__all__ = ["live_db", "live_template"]
ROOT = Path(__file__).resolve().parents[2]


class Terminal:
    """A command with a terminal of its own, where keys are typed and the screen is read."""

    def __init__(self, *command: object, env: dict[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        self.screen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "govtrack.cli", *map(str, command)],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_controlling,
        )
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def read(self, until: str = "", seconds: float = 60) -> str:
        """The screen up to `until`, or to the command's end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.text):
            if select.select([self.ours], [], [], 0.2)[0]:
                try:
                    self.screen += os.read(self.ours, 65536).decode(errors="replace")
                except OSError:  # the other end is closed: the command has ended
                    return self.text
        assert not until or until in self.text, f"{until!r} did not come:\n{self.text}"
        return self.text

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.screen).replace("\r", "")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self.ours)


def _controlling() -> None:
    """Ctrl-C reaches only those whose controlling terminal it is, and only where a shell that runs
    the tests in the background has not had it ignored."""
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(
    ("keys", "state", "said"),
    [
        ("\n", RunState.QUEUED, "The run goes on; watch it again with: govtrack run watch {}"),
        ("\x03", RunState.QUEUED, "The run goes on; watch it again with: govtrack run watch {}"),
        ("\x04", RunState.QUEUED, "The run goes on; watch it again with: govtrack run watch {}"),
        ("y\n", RunState.PAUSED, "The run is paused; go on with: govtrack run resume {}"),
    ],
    ids=["enter", "Ctrl-C again", "Ctrl-D", "yes"],
)
def test_ctrl_c_in_a_terminal_leaves_the_run_or_pauses_it_and_says_how_to_go_on(
    live_db: str, monkeypatch: pytest.MonkeyPatch, keys: str, state: RunState, said: str
) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    world = build_world()
    run = start_run(actor=world.owner, model_version=world.version, suite_revision=make_revision(4))
    terminal = Terminal(
        "run", "watch", run.pk, "--as", world.owner.email, env={"DATABASE_URL": live_db}
    )
    try:
        terminal.read(until="0/4")
        terminal.type("\x03")
        terminal.read(until="The run goes on by itself. Pause it? [y/N]:")
        time.sleep(0.3)  # as a person: Python's input() swallows what interrupts its first steps
        terminal.type(keys)
        screen = terminal.read()
        assert terminal.process.wait(10) == 130
    finally:
        terminal.close()

    assert screen.count(said.format(run.pk)) == 1
    assert "Traceback" not in screen
    assert Run.objects.get().state == state
