"""The one place where scorers are registered: add a class here and it exists everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.evaluations.scorers.base import Scorer
from apps.evaluations.scorers.choice import Choice
from apps.evaluations.scorers.contains import Contains
from apps.evaluations.scorers.embedding import Embedding
from apps.evaluations.scorers.exact import Exact
from apps.evaluations.scorers.json_diff import JsonDiff
from apps.evaluations.scorers.json_schema import JsonSchema
from apps.evaluations.scorers.language import Language
from apps.evaluations.scorers.length import Length
from apps.evaluations.scorers.length_bounds import LengthBounds
from apps.evaluations.scorers.numeric import Numeric
from apps.evaluations.scorers.refusal import Refusal
from apps.evaluations.scorers.regex import Regex
from apps.evaluations.scorers.rubric import Rubric
from apps.evaluations.scorers.style import Style
from apps.evaluations.scorers.tool_call import ToolCall

SCORERS: dict[str, type[Scorer]] = {
    scorer.type: scorer
    for scorer in (
        Exact,
        Contains,
        Regex,
        Choice,
        Numeric,
        JsonSchema,
        JsonDiff,
        ToolCall,
        Language,
        Length,
        LengthBounds,
        Refusal,
        Style,
        Embedding,
        Rubric,
    )
}


def build_scorer(type_name: str, params: Mapping[str, Any]) -> Scorer:
    """The scorer for a type's name and parameters. Raises KeyError or ScorerError."""
    return SCORERS[type_name].validate_params(params)
