"""The answered samples of runs, read once for all that looks at their texts."""

from __future__ import annotations

from collections.abc import Iterable

import apps.evaluations.selectors as evaluations
from apps.evaluations.models import Run, Sample, SampleStatus


def answered(runs: Iterable[Run]) -> list[Sample]:
    """Answered samples with their cases, oldest run first, by case position and replicate."""
    oldest_first = sorted(runs, key=lambda run: (run.created_at, str(run.pk)))
    return [
        sample
        for run in oldest_first
        for sample in evaluations.answers(run)
        if sample.status == SampleStatus.ANSWERED
    ]
