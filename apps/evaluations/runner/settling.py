"""What becomes of a shard when all was done for it that could be: finished, handed back, or the
end of its run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings

from apps.evaluations import finishing, leases
from apps.evaluations.leases import Lease
from apps.evaluations.runner import halts
from apps.evaluations.runner.database import Database
from apps.evaluations.runner.job import Job
from apps.evaluations.runner.problems import Misconfigured, Unreachable

log = structlog.get_logger(__name__)
# How often in a row a shard may fail by a defect of ours before its run is stopped.
MAX_DEFECTS = 5


class Settler:
    def __init__(self, database: Database, spawn: Callable[[Any], asyncio.Task[None]]) -> None:
        self._database = database
        self._spawn = spawn
        self._finished: list[tuple[Lease, asyncio.Future[bool]]] = []
        self._finishing: asyncio.Task[None] | None = None

    async def settle(self, job: Job) -> bool:
        """All that could be done for the shard is done: give it its next state. Whether it is
        finished."""
        lease, problem = job.lease, job.problem
        if job.lost:
            return False
        if isinstance(problem, Misconfigured):
            await self.fail(lease, problem.message)
        elif isinstance(problem, Unreachable):
            patience = settings.GOVTRACK["ENDPOINT_PATIENCE_SECONDS"]
            if job.hopeless or leases.patience_spent(lease.attempts + 1) >= patience:
                await self._database.control(
                    finishing.fail,
                    lease.run_id,
                    reason=f"{problem.message} It was tried for {patience:g} seconds. Check "
                    "that it runs and that this machine may reach it, then Retry failed.",
                )
            else:
                delay = leases.backoff(lease.attempts)
                await self._database.control(leases.hand_back, lease, delay=delay)
        elif problem is not None and problem.kind == "waiting":
            await self._database.control(leases.postpone, lease, delay=job.delay)
        elif problem is not None:
            await self._database.control(leases.hand_back, lease, delay=job.delay)
        elif job.open_slots:
            await self._database.control(leases.release, lease)
        else:
            return await self._finish(lease)
        return False

    async def fail(self, lease: Lease, reason: str) -> None:
        """End the shard's run. Its other shards here make no call whose answer is not kept."""
        halts.halt(lease.run_id)
        await self._database.control(finishing.fail, lease.run_id, reason=reason)

    async def defect(self, lease: Lease, error: Exception) -> None:
        """A defect of ours: the shard goes back and is slowed down, at last its run is stopped."""
        log.exception("shard_failed", shard_id=str(lease.shard_id), run_id=str(lease.run_id))
        if lease.attempts + 1 < MAX_DEFECTS:
            delay = leases.backoff(lease.attempts)
            await self._database.control(leases.hand_back, lease, delay=delay)
        else:
            await self._database.control(
                finishing.fail,
                lease.run_id,
                reason=f"A part of this run could not be worked on ({type(error).__name__}). "
                "The workers' logs hold the details: please report them, then Retry failed.",
            )

    async def _finish(self, lease: Lease) -> bool:
        """Shards that end while others are being finished are finished together."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._finished.append((lease, future))
        if self._finishing is None or self._finishing.done():
            self._finishing = self._spawn(self._finish_all())
        return await future

    async def _finish_all(self) -> None:
        while self._finished:
            group, self._finished = self._finished, []
            try:
                done = await self._database.control(
                    leases.finish_many, [lease for lease, _ in group]
                )
                for run_id in {lease.run_id for lease, _ in group}:
                    await self._database.control(finishing.complete_if_done, run_id)
            except Exception as error:
                for _, future in group:
                    future.set_exception(error)
            else:
                for lease, future in group:
                    future.set_result(lease.shard_id in done)
