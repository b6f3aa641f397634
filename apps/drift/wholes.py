"""Whole-output scores of answered samples (`stats.whole`), in the form of `metric_values`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apps.drift.stats.whole import Reference, normalised
from apps.evaluations.models import Sample

MATCH, SIMILARITY = "whole.match", "whole.similarity"
KEYS = (MATCH, SIMILARITY)
Values = dict[str, dict[str, list[float]]]


def of_baseline(samples: Iterable[Sample]) -> Values:
    """Scores of every baseline answer but the first of each case, which is the reference."""
    references: dict[str, Reference] = {}
    values: Values = {}
    for case, said in _said(samples):
        if case in references:
            _add(values, case, said, references[case])
        else:
            references[case] = Reference(said)
    return values


def of_run(baseline: Iterable[Sample], samples: Iterable[Sample]) -> Values:
    """Scores of a rerun's answers; cases without a reference have none."""
    references: dict[str, Reference] = {}
    for case, said in _said(baseline):
        references.setdefault(case, Reference(said))
    values: Values = {}
    for case, said in _said(samples):
        if case in references:
            _add(values, case, said, references[case])
    return values


def watched(metrics: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a baseline's frozen metrics hold any of these: older baselines have none."""
    return any(m["key"] in KEYS for m in metrics)


def _said(samples: Iterable[Sample]) -> Iterable[tuple[str, str]]:
    for sample in samples:
        yield sample.case.case_id, normalised(sample.text, sample.tool_calls)


def _add(values: Values, case: str, said: str, reference: Reference) -> None:
    values.setdefault(MATCH, {}).setdefault(case, []).append(reference.match(said))
    values.setdefault(SIMILARITY, {}).setdefault(case, []).append(reference.similarity(said))
