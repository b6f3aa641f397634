"""Database work of a session, off its event loop and through an outage of the database.

A restart, a full disk or a lost connection says nothing about the answers that wait to be stored:
the same work is tried again until the database takes it. Meanwhile `troubled` is true and nobody
may make a new call, so that what is asked twice is at most what was under way when it began. The
fence decides afterwards whether the leases still hold.

Trying again is safe: every piece of work that comes here may be made twice (the slot of a sample is
unique, a lease names owner and fence), also when a commit succeeded and only its word was lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connections

log = structlog.get_logger(__name__)
T = TypeVar("T")
# What waits to be stored is held for so long; then the session ends, and a later one asks again.
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 0.25


class Database:
    """Two threads with a connection each: results in the order they come, and leases beside
    them, so that a slow write never costs a lease."""

    def __init__(self, *, well_again: Callable[[], None] = lambda: None) -> None:
        """`well_again` is called when an outage is over."""
        self._well_again = well_again
        self._pools = {
            name: ThreadPoolExecutor(1, f"govtrack-{name}") for name in ("writer", "control")
        }
        self._troubled: set[str] = set()

    @property
    def troubled(self) -> bool:
        """The database does not take our work just now: make no new call."""
        return bool(self._troubled)

    async def control(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._do("control", lambda: call(*args, **kwargs))

    async def write(self, call: Callable[..., T], *args: Any) -> T:
        return await self._do("writer", lambda: call(*args))

    async def _do(self, name: str, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        since = time.monotonic()
        while True:
            try:
                result = await loop.run_in_executor(self._pools[name], call)
            except (OperationalError, InterfaceError) as error:
                if name not in self._troubled:
                    log.warning("database_troubled", thread=name, error=type(error).__name__)
                self._troubled.add(name)
                # A broken connection is not mended by itself.
                await loop.run_in_executor(self._pools[name], connections.close_all)
                if time.monotonic() - since > PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                if name in self._troubled:
                    self._troubled.discard(name)
                    log.info("database_well_again", thread=name)
                    self._well_again()
                return result

    async def aclose(self) -> None:
        loop = asyncio.get_running_loop()
        for pool in self._pools.values():
            await loop.run_in_executor(pool, connections.close_all)
            pool.shutdown(wait=False)
