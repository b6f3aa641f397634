"""Whatever dies, every slot gets exactly one answer, and no stored answer is asked for again.

Real Celery processes (beat, a worker for short steps, two for calls), a real broker and database,
and an endpoint with lognormal latency that fails a tenth of its calls by a seeded plan: 429 with
and without Retry-After, 500, 502, 503, resets before and in the middle of the body, cut, malformed
and empty bodies, time-outs, drips and doubled answers.

`make test` goes through several faults in one small run. `make faults` (GOVTRACK_FAULT_SLOTS=2000)
gives each fault a run of its own and prints the table of docs/operations.md.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.access.services import create_token
from apps.core import clock
from tests.faults import clocks, plans
from tests.faults.private import Servers
from tests.faults.stack import Stack
from tests.faults.trial import LARGE, Row, Trial
from tests.fixtures.evaluations import make_owner
from tests.fixtures.provider import Control

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600 if LARGE else 170)]
Fault = Callable[[Trial], None]
needs_compiler = pytest.mark.skipif(clocks.compiler() is None, reason="needs a C compiler")
alone = pytest.mark.skipif(not LARGE, reason="each fault alone: make faults")
together = pytest.mark.skipif(LARGE, reason="each fault has a run of its own")


def survive(trial: Trial, *faults: Fault) -> Row:
    """Through the faults one after the other, from a fifth of the run on."""
    if trial.run is None:
        trial.start()
    for number, fault in enumerate(faults):
        trial.reach(0.2 + 0.5 * number / len(faults) if len(faults) > 1 else 0.4)
        fault(trial)
    row = trial.finish()
    if path := os.environ.get("GOVTRACK_FAULT_ROWS"):
        with Path(path).open("a") as table:
            table.write(json.dumps(asdict(row)) + "\n")
    return row


def full_disks(trial: Trial) -> None:
    with connection.cursor() as cursor:
        cursor.execute(plans.DISK_FULL)


def moved_clocks(trial: Trial) -> None:
    """From here on every process has a clock of its own that can be set. The first runner's file
    comes first by name."""
    stack = trial.stack
    stack.clock = stack.folder / "clock-b"
    stack.clock.write_text("0")

    def first_runner() -> Any:
        usual, stack.clock = stack.clock, stack.folder / "clock-a"
        stack.clock.write_text("0")
        stack.runner = runner  # type: ignore[method-assign]
        try:
            return runner()
        finally:
            stack.clock = usual

    runner = stack.runner
    stack.runner = first_runner  # type: ignore[method-assign]


def a_token() -> str:
    user = make_owner()
    expires_at = clock.now() + dt.timedelta(hours=1)
    scopes = ["read", "write", "run"]
    return create_token(actor=user, user=user, name="faults", scopes=scopes, expires_at=expires_at)[
        1
    ]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("servers"))
    yield made
    made.stop()


@pytest.fixture
def private_stack(
    servers: Servers, tmp_path: Path, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    with servers.database(django_db_blocker) as url:
        running = Stack(url, servers.stack.redis_url, tmp_path)
        try:
            yield running
        finally:
            running.stop()


@together
def test_a_run_survives_the_death_of_every_kind_of_process(provider: Control, stack: Stack) -> None:
    trial = Trial("processes", stack, provider, slower=3)
    plans.web_killed(trial, a_token())
    survive(
        trial,
        plans.worker_killed,
        plans.beat_killed,
        plans.worker_stopped_beyond_its_lease,
        plans.all_workers_killed,
    )


@together
def test_a_run_survives_doubled_and_lost_messages_and_a_full_disk(
    provider: Control, stack: Stack
) -> None:
    stack.application = "tests.faults.doubled"
    trial = Trial("messages", stack, provider, slower=1.5)
    full_disks(trial)
    survive(trial, plans.two_beats, plans.broker_flushed, plans.disk_full)


@together
def test_a_run_survives_a_restart_of_its_database_and_of_its_broker(
    provider: Control, private_stack: Stack, servers: Servers
) -> None:
    trial = Trial("servers", private_stack, provider, slower=1.5)
    survive(
        trial,
        lambda t: plans.postgres_restarted(t, servers),
        lambda t: plans.broker_restarted(t, servers),
    )


@needs_compiler
@together
def test_a_run_survives_clocks_that_are_wrong_by_an_hour(provider: Control, stack: Stack) -> None:
    trial = Trial("clocks", stack, provider)
    moved_clocks(trial)
    survive(trial, plans.clocks_moved)


@alone
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("the endpoint's faults alone", plans.nothing),
        ("SIGKILL of a worker", plans.worker_killed),
        ("SIGKILL of all workers", plans.all_workers_killed),
        ("SIGKILL of beat", plans.beat_killed),
        ("SIGSTOP beyond the lease, SIGCONT", plans.worker_stopped_beyond_its_lease),
        ("broker flushed", plans.broker_flushed),
        ("two beats", plans.two_beats),
    ],
)
def test_alone(name: str, fault: Fault, provider: Control, stack: Stack) -> None:
    survive(Trial(name, stack, provider), fault)


@alone
def test_alone_a_killed_web_process(provider: Control, stack: Stack) -> None:
    trial = Trial("SIGKILL of web, at the start and later", stack, provider)
    plans.web_killed(trial, a_token())
    survive(trial)


@alone
def test_alone_every_message_twice(provider: Control, stack: Stack) -> None:
    stack.application = "tests.faults.doubled"
    survive(Trial("every task delivered twice", stack, provider), plans.nothing)


@alone
def test_alone_a_full_disk(provider: Control, stack: Stack) -> None:
    trial = Trial("disk full for 6 s (SQLSTATE 53100)", stack, provider)
    full_disks(trial)
    survive(trial, plans.disk_full)


@alone
@needs_compiler
def test_alone_wrong_clocks(provider: Control, stack: Stack) -> None:
    trial = Trial("clocks moved by ±1 h, then a worker killed", stack, provider)
    moved_clocks(trial)
    survive(trial, plans.clocks_moved)


@alone
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("PostgreSQL restarted", plans.postgres_restarted),
        ("broker restarted empty", plans.broker_restarted),
    ],
)
def test_alone_a_restarted_server(
    name: str,
    fault: Callable[[Trial, Servers], None],
    provider: Control,
    private_stack: Stack,
    servers: Servers,
) -> None:
    survive(Trial(name, private_stack, provider), lambda t: fault(t, servers))
