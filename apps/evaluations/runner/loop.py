"""One worker session: claim shards, fill their slots, all in one event loop, for a limited time.

Database work runs in two threads of its own, each with one connection: `writer` stores results in
the order they come, `control` claims and prolongs leases, so that a slow write never costs a lease.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections

from apps.core import clock
from apps.evaluations import finishing, leases
from apps.evaluations.leases import Lease
from apps.evaluations.lifecycle import WRITABLE
from apps.evaluations.models import RunState
from apps.evaluations.runner import limits, writer
from apps.evaluations.runner.client import EndpointClient, Outcome, failed
from apps.evaluations.runner.job import Job, Slot, load
from apps.evaluations.runner.problems import Misconfigured, Problem, Retry, Unreachable

log = structlog.get_logger(__name__)
T = TypeVar("T")
MAX_ATTEMPTS = 5
# How often a shard may be handed back because the endpoint asked to wait beyond the session.
MAX_WAITS = 5
# How often in a row a shard may fail by a defect of ours before its run is stopped.
MAX_DEFECTS = 5
BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0
CLAIM_AT_ONCE = 4
IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class Report:
    shards: int
    samples: int
    lost: int
    """Results that were not stored because the lease was lost or the run had ended."""


def work(*, seconds: float = 40.0) -> Report:
    """Work off what can be claimed, for at most about `seconds` (and the calls under way)."""
    return asyncio.run(Session(seconds).run())


class Line:
    """One endpoint in this session: its client, its shared limits, its place in the queue."""

    def __init__(self, client: EndpointClient, limiter: limits.Limiter) -> None:
        self.client = client
        self.limiter = limiter
        self.local = asyncio.Semaphore(client.endpoint.max_concurrency)
        self.pending = 0

    @property
    def busy(self) -> bool:
        return self.pending >= 2 * self.client.endpoint.max_concurrency


class Session:
    def __init__(self, seconds: float) -> None:
        self.owner = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.deadline = time.monotonic() + seconds
        self.jobs: dict[UUID, Job] = {}
        self.lines: dict[tuple[UUID, int], Line] = {}
        self.shards = self.samples = self.lost = 0
        self._writer = ThreadPoolExecutor(1, "govtrack-writer")
        self._control = ThreadPoolExecutor(1, "govtrack-control")

    async def run(self) -> Report:
        self.results: asyncio.Queue[tuple[writer.Result, asyncio.Future[bool]]] = asyncio.Queue()
        self.redis = limits.connect()
        helpers = [
            asyncio.create_task(self._write_results()),
            asyncio.create_task(self._keep_leases()),
        ]
        try:
            await self._claim_and_wait()
        finally:
            await asyncio.gather(*self._cancel_all(helpers), return_exceptions=True)
            for line in self.lines.values():
                await line.client.aclose()
            await limits.close(self.redis)
            loop = asyncio.get_running_loop()
            for pool in (self._writer, self._control):
                await loop.run_in_executor(pool, connections.close_all)
                pool.shutdown(wait=False)
        return Report(self.shards, self.samples, self.lost)

    def _cancel_all(self, helpers: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
        tasks = [*helpers, *(job.task for job in self.jobs.values() if job.task)]
        for task in tasks:
            task.cancel()
        return tasks

    async def control(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._control, lambda: call(*args, **kwargs))

    # Claiming

    async def _claim_and_wait(self) -> None:
        while True:
            claimed: list[Lease] = []
            if time.monotonic() < self.deadline:
                busy = {key[0] for key, line in self.lines.items() if line.busy}
                claimed = await self.control(
                    leases.claim, owner=self.owner, limit=CLAIM_AT_ONCE, busy_endpoints=busy
                )
            else:
                for job in self.jobs.values():
                    job.halt()
            for lease in claimed:
                job = Job(lease)
                self.jobs[lease.shard_id] = job
                job.task = asyncio.create_task(self._shard(job))
            running = [job.task for job in self.jobs.values() if job.task]
            if not running:
                return
            if claimed:
                # Only when their slots are counted is it known whether there is room for more.
                await asyncio.gather(*(job.loaded.wait() for job in list(self.jobs.values())))
            else:
                await asyncio.wait(
                    running, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )

    async def _shard(self, job: Job) -> None:
        lease = job.lease
        try:
            await self.control(finishing.begin, [lease.run_id])
            loaded = await self.control(load, lease)
            if loaded is None:  # paused or ended between the claim and now
                await self.control(leases.release, lease)
                return
            job.run, job.slots = loaded.run, loaded.slots
            line = self._line(loaded.endpoint, loaded.secret)
            line.pending += len(job.slots)
            job.loaded.set()
            slots = (self._slot(job, line, slot) for slot in job.slots)
            # All of them end before the lease is given up: what was answered is stored.
            for ended in await asyncio.gather(*slots, return_exceptions=True):
                if ended is not None:
                    raise ended
            job.settling = True
            await self._settle(job)
        except Misconfigured as problem:
            await self.control(finishing.fail, lease.run_id, reason=problem.message)
        except Exception as error:
            # A defect of ours: the shard goes back and is slowed down, at last its run is stopped.
            log.exception("shard_failed", shard_id=str(lease.shard_id), run_id=str(lease.run_id))
            if lease.attempts + 1 < MAX_DEFECTS:
                await self.control(leases.hand_back, lease, delay=leases.backoff(lease.attempts))
            else:
                await self.control(
                    finishing.fail,
                    lease.run_id,
                    reason=f"A part of this run could not be worked on ({type(error).__name__}). "
                    "The workers' logs hold the details: please report them, then Retry failed.",
                )
        finally:
            job.loaded.set()
            self.jobs.pop(lease.shard_id, None)

    def _line(self, endpoint: Any, secret: str) -> Line:
        key = (endpoint.pk, endpoint.row_version)
        if key not in self.lines:
            self.lines[key] = Line(
                EndpointClient(endpoint, secret), limits.Limiter(endpoint, self.redis)
            )
        return self.lines[key]

    async def _settle(self, job: Job) -> None:
        """All that could be done for the shard is done: give it its next state."""
        lease = job.lease
        if job.lost:
            return
        if isinstance(job.problem, Misconfigured):
            await self.control(finishing.fail, lease.run_id, reason=job.problem.message)
        elif isinstance(job.problem, Unreachable):
            patience = settings.GOVTRACK["ENDPOINT_PATIENCE_SECONDS"]
            if leases.patience_spent(lease.attempts + 1) >= patience:
                await self.control(
                    finishing.fail,
                    lease.run_id,
                    reason=f"{job.problem.message} It was tried for {patience:g} seconds. Check "
                    "that it runs and that this machine may reach it, then Retry failed.",
                )
            else:
                delay = leases.backoff(lease.attempts)
                await self.control(leases.hand_back, lease, delay=delay)
        elif job.problem is not None:
            await self.control(leases.hand_back, lease, delay=job.delay)
        elif job.open_slots:
            await self.control(leases.release, lease)
        elif await self.control(leases.finish, lease):
            self.shards += 1
            await self.control(finishing.complete_if_done, lease.run_id)

    # One slot

    async def _slot(self, job: Job, line: Line, slot: Slot) -> None:
        try:
            outcome = await self._answer(job, line, slot)
            if outcome is None:
                return
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            result = writer.Result(
                job.run, job.lease, slot.case, slot.replicate, outcome, clock.now()
            )
            await self.results.put((result, future))
            if await future:
                job.open_slots -= 1
                self.samples += 1
            else:
                self.lost += 1
                job.lose()
        except Exception:
            job.halt()  # the other slots of the shard make no new call
            raise
        finally:
            line.pending -= 1

    async def _answer(self, job: Job, line: Line, slot: Slot) -> Outcome | None:
        """Ask until there is an outcome; None when the shard has to be left as it is."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            token = await self._turn(job, line)
            if token is None:
                return None
            try:
                outcome = await line.client.ask(slot.request)
            except (Misconfigured, Unreachable) as problem:
                job.stop(problem)
                return None
            except Retry as problem:
                last: Problem = problem
                delay = self._delay(attempt, problem)
            else:
                used = (outcome.parsed.prompt_tokens or 0) + (outcome.parsed.completion_tokens or 0)
                await line.limiter.spent(used)
                return outcome.after(attempt)
            finally:
                await line.limiter.give_back(token)
                line.local.release()
            if attempt == MAX_ATTEMPTS:
                break
            if isinstance(last, Retry) and last.retry_after:
                await line.limiter.close_for(last.retry_after)
            if time.monotonic() + delay > self.deadline:
                if job.lease.attempts >= MAX_WAITS:
                    break
                job.stop(last, delay=delay)
                return None
            if await job.sleep(delay):
                return None
        return failed(slot.request, last, attempt)

    async def _turn(self, job: Job, line: Line) -> str | None:
        """Wait for a place at the endpoint, in this worker and over all. None: do not call."""
        await line.local.acquire()
        try:
            while not job.halted:
                token, wait = await line.limiter.try_acquire()
                if token:
                    return token
                if time.monotonic() + wait > self.deadline:
                    # Others may be served meanwhile: do not hold the shard through a long wait.
                    if wait > 1.0:
                        job.stop(Problem("waiting", "The endpoint asked to wait."), delay=wait)
                    break
                if await job.sleep(min(wait, 1.0)):
                    break
        except BaseException:
            line.local.release()
            raise
        line.local.release()
        return None

    def _delay(self, attempt: int, problem: Retry) -> float:
        backoff = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (attempt - 1))
        backoff *= random.uniform(0.5, 1.0)  # noqa: S311
        return max(backoff, problem.retry_after or 0.0)

    # Helpers that run beside

    async def _write_results(self) -> None:
        while True:
            batch = [await self.results.get()]
            while not self.results.empty() and len(batch) < 50:
                batch.append(self.results.get_nowait())
            try:
                await self._write(batch)
            except Exception:
                # One result that cannot be stored must not take the others with it.
                for entry in batch:
                    try:
                        await self._write([entry])
                    except Exception as error:
                        if not entry[1].done():
                            entry[1].set_exception(error)

    async def _write(self, batch: list[tuple[writer.Result, asyncio.Future[bool]]]) -> None:
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(
            self._writer, writer.write, [result for result, _ in batch]
        )
        for (_, future), ok in zip(batch, stored, strict=True):
            if not future.done():
                future.set_result(ok)

    async def _keep_leases(self) -> None:
        """Prolong leases, and hear within a second or two that a run was paused or cancelled."""
        every = min(leases.lease_seconds() / 3, 1.5)
        kept_at = time.monotonic()
        while True:
            await asyncio.sleep(every)
            jobs = list(self.jobs.values())
            try:
                states = await self.control(leases.heartbeat, [job.lease for job in jobs])
                kept_at = time.monotonic()
            except Exception:
                log.exception("heartbeat_failed")
                if time.monotonic() - kept_at < leases.lease_seconds():
                    continue
                states = {}
            for job in jobs:
                state = states.get(job.lease.shard_id)
                if job.settling:
                    continue
                if state is None:
                    log.warning("lease_lost", shard_id=str(job.lease.shard_id))
                    job.lose()
                elif state not in WRITABLE and state != RunState.QUEUED:
                    job.abandon()
                elif state == RunState.PAUSED:
                    job.halt()
            for line in self.lines.values():
                await line.limiter.renew()
