"""Runs of which this process must make no new call, known sooner than by the next heartbeat.

The writer's thread hears first that a run was paused or reached a budget: it says so here, and the
loop looks before each call. Pausing would work without it, a second or two later.
"""

from __future__ import annotations

from uuid import UUID

_halted: set[UUID] = set()  # adding, removing and looking are atomic


def halt(run_id: UUID) -> None:
    _halted.add(run_id)


def lift(run_id: UUID) -> None:
    """The run is running (again): called whenever a part of it is loaded."""
    _halted.discard(run_id)


def holds(run_id: UUID) -> bool:
    return run_id in _halted
