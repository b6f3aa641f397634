"""Why a scoring cannot go on until a person changes something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.evaluations.models import Score


class ScoringFailed(Exception):
    """The message says what stands in the way, and what to do. `scores`: what of the batch was
    scored all the same, of `samples` answers."""

    def __init__(self, message: str, *, scores: Sequence[Score] = (), samples: int = 0) -> None:
        super().__init__(message)
        self.scores = list(scores)
        self.samples = samples


class BudgetUsedUp(ScoringFailed):
    """No further call may be made: the scoring ends as partial."""
