"""One worker session: claim shards, fill their slots, all in one event loop, for a limited time.

Each endpoint has a `Line` that decides who is asked next; a call is one task, and its answer goes
to the `Outbox`, which stores what has come in the meantime as one group.

Database work runs in threads of its own and through the database's outages (`runner.database`).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog
import uvloop
from django.conf import settings

from apps.core import clock
from apps.evaluations import leases
from apps.evaluations.lifecycle import WRITABLE
from apps.evaluations.models import Run, RunState
from apps.evaluations.runner import limits, standing, writer
from apps.evaluations.runner.client import EndpointClient, Outcome, failed
from apps.evaluations.runner.database import Database
from apps.evaluations.runner.job import Job, Loaded, load, outdated
from apps.evaluations.runner.limits import Verdict
from apps.evaluations.runner.line import Entry, Line
from apps.evaluations.runner.outbox import Outbox
from apps.evaluations.runner.problems import Misconfigured, Problem, Retry, Unreachable
from apps.evaluations.runner.settling import Settler

log = structlog.get_logger(__name__)
T = TypeVar("T")
MAX_ATTEMPTS = 5
# How often a shard may be handed back because the endpoint asked to wait beyond the session.
MAX_WAITS = 5
BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0
CLAIM_FIRST, CLAIM_MOST = 8, 32
IDLE_SECONDS = 0.25


@dataclass(frozen=True)
class Report:
    shards: int
    samples: int
    lost: int
    """Results that were not stored because the lease was lost or the run had ended."""


def work(*, seconds: float = 40.0) -> Report:
    """Work off what can be claimed, for at most about `seconds` (and the calls under way)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Session(seconds).run())


class Session:
    def __init__(self, seconds: float) -> None:
        self.owner = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.deadline = time.monotonic() + seconds
        self.jobs: dict[UUID, Job] = {}
        self.lines: dict[tuple[UUID, int], Line] = {}
        self.shards = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.database = Database(well_again=self._kick_all)
        self.settler = Settler(self.database, self._spawn)
        self.outbox = Outbox(self.database, concluded=self._conclude, room_again=self._kick_all)

    async def run(self) -> Report:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.redis = limits.connect()
        self._spawn(self.outbox.work())
        self._spawn(self._keep_leases())
        try:
            await self._claim_and_wait()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for line in self.lines.values():
                await line.limiter.leave()
                await line.client.aclose()
            await limits.close(self.redis)
            await self.database.aclose()
        return Report(self.shards, self.outbox.stored, self.outbox.lost)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def control(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.database.control(call, *args, **kwargs)

    def _full(self) -> bool:
        """What cannot be stored is not asked for."""
        return self.database.troubled or self.outbox.full

    def _kick_all(self) -> None:
        for line in self.lines.values():
            line.kick()

    # Claiming

    async def _claim_and_wait(self) -> None:
        empty_until = 0.0
        while True:
            claimed = 0
            looked = False
            now = time.monotonic()
            if now >= self.deadline:
                for job in list(self.jobs.values()):
                    job.halt()
            elif now >= empty_until:
                looked = not self.jobs
                claimed = await self._claim()
                if not claimed:
                    empty_until = time.monotonic() + IDLE_SECONDS / 2
            if not self.jobs:
                # The last look may have left out lines that were busy then.
                if looked or now >= self.deadline:
                    return
                empty_until = 0.0
                continue
            if claimed and any(line.room for line in self.lines.values()):
                await asyncio.sleep(0)  # the lines have to see them first
                continue
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._changed.wait()

    async def _claim(self) -> int:
        rooms: dict[UUID, int] = {}
        closed: set[UUID] = set()
        for (endpoint_id, _), line in self.lines.items():
            rooms[endpoint_id] = rooms.get(endpoint_id, 0) + line.room
            if line.limiter.blocked > 1.0:
                closed.add(endpoint_id)
        limit = CLAIM_FIRST
        if rooms:
            most = sum(rooms.values()) // max(1, settings.GOVTRACK["SHARD_CASES"])
            limit = min(CLAIM_MOST, max(2, most))
        claimed = await self.control(
            leases.claim,
            owner=self.owner,
            limit=limit,
            busy_endpoints=[e for e, room in rooms.items() if room < 1],
            closed_endpoints=list(closed),
        )
        if not claimed:
            return 0
        jobs = {lease.shard_id: Job(lease) for lease in claimed}
        self.jobs |= jobs  # from now on they are prolonged
        loaded = await self.control(load, claimed)
        for shard_id, job in jobs.items():
            self._spawn(self._shard(job, loaded[shard_id]))
        await asyncio.sleep(0)
        return len(claimed)

    async def _shard(self, job: Job, loaded: Loaded | Exception | None) -> None:
        lease = job.lease
        try:
            if loaded is None:  # paused or ended between the claim and now
                await self.control(leases.release, lease)
                return
            if isinstance(loaded, Exception):
                raise loaded
            line = self._line(loaded)
            job.run, job.limited = loaded.run, loaded.limited
            job.concludes = lambda entry: self._conclude(line, entry)
            job.open_slots = job.under_way = len(loaded.slots)
            line.pending += len(loaded.slots)
            for slot in loaded.slots:
                line.push(Entry(job, slot))
            line.kick()
            # All of them end before the lease is given up: what was answered is stored.
            if loaded.slots:
                await job.ended.wait()
            if job.defect is not None:
                raise job.defect
            job.settling = True
            if await self.settler.settle(job):
                self.shards += 1
        except Misconfigured as problem:
            await self.settler.fail(lease, problem.message)
        except Exception as error:
            await self.settler.defect(lease, error)
        finally:
            self.jobs.pop(lease.shard_id, None)
            self._changed.set()

    def _line(self, loaded: Loaded) -> Line:
        endpoint = loaded.endpoint
        key = (endpoint.pk, endpoint.row_version)
        if key not in self.lines:
            line = Line(
                EndpointClient(endpoint, loaded.secret),
                limits.Limiter(endpoint, self.redis),
                self._start,
                self._full,
            )
            self.lines[key] = line
            self._spawn(line.keep_in_step(self._limits_changed))
        return self.lines[key]

    def _limits_changed(self, line: Line) -> None:
        """After every look at the shared limits: a wait that is long is not sat through."""
        limiter = line.limiter
        if limiter.open and limiter.down_seconds >= settings.GOVTRACK["ENDPOINT_PATIENCE_SECONDS"]:
            if not line.checking:
                self._spawn(self._stands_or_give_up(line))
        elif limiter.blocked > 1.0 and (
            limiter.open or time.monotonic() + limiter.blocked > self.deadline
        ):
            # Others may be served meanwhile: do not hold the shards through it.
            for job in line.jobs():
                job.stop(Problem("waiting", "The endpoint is waited for."), delay=limiter.blocked)

    async def _stands_or_give_up(self, line: Line) -> None:
        if not await self._stands(line, {job.run for job in line.jobs()}):
            self._give_up(line)

    def _give_up(self, line: Line) -> None:
        limiter = line.limiter
        patience = settings.GOVTRACK["ENDPOINT_PATIENCE_SECONDS"]
        # A run that was asked for (again) meanwhile has a patience of its own: else an
        # endpoint that is up again would fail every run without being asked.
        for job in line.jobs():
            if (clock.now() - job.run.updated_at).total_seconds() < patience:
                if limiter.blocked > 1.0:
                    waiting = Problem("waiting", "The endpoint is waited for.")
                    job.stop(waiting, delay=limiter.blocked)
                continue
            job.hopeless = True
            job.stop(
                Unreachable(
                    "unreachable",
                    f"The endpoint {line.endpoint.base_url} answered with nothing but errors.",
                )
            )

    # One slot

    def _start(self, line: Line, entry: Entry) -> None:
        line.unsettled += entry.job.limited
        task = self._spawn(self._ask(line, entry))
        entry.job.calls.add(task)
        task.add_done_callback(entry.job.calls.discard)

    async def _ask(self, line: Line, entry: Entry) -> None:
        """One call. Its place is free as soon as it ends, whatever becomes of the slot."""
        job = entry.job
        verdict, tokens, retry_after, close_for = Verdict.NOTHING, 0, 0.0, 0.0
        goes_on = False
        try:
            outcome = await line.client.ask(entry.slot.request)
            verdict, close_for = Verdict.OK, outcome.close_for
            tokens = outcome.tokens
            self._store(line, entry, outcome.after(entry.attempt))
            goes_on = True
        except (Unreachable, Misconfigured) as problem:
            verdict = limits.verdict_of(problem)
            job.stop(problem)
        except Retry as problem:
            verdict, retry_after = limits.verdict_of(problem), problem.retry_after or 0.0
            if (
                verdict is Verdict.FAILED
                and line.limiter.open
                and await self._stands(line, [job.run])
            ):
                verdict = Verdict.OK
            goes_on = self._again(line, entry, problem)
        except Exception as error:
            job.defect = job.defect or error
            job.halt()  # the other slots of the shard make no new call
        finally:
            line.limiter.put(verdict, tokens=tokens, retry_after=retry_after, close_for=close_for)
            if not goes_on:
                line.unsettled -= job.limited
                self._conclude(line, entry)
            line.kick()

    async def _stands(self, line: Line, runs: Iterable[Run]) -> bool:
        """After failures behind an open breaker: is the endpoint up, so that it is the prompts?
        Asked only for runs that it answered before; where it answers, the breaker closes."""
        if line.checking:
            return False
        line.checking = True
        try:
            for run in runs:
                if not await self.control(standing.answered_before, run):
                    continue
                outcome = await standing.ask(line.client, run.model_version)
                if outcome is None:
                    return False
                await self.control(standing.charge, run.model_version, outcome)
                line.limiter.stands()
                line.kick()
                return True
            return False
        finally:
            line.checking = False

    def _again(self, line: Line, entry: Entry, problem: Retry) -> bool:
        """Ask again later, or let the error be the outcome. False: the shard is left as it is."""
        job = entry.job
        backoff = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (entry.attempt - 1))
        delay = max(backoff * random.uniform(0.5, 1.0), problem.retry_after or 0.0)  # noqa: S311
        too_late = time.monotonic() + delay > self.deadline
        if entry.attempt >= MAX_ATTEMPTS or (too_late and job.lease.attempts >= MAX_WAITS):
            self._store(line, entry, failed(entry.slot.request, problem, entry.attempt))
            return True
        if too_late:
            job.stop(problem, delay=delay)
        if job.halted:
            return False
        entry.attempt += 1
        line.unsettled -= job.limited
        job.queued.add(entry)
        self._loop.call_later(delay, self._back, line, entry)
        return True

    def _back(self, line: Line, entry: Entry) -> None:
        if entry in entry.job.queued:  # else its shard was given up meanwhile
            line.push(entry, first=True)
            line.kick()

    def _store(self, line: Line, entry: Entry, outcome: Outcome) -> None:
        job, slot = entry.job, entry.slot
        result = writer.Result(
            job.run, job.lease, slot.row, slot.replicate, outcome, clock.now(), slot.case
        )
        self.outbox.put(result, line, entry)
        self._claim_more(line)

    def _conclude(self, line: Line, entry: Entry) -> None:
        """Nothing more happens to this slot here."""
        line.drop(entry)
        line.pending -= 1
        self._claim_more(line)
        entry.job.under_way -= 1
        if not entry.job.under_way:
            entry.job.ended.set()

    def _claim_more(self, line: Line) -> None:
        if line.room >= settings.GOVTRACK["SHARD_CASES"]:
            self._changed.set()

    # Helpers that run beside

    async def _keep_leases(self) -> None:
        """Prolong leases, and hear within a second or two that a run was paused or cancelled."""
        every = min(leases.lease_seconds() / 3, 1.5)
        while True:
            await asyncio.sleep(every)
            jobs = list(self.jobs.values())
            try:
                # Through an outage it waits: only the database knows whether leases still hold.
                states = await self.control(leases.heartbeat, [job.lease for job in jobs])
            except Exception:
                log.exception("heartbeat_failed")
                continue
            for job in jobs:
                state = states.get(job.lease.shard_id)
                if job.settling or job.lease.shard_id not in self.jobs:
                    continue
                if state is None:
                    log.warning("lease_lost", shard_id=str(job.lease.shard_id))
                    job.lose()
                elif state not in WRITABLE and state != RunState.QUEUED:
                    job.abandon()
                elif state == RunState.PAUSED:
                    job.halt()
            await self._heed_changed_endpoints()

    async def _heed_changed_endpoints(self) -> None:
        """An endpoint that a person changed is called no more as it was: what still waits goes
        back, and is loaded again as the endpoint is now."""
        used = [key for key, line in self.lines.items() if line.waiting]
        for key in await self.control(outdated, used) if used else ():
            for job in self.lines[key].jobs():
                job.halt()
