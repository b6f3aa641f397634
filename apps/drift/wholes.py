"""Whole-output scores of answered samples (`stats.whole`), in the form of `metric_values`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apps.drift.stats.whole import normalised, similarities
from apps.evaluations.models import Sample

MATCH, SIMILARITY = "whole.match", "whole.similarity"
KEYS = (MATCH, SIMILARITY)
Values = dict[str, dict[str, list[float]]]


def of_baseline(samples: Iterable[Sample]) -> Values:
    """Scores of every baseline answer but the first of each case, which is the reference."""
    references: dict[str, str] = {}
    said: list[tuple[str, str]] = []
    for sample in samples:
        case = sample.case.case_id
        if case in references:
            said.append((case, _normalised(sample)))
        else:
            references[case] = _normalised(sample)
    return _values(references, said)


def of_run(baseline: Iterable[Sample], samples: Iterable[Sample]) -> Values:
    """Scores of a rerun's answers; cases without a reference have none."""
    references: dict[str, str] = {}
    for sample in baseline:
        if sample.case.case_id not in references:
            references[sample.case.case_id] = _normalised(sample)
    said = [(s.case.case_id, _normalised(s)) for s in samples if s.case.case_id in references]
    return _values(references, said)


def watched(metrics: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a baseline's frozen metrics hold any of these: older baselines have none."""
    return any(m["key"] in KEYS for m in metrics)


def _normalised(sample: Sample) -> str:
    return normalised(sample.text, sample.tool_calls)


def _values(references: Mapping[str, str], said: Sequence[tuple[str, str]]) -> Values:
    likeness = similarities((references[case], answer) for case, answer in said)
    values: Values = {}
    for (case, answer), near in zip(said, likeness, strict=True):
        match = float(answer == references[case])
        values.setdefault(MATCH, {}).setdefault(case, []).append(match)
        values.setdefault(SIMILARITY, {}).setdefault(case, []).append(near)
    return values
