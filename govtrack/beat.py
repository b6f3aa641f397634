"""Celery's beat, made proof against a clock that is set.

Beat plans by the time of day: when the clock goes back by an hour, it would send nothing for an
hour. This one notices that the time of day and the time that passed no longer agree, and begins
its plan anew.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery.beat import PersistentScheduler

log = structlog.get_logger(__name__)
JUMP_SECONDS = 1.0


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    _offset: float | None = None

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        offset = time.time() - time.monotonic()
        # At the first tick the stored plan may be from before the clock was set.
        if self._offset is None or abs(offset - self._offset) > JUMP_SECONDS:
            if self._offset is not None:
                log.warning("clock_was_set", seconds=round(offset - self._offset, 1))
            for entry in self.schedule.values():
                now = entry.default_now()
                entry.last_run_at = min(entry.last_run_at or now, now)
            self._heap = None
        self._offset = offset
        return super().tick(*args, **kwargs)
