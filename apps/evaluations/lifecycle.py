"""States of a run: which moves there are, from where, and who may make them.

The same table guards the services, draws the buttons and fills the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.accounts import permissions
from apps.core.errors import Conflict
from apps.evaluations.models import Run, RunState

S = RunState
OPEN = frozenset({S.QUEUED, S.RUNNING, S.PAUSED})
FINISHED = frozenset({S.COMPLETE, S.FAILED, S.PARTIAL, S.CANCELLED})
# A call that was under way when somebody paused is paid for: its answer is kept.
WRITABLE = frozenset({S.RUNNING, S.PAUSED})
CLAIMABLE = frozenset({S.QUEUED, S.RUNNING})
# Moves that add answers to a complete run: not once something rests on those it has.
ADDING = frozenset({"retry", "extend"})


@dataclass(frozen=True)
class Move:
    """`action` is the permission that a person needs; "" for what only the product does."""

    name: str
    label: str
    sources: frozenset[RunState]
    target: RunState
    action: str = ""


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move("begin", "Begin", frozenset({S.QUEUED}), S.RUNNING),
        # Paused too: its last calls were under way, and their answers were kept.
        Move("complete", "Complete", OPEN, S.COMPLETE),
        Move("fail", "Fail", OPEN, S.FAILED),
        Move("pause", "Pause", frozenset({S.QUEUED, S.RUNNING}), S.PAUSED, "run.control"),
        Move("resume", "Resume", frozenset({S.PAUSED}), S.QUEUED, "run.control"),
        Move("cancel", "Cancel", OPEN, S.CANCELLED, "run.control"),
        # Complete: only the slots that came to an error get another one each.
        Move(
            "retry",
            "Retry failed",
            frozenset({S.FAILED, S.PARTIAL, S.COMPLETE}),
            S.QUEUED,
            "run.control",
        ),
        Move(
            "extend",
            "Take more replicates",
            frozenset({S.QUEUED, S.RUNNING, S.PAUSED, S.COMPLETE}),
            S.QUEUED,
            "run.control",
        ),
        Move("spend", "Stop at a budget", OPEN, S.PARTIAL),
    )
}


def check(run: Run, name: str) -> Move:
    """The move, when the run is in a state that it may be made from. Raises Conflict."""
    move = MOVES[name]
    if RunState(run.state) not in move.sources:
        wanted = " or ".join(sorted(s.label.lower() for s in move.sources))
        raise Conflict(
            f"This run is {run.get_state_display().lower()}: only a run that is {wanted} can "
            f"{move.label.lower()}.",
            field="state",
            remedy="Reload to see its current state.",
        )
    return move


def moves_for(user: Any, run: Run) -> list[Move]:
    """The moves that this person may make now: the buttons of the page."""
    sealed = run.state == S.COMPLETE and bool(run.sealed)
    return [
        move
        for move in MOVES.values()
        if move.action
        and not (sealed and move.name in ADDING)
        and RunState(run.state) in move.sources
        and permissions.can(user, move.action, run)
    ]
