"""Two faults to the last call: what a killed worker costs, and whose answer a sleeper's slot holds.
The rest is in test_promises.py.
"""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from apps.audit.services import SYSTEM
from apps.evaluations import services
from apps.evaluations.models import Run, RunState, Sample, Score, Shard
from tests.faults.stack import LEASE_SECONDS, Stack, until
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import Control

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]
CASES, REPLICATES, CONCURRENCY = 30, 2, 4
SLOTS = CASES * REPLICATES


def start(provider: Control) -> Run:
    return services.start_run(
        actor=SYSTEM,
        model_version=make_version(provider.url, endpoint_max_concurrency=CONCURRENCY),
        suite_revision=make_revision(CASES),
        replicates=REPLICATES,
    )


def stored(run: Run) -> int:
    return Sample.objects.filter(month=run.month, run=run).count()


def reach(run: Run, count: int, stack: Stack) -> None:
    until(lambda: stored(run) >= count, seconds=30, what=f"{count} answers", logs=stack.logs)


def complete(run: Run, stack: Stack, *, seconds: float = 40) -> None:
    def done() -> bool:
        run.refresh_from_db()
        return run.state not in (RunState.QUEUED, RunState.RUNNING)

    until(done, seconds=seconds, what="the run complete", logs=stack.logs)
    assert run.state == RunState.COMPLETE, run.state_reason


def assert_every_slot_once(run: Run) -> None:
    rows = Sample.objects.filter(run=run).values_list("case__case_id", "replicate")
    expected = {(f"c{i}", r) for i in range(CASES) for r in range(REPLICATES)}
    assert Counter(rows) == Counter(expected)
    assert Score.objects.filter(run=run, metric_key="accuracy").count() == SLOTS
    assert run.totals["answered"] == SLOTS
    assert not Shard.objects.filter(run=run, done=False).exists()


def test_a_killed_worker_loses_only_the_calls_under_way(provider: Control, stack: Stack) -> None:
    run = start(provider)
    stack.beat()
    worker = stack.worker()
    reach(run, 12, stack)

    stack.signal(worker, signal.SIGKILL)
    worker.wait(10)
    time.sleep(0.3)
    lost = provider.stats()["total"] - stored(run)
    stack.worker()

    complete(run, stack)
    assert_every_slot_once(run)
    # Paid twice is what was asked and not yet stored at the kill, and not one call more.
    assert 0 <= lost <= 2 * CONCURRENCY
    assert provider.stats()["total"] == SLOTS + lost


def test_a_worker_that_slept_through_its_lease_writes_nothing(
    provider: Control, stack: Stack
) -> None:
    # Answers carry the number of their call, so that it shows whose answer was stored.
    provider.set(serial=True, latency=0.3)
    run = start(provider)
    stack.beat()
    sleeper = stack.worker()
    reach(run, 8, stack)

    stack.signal(sleeper, signal.SIGSTOP)
    time.sleep(0.5)
    asked_by_sleeper = provider.stats()["total"]
    kept = stored(run)
    time.sleep(LEASE_SECONDS)
    successor = stack.worker()
    until(lambda: stored(run) >= kept + 6, seconds=30, what="the successor works", logs=stack.logs)
    stack.signal(sleeper, signal.SIGCONT)

    complete(run, stack)
    assert_every_slot_once(run)
    texts = Sample.objects.filter(run=run).values_list("text", flat=True)
    from_sleeper = [t for t in texts if int(t.rpartition("#")[2]) <= asked_by_sleeper]
    assert len(from_sleeper) == kept
    assert "lease_lost" in stack.log_of(sleeper)
    assert '"samples"' in stack.log_of(successor) or successor.poll() is None
