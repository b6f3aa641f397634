"""Any two moments of one version on one suite: what is another now than it was then?

A look that somebody chose, after seeing when it changed, proves nothing by itself: the verdicts of
the watches hold their error rate, this does not. The page says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apps.evaluations.selectors as evaluations
from apps.drift.metrics import WatchedMetric, watched
from apps.drift.pairs import json_difference, word_distance
from apps.drift.stats import Effect, effect_interval
from apps.evaluations.models import Run, RunState, SampleStatus, SuiteRevision
from apps.registry.models import ModelVersion
from apps.web.evidence import metric_row
from apps.web.pairs import told

ALPHA = 0.05
PAIRS = 10
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Side:
    """A moment that was asked for, and the run that stands for it."""

    asked: dt.datetime
    run: Run

    @property
    def at(self) -> dt.datetime:
        return self.run.finished_at or self.run.created_at


@dataclass(frozen=True)
class AnswerPair:
    case: str
    before: str
    now: str
    distance: float
    changes: list[dict[str, Any]]
    no_longer_json: str


@dataclass(frozen=True)
class Between:
    before: Side
    now: Side
    rows: list[dict[str, Any]]
    pairs: list[AnswerPair]
    same: int
    compared: int


def revisions(version: ModelVersion) -> list[SuiteRevision]:
    """Suite revisions that this version answered completely, the newest first."""
    done = Run.objects.filter(model_version=version, state=RunState.COMPLETE)
    rows = SuiteRevision.objects.filter(pk__in=done.values("suite_revision"))
    return list(rows.select_related("suite").order_by("suite__name", "-number"))


def side(version: ModelVersion, revision: SuiteRevision, moment: dt.datetime) -> Side | None:
    """The last complete run at that moment; where there was none yet, the first after it."""
    runs = Run.objects.filter(
        model_version=version,
        suite_revision=revision,
        state=RunState.COMPLETE,
        finished_at__isnull=False,
    ).select_related("suite_revision__suite")
    run = (
        runs.filter(finished_at__lte=moment).order_by("-finished_at").first()
        or runs.order_by("finished_at").first()
    )
    return Side(moment, run) if run else None


def compare(before: Side, now: Side) -> Between:
    old = evaluations.metric_values([before.run])
    new = evaluations.metric_values([now.run])
    metrics = watched(now.run.suite_revision, set(old) & set(new))
    rows = [_row(m, old.get(m.key, {}), new.get(m.key, {})) for m in metrics]
    # What moved furthest beyond chance comes first, what has a margin before what has none.
    rows.sort(key=lambda r: (r["verdict"] != "changed", r["margin"] is None))
    pairs, same, compared = _pairs(before.run, now.run)
    return Between(before, now, rows, pairs, same, compared)


def _row(metric: WatchedMetric, old: Values, new: Values) -> dict[str, Any]:
    effect = _effect(metric, old, new)
    before, now = _mean(old), _mean(new)
    low = effect.low if effect else None
    high = effect.high if effect else None
    estimate = effect.estimate if effect else None
    if estimate is None and before is not None and now is not None:
        estimate = now - before
    verdict, margin = "inconclusive", metric.margin
    if low is not None and high is not None:
        if margin is not None and -margin <= low and high <= margin:
            verdict = "equivalent"
        elif low > 0 or high < 0:
            verdict = "changed"
    return metric_row(
        label=metric.label,
        share=metric.is_share,
        unit=metric.unit,
        before=effect.baseline_mean if effect else before,
        now=effect.current_mean if effect else now,
        estimate=estimate,
        low=low,
        high=high,
        margin=margin,
        verdict=verdict,
    )


def _effect(metric: WatchedMetric, old: Values, new: Values) -> Effect | None:
    both = any(old[case] and new.get(case) for case in old)
    if not both:
        return None
    bounds = metric.bounds
    if bounds and not all(
        bounds[0] <= v <= bounds[1] for arm in (old, new) for values in arm.values() for v in values
    ):
        bounds = None
    try:
        return effect_interval(old, new, alpha=ALPHA, bounds=bounds)
    except ValueError:  # NotEnoughAnswers is one: without noise there is no interval
        return None


def _mean(values: Values) -> float | None:
    means = [sum(v) / len(v) for v in values.values() if v]
    return sum(means) / len(means) if means else None


def _pairs(before: Run, now: Run) -> tuple[list[AnswerPair], int, int]:
    """The pairs that differ most, how many answers are word for word the same, and of how many."""
    old: dict[str, str] = {}
    for sample in evaluations.answers(before):
        if sample.status == SampleStatus.ANSWERED:
            old.setdefault(sample.case.case_id, sample.text)
    found, same, compared = [], 0, 0
    seen: set[str] = set()
    for sample in evaluations.answers(now):
        case = sample.case.case_id
        if sample.status != SampleStatus.ANSWERED or case not in old or case in seen:
            continue
        seen.add(case)
        compared += 1
        if old[case] == sample.text:
            same += 1
            continue
        found.append((word_distance(old[case], sample.text), case, sample.text))
    found.sort(key=lambda item: (-item[0], item[1]))
    shown = [
        AnswerPair(case, old[case], text, distance, *told(json_difference(old[case], text)))
        for distance, case, text in found[:PAIRS]
    ]
    return shown, same, compared
