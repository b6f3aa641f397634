"""How good the cases of a suite are, by past answers: pass rate, discrimination, flakiness.

Per case, over the runs given (one revision, one metric with right and wrong; an answer counts as
right from 0.5 on, or up to it where lower is better):

- pass rate: share of its answers that are right.
- flakiness: mean over runs of 4·p·(1 - p) with p the run's share right, for runs with several
  answers to the case: 0 where replicates agree, 1 where half of them are right.
- discrimination: correlation over runs of the case's mean with the mean of all other cases (the
  corrected item-total correlation of test theory). Near 1: the case is right when the rest is;
  below 0: it is right when the rest is wrong, so its expectation may be. None below MIN_RUNS runs,
  or where the case or the rest never moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.evaluations.models import Run, Score
from apps.evaluations.scoring import FIRST_REVISION

MIN_RUNS = 4
MIN_ANSWERS = 8
FLAKY = 0.5
WORDS = {
    "always": ("always right", "It cannot show that a model got better, only that it broke."),
    "never": ("never right", "Nobody answers it, or its expectation is wrong."),
    "ambiguous": (
        "ambiguous?",
        "Right about half of the time within one run: the question or its expectation may be "
        "open to two readings.",
    ),
    "against": (
        "against the rest",
        "Right when the other cases are wrong: look at what it expects.",
    ),
}
"""What a flag says, and why it matters."""


@dataclass(frozen=True)
class CaseQuality:
    pass_rate: float
    flakiness: float
    discrimination: float | None
    answers: int
    runs: int

    @property
    def flaky(self) -> bool:
        return self.flakiness > 0

    @property
    def flags(self) -> list[str]:
        """Keys of WORDS: what a person should look at."""
        found = []
        if self.answers >= MIN_ANSWERS and self.pass_rate in (0.0, 1.0):
            found.append("always" if self.pass_rate == 1.0 else "never")
        if self.answers >= MIN_ANSWERS and self.flakiness >= FLAKY:
            found.append("ambiguous")
        if self.discrimination is not None and self.discrimination < -0.3:
            found.append("against")
        return found


def case_quality(
    runs: Iterable[Run], metric_key: str, *, higher: bool = True
) -> dict[Any, CaseQuality]:
    """By the id of the stored case. One query for each run's partition."""
    tables = []
    for run in runs:
        rows = Score.objects.filter(
            month=run.month,
            run=run,
            metric_key=metric_key,
            scoring_revision=FIRST_REVISION,
            value__isnull=False,
        ).values_list("case_id", "value")
        table: dict[Any, list[float]] = {}
        for case, value in rows:
            assert value is not None
            right = value >= 0.5 if higher else value <= 0.5
            table.setdefault(case, []).append(1.0 if right else 0.0)
        tables.append(table)
    return quality_of(tables)


def quality_of(tables: Sequence[dict[Any, list[float]]]) -> dict[Any, CaseQuality]:
    """From right (1.0) and wrong (0.0) answers: one table a run, case → its answers. Pure."""
    means = [{case: sum(v) / len(v) for case, v in table.items() if v} for table in tables]
    sums = [sum(m.values()) for m in means]
    found = {}
    for case in dict.fromkeys(c for m in means for c in m):
        here = [i for i, m in enumerate(means) if case in m]
        answers = [a for i in here for a in tables[i][case]]
        spreads = [
            4 * means[i][case] * (1 - means[i][case]) for i in here if len(tables[i][case]) > 1
        ]
        rest = [(sums[i] - means[i][case]) / (len(means[i]) - 1) for i in here if len(means[i]) > 1]
        mine = [means[i][case] for i in here if len(means[i]) > 1]
        found[case] = CaseQuality(
            pass_rate=sum(answers) / len(answers),
            flakiness=sum(spreads) / len(spreads) if spreads else 0.0,
            discrimination=_correlation(mine, rest) if len(mine) >= MIN_RUNS else None,
            answers=len(answers),
            runs=len(here),
        )
    return found


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's r; None where one side never moves."""
    n = len(xs)
    mx, my = sum(xs) / n, sum(ys) / n
    sxx, syy = sum((x - mx) ** 2 for x in xs), sum((y - my) ** 2 for y in ys)
    if sxx < 1e-12 or syy < 1e-12:
        return None
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / math.sqrt(sxx * syy)
