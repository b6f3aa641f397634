"""The queue in front of one endpoint, in one worker: who is asked next.

Urgent runs come first; runs of one urgency take turns, so that a suite of 50,000 cases does not
keep a small one waiting; within a run the oldest slot. A call that failed and may be asked again
waits outside, without a place, and comes back at the head of its run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.evaluations.models import Run
from apps.evaluations.runner import halts
from apps.evaluations.runner.client import EndpointClient
from apps.evaluations.runner.job import Job, Slot
from apps.evaluations.runner.limits import Limiter

# A run of low urgency is served once for so many times that a normal one is.
LOW_SHARE = 4


@dataclass(eq=False)
class Entry:
    """A slot on its way to an answer. `attempt`: the next, from 1."""

    job: Job
    slot: Slot
    attempt: int = 1


class Line:
    """`call` starts one call and must give its place back with `limiter.put`, then `kick`.
    While `full()` holds, nothing new is asked; who ends that calls `kick`."""

    def __init__(
        self,
        client: EndpointClient,
        limiter: Limiter,
        call: Callable[[Line, Entry], None],
        full: Callable[[], bool],
    ) -> None:
        self.client = client
        self.limiter = limiter
        self.pending = 0
        """Slots loaded and not yet concluded."""
        self.unstored = 0
        """Of these, the ones that were answered: they need no further call."""
        self.checking = False
        """A call is out that asks whether the endpoint is up (`standing`)."""
        self.unsettled = 0
        """Calls of runs under a budget, until their answers are stored."""
        self._call = call
        self._full = full
        self._queues: dict[UUID, deque[Entry]] = {}
        self._turns: dict[UUID, float] = {}
        self._now = 0.0
        self.waiting = 0
        self._pressed = asyncio.Event()

    @property
    def endpoint(self) -> Any:
        return self.client.endpoint

    @property
    def room(self) -> int:
        """For how many more slots there is use here: enough to be busy until more are claimed."""
        if self.limiter.blocked > 1.0:
            return 0
        places = max(self.limiter.granted, min(8, self.limiter.limit))
        return max(0, 2 * places + 8 - (self.pending - self.unstored))

    # Waiting

    def push(self, entry: Entry, *, first: bool = False) -> None:
        run_id = entry.job.run.pk
        queue = self._queues.get(run_id)
        if queue is None:
            queue = self._queues[run_id] = deque()
            self._turns[run_id] = max(self._turns.get(run_id, 0.0), self._now)
        (queue.appendleft if first else queue.append)(entry)
        entry.job.queued.add(entry)
        self.waiting += 1

    def drop(self, entry: Entry) -> None:
        """Take out what waits here; harmless for what does not."""
        queue = self._queues.get(entry.job.run.pk)
        if queue is not None and entry in queue:
            queue.remove(entry)
            self.waiting -= 1
            if not queue:
                del self._queues[entry.job.run.pk]

    def jobs(self) -> set[Job]:
        return {entry.job for queue in self._queues.values() for entry in queue}

    def _next(self) -> Entry | None:
        best: deque[Entry] | None = None
        rank = (0, 0.0)
        for run_id, queue in self._queues.items():
            job = queue[0].job
            if job.limited and self.unsettled >= max(1, self.limiter.granted):
                continue
            here = (-job.run.urgency, self._turns[run_id])
            if best is None or here < rank:
                best, rank = queue, here
        if best is None:
            return None
        entry = best.popleft()
        run = entry.job.run
        self._now = self._turns[run.pk]
        self._turns[run.pk] += LOW_SHARE if run.urgency == Run.Urgency.LOW else 1
        if not best:
            del self._queues[run.pk]
        self.waiting -= 1
        entry.job.queued.discard(entry)
        return entry

    # Asking

    def kick(self) -> None:
        """Start as many calls as there are places for."""
        while self.waiting and not self._full():
            if not self.limiter.take():
                self._pressed.set()
                return
            entry = self._next()
            if entry is None:
                self._untake()
                return
            if entry.job.halted or halts.holds(entry.job.run.pk):
                self._untake()
                entry.job.queued.add(entry)
                entry.job.halt()  # concludes its entries, this one too
                continue
            self._call(self, entry)

    def _untake(self) -> None:
        self.limiter.in_use -= 1
        if self.limiter._request_cost:
            self.limiter._permits += 1

    async def keep_in_step(self, changed: Callable[[Line], None]) -> None:
        """Share limits with the other workers, for as long as the session lasts."""
        while True:
            idle = not self.waiting and not self.limiter.in_use
            wait = self.limiter.due_in(self.waiting)
            if idle and not self.limiter.granted:
                self._pressed.clear()
                await self._pressed.wait()
            elif wait > 0:
                await self._pause(wait)
                if self.limiter.due_in(self.waiting) > 0.001:
                    continue
            self._pressed.clear()
            await self.limiter.sync(self.waiting)
            changed(self)
            self.kick()

    async def _pause(self, seconds: float) -> None:
        """Sleep; a kick that found no place cuts it short (and `due_in` is asked again)."""
        self._pressed.clear()
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._pressed.wait()
        except TimeoutError:
            return
        left = min(self.limiter.due_in(self.waiting), seconds - (time.monotonic() - started))
        if left > 0:
            await asyncio.sleep(left)
