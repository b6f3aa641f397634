"""One run of many slots through one fault, and what has to be true afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from apps.audit.services import SYSTEM
from apps.evaluations import services
from apps.evaluations.models import Run, RunState, Sample, Score, Shard
from tests.faults.stack import LEASE_SECONDS, Stack, family, until
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import PLANNED, Control, State

SLOTS = int(os.environ.get("GOVTRACK_FAULT_SLOTS") or 200)
LARGE = SLOTS >= 1000
CONCURRENCY = 32 if LARGE else 8
MEDIAN_SECONDS, SIGMA = (0.3, 0.4) if LARGE else (0.15, 0.4)
# Far above any answer, also on a busy machine: an answer that comes too late is asked for twice.
TIMEOUT_SECONDS = 4
# After the end of a lease a run must go on within this.
GO_ON_SECONDS = 10.0
# Every kind of fault that an endpoint has, a tenth of all calls together.
PLAN = {"seed": 20261125, "rates": dict.fromkeys(PLANNED, 0.1 / len(PLANNED))}
_CASE = re.compile(r"Case (c\d+):")


@dataclass(frozen=True)
class Moment:
    """What was stored and under way when something was broken."""

    at: float
    stored: frozenset[str]
    calls: dict[str, int]
    in_flight: int
    held: dict[UUID, tuple[str, int]]


@dataclass
class Row:
    """A line of the table of faults survived."""

    fault: str
    slots: int
    samples: int = 0
    duplicates: int = 0
    asked_again: int = 0
    """Stored answers that were asked for once more: must be 0."""
    repeated: int = 0
    """Answers that were given twice; must not exceed the calls in flight at the fault."""
    in_flight: int = 0
    went_on_after: float = 0.0
    """Seconds from the fault until nothing was held by the dead and an answer was stored."""
    seconds: float = 0.0
    provider_faults: int = 0


@dataclass
class Trial:
    name: str
    stack: Stack
    provider: Control
    slower: float = 1.0
    moments: list[Moment] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.provider.set(latency=MEDIAN_SECONDS * self.slower, sigma=SIGMA, plan=PLAN)
        self.run: Run = None  # type: ignore[assignment]
        self.began = time.monotonic()

    # Before the fault

    def prepare(self) -> dict[str, Any]:
        return {
            "model_version": make_version(
                self.provider.url,
                endpoint_max_concurrency=CONCURRENCY,
                endpoint_timeout_seconds=TIMEOUT_SECONDS,
            ),
            "suite_revision": make_revision(SLOTS, slug=f"faults-{SLOTS}"),
        }

    def start(self, run: Run | None = None) -> None:
        """Two runners, one worker for the short steps, one beat: as in production."""
        self.run = run or services.start_run(actor=SYSTEM, **self.prepare())
        self.beat = self.stack.beat()
        self.ticker = self.stack.ticker()
        self.runners = [self.stack.runner(), self.stack.runner()]

    def reach(self, part: float) -> None:
        """Until that part of the slots is stored."""
        count = int(part * SLOTS)
        what = f"{count} answers"
        until(lambda: self.stored() >= count, seconds=150, what=what, logs=self.stack.logs)

    def stored(self) -> int:
        return Sample.objects.filter(month=self.run.month, run=self.run).count()

    def cases(self) -> frozenset[str]:
        rows = Sample.objects.filter(month=self.run.month, run=self.run)
        return frozenset(rows.values_list("case__case_id", flat=True))

    # At the fault

    def moment(self) -> Moment:
        """To be called right after something was broken."""
        at = time.monotonic()
        held = {
            pk: (owner, fence)
            for pk, owner, fence in Shard.objects.filter(run=self.run, done=False)
            .exclude(lease_owner="")
            .values_list("pk", "lease_owner", "fence")
        }
        stored = self.cases()
        stats = self.provider.stats()
        calls = by_case(stats["calls"])
        failed = by_case(stats["failed"])
        open_calls = sum(n - failed.get(c, 0) for c, n in calls.items() if c not in stored)
        self.moments.append(Moment(at, stored, calls, open_calls, held))
        return self.moments[-1]

    def goes_on(
        self,
        moment: Moment,
        *,
        lost: Collection[int] = (),
        over: float | None = None,
        within: float = LEASE_SECONDS + GO_ON_SECONDS,
    ) -> None:
        """Wait until the shards of the `lost` processes are theirs no more and an answer came.
        `over`: when the fault itself ended, if later than the lease."""
        dead = {pk: v[0] for pk, v in moment.held.items() if int(v[0].split(":")[1]) in lost}

        def taken() -> bool:
            left = Shard.objects.filter(pk__in=dead, lease_owner__in=dead.values(), done=False)
            return not left.exists() and bool(self.cases() - moment.stored)

        assert len(moment.stored) < SLOTS, "the fault came too late: nothing was left to do"

        allowed = within if over is None else max(within, over - moment.at + GO_ON_SECONDS)
        until(taken, seconds=allowed, what=f"{self.name}: going on", logs=self.stack.logs)
        self.waits.append(time.monotonic() - moment.at)

    def ready(self, *workers: subprocess.Popen[bytes]) -> float:
        """When these workers were ready to take messages."""
        until(
            lambda: all(" ready." in self.stack.log_of(w) for w in workers),
            seconds=60,
            what="the workers ready",
            logs=self.stack.logs,
        )
        return time.monotonic()

    def pids(self, *processes: subprocess.Popen[bytes]) -> set[int]:
        return set().union(*(family(process) for process in processes))

    # After the fault

    def finish(self) -> Row:
        """Wait for the run's own end, and hold every promise against it."""
        run = self.run

        def ended() -> bool:
            run.refresh_from_db()
            return run.state not in (RunState.QUEUED, RunState.RUNNING)

        until(ended, seconds=240, what=f"{self.name}: the run's end", logs=self.stack.logs)
        stats = self.provider.stats()
        calls, served = by_case(stats["calls"]), by_case(stats["served"])
        rows = Sample.objects.filter(month=run.month, run=run)
        slots = Counter(rows.values_list("case__case_id", "replicate"))
        row = Row(
            fault=self.name,
            slots=run.total_slots,
            samples=sum(slots.values()),
            duplicates=sum(n - 1 for n in slots.values()),
            asked_again=len(
                {c for m in self.moments for c in m.stored if calls[c] > m.calls.get(c, 0)}
            ),
            repeated=sum(n - 1 for n in served.values() if n > 1),
            in_flight=sum(m.in_flight for m in self.moments),
            went_on_after=round(max(self.waits, default=0.0), 1),
            seconds=round(time.monotonic() - self.began, 1),
            provider_faults=sum(stats["met"].values()),
        )
        print(asdict(row))
        assert run.state == RunState.COMPLETE, run.state_reason
        assert slots == Counter({(f"c{i}", 0): 1 for i in range(SLOTS)})
        assert row.asked_again == 0
        later = {
            c for c, n in served.items() if n > 1 and not any(c in m.calls for m in self.moments)
        }
        assert row.repeated <= row.in_flight, (row, f"asked twice without a fault: {later}")
        self._counts_are_right()
        return row

    def _counts_are_right(self) -> None:
        run, right = self.run, State()
        rows = list(Sample.objects.filter(run=run).values_list("case__case_id", "status", "text"))
        answered = [(case, text) for case, status, text in rows if status == "answered"]
        assert run.totals["answered"] == len(answered)
        assert run.totals["answered"] + run.totals["error"] == SLOTS
        # A tenth of the calls fail: five in a row are a rare thing.
        assert len(answered) >= 0.99 * SLOTS
        for case, text in answered:
            assert text == right.answer(f"Case {case}: which department?"), case
        scores = Score.objects.filter(run=run, metric_key="accuracy")
        assert scores.count() == len(answered)
        assert not Shard.objects.filter(run=run, done=False).exists()


def by_case(counts: dict[str, int]) -> dict[str, int]:
    found = {}
    for prompt, count in counts.items():
        if match := _CASE.search(prompt):
            found[match[1]] = count
    return found
