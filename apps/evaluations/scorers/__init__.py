"""Scorers: judge an answer against a case. Pure Python; see docs/suites.md."""

from apps.evaluations.scorers.base import (
    MAX_SCORED_CHARS,
    Answer,
    Scorer,
    ScorerError,
    ScoreResult,
)
from apps.evaluations.scorers.registry import SCORERS, build_scorer

__all__ = [
    "MAX_SCORED_CHARS",
    "SCORERS",
    "Answer",
    "ScoreResult",
    "Scorer",
    "ScorerError",
    "build_scorer",
]
