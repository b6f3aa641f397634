"""Answers on their way to the database: stored in groups, and each slot told what became of its."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from apps.evaluations.runner import writer
from apps.evaluations.runner.database import Database
from apps.evaluations.runner.line import Entry, Line

# Answers that come within this time, or so many, are stored as one group. Shorter, and a worker
# spends more on statements than on calls; longer, and a crash asks for more of them again.
GROUP_SECONDS, GROUP_ENOUGH = 0.03, 16
GROUP_MOST = 100
# Answers that wait to be stored; with more of them no new call is made.
MAX_UNSTORED = 200


class Outbox:
    """Use it within one event loop, where `work` runs. `concluded` hears of every slot that was
    put here; `room_again` is called after a full group, for which calls may have waited."""

    def __init__(
        self,
        database: Database,
        *,
        concluded: Callable[[Line, Entry], None],
        room_again: Callable[[], None],
    ) -> None:
        self.stored = self.lost = 0
        self._database = database
        self._concluded = concluded
        self._room_again = room_again
        self._results: deque[tuple[writer.Result, Line, Entry]] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._results) >= MAX_UNSTORED

    def put(self, result: writer.Result, line: Line, entry: Entry) -> None:
        self._results.append((result, line, entry))
        line.unstored += 1
        self._some.set()
        if len(self._results) >= GROUP_ENOUGH:
            self._enough.set()

    async def work(self) -> None:
        while True:
            await self._some.wait()
            if len(self._results) < GROUP_ENOUGH:
                self._enough.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(GROUP_SECONDS):
                        await self._enough.wait()
            self._some.clear()
            while self._results:
                count = min(len(self._results), GROUP_MOST)
                batch = [self._results.popleft() for _ in range(count)]
                try:
                    await self._write(batch)
                except Exception:
                    # One result that cannot be stored must not take the others with it.
                    for each in batch:
                        try:
                            await self._write([each])
                        except Exception as error:
                            self._written(each, error)

    async def _write(self, batch: list[tuple[writer.Result, Line, Entry]]) -> None:
        results = [result for result, _, _ in batch]
        stored = await self._database.write(writer.write, results)
        for each, ok in zip(batch, stored, strict=True):
            self._written(each, ok)
        if len(batch) == GROUP_MOST:
            self._room_again()

    def _written(self, each: tuple[writer.Result, Line, Entry], stored: bool | Exception) -> None:
        _, line, entry = each
        job = entry.job
        line.unstored -= 1
        if isinstance(stored, Exception):
            job.defect = job.defect or stored
            job.halt()
        elif stored:
            job.open_slots -= 1
            self.stored += 1
        else:
            self.lost += 1
            job.lose()
        line.unsettled -= job.limited
        self._concluded(line, entry)
        if job.limited:
            line.kick()
