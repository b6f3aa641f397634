"""A suite of 100,000 cases, run by real workers: what of it is in a worker's memory at once.

Part of `make faults` only; tests/evaluations/test_bad_input.py holds the reason in small.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apps.audit.services import SYSTEM
from apps.evaluations import services
from apps.evaluations.models import Run, RunState, Sample
from tests.faults.stack import Stack, family, until
from tests.faults.trial import LARGE
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import Control

CASES = int(os.environ.get("GOVTRACK_MANY_CASES", "100000"))
MOST_MB = 500
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not LARGE, reason="minutes long: make faults"),
]


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_a_hundred_thousand_cases_stay_under_500_mb_a_worker(
    provider: Control, stack: Stack
) -> None:
    provider.set(latency=0.0)
    stack.env["GOVTRACK_SHARD_CASES"] = "10"
    run = services.start_run(
        actor=SYSTEM,
        model_version=make_version(provider.url, endpoint_max_concurrency=32),
        suite_revision=make_revision(CASES, slug="many"),
    )
    stack.beat()
    stack.ticker()
    runners = [stack.runner(), stack.runner()]

    def ended() -> bool:
        return Run.objects.get(pk=run.pk).state not in (RunState.QUEUED, RunState.RUNNING)

    until(ended, seconds=1500, what="the end of the run", logs=stack.logs)

    peaks = sorted(peak_mb(pid) for runner in runners for pid in family(runner))
    print(f"{CASES:,} cases: peak memory of the workers' processes, MB: {peaks}")
    run.refresh_from_db()
    assert run.state == RunState.COMPLETE, run.state_reason
    assert Sample.objects.filter(run=run).count() == CASES == run.totals["answered"]
    assert max(peaks) < MOST_MB
