"""Before somebody approves: would a rerun of these suites notice that an assumption broke?

An assumption breaks when its metric has moved by the *room*: the way from the baseline's mean to
threshold -+ tolerance. For shares (0/1 answers) the watch itself is simulated, with the capital
that this metric alone commands; for other metrics the interval's half-width is compared with the
room. Both are estimates (`stats.power`) and err to the late side: a real change mostly moves more
than one metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from django.conf import settings

import apps.evaluations.selectors as evaluations
from apps.drift.comparing import EFFECT_ALPHA
from apps.drift.metrics import WatchedMetric, watches_of
from apps.drift.models import Baseline, EvidenceSource
from apps.drift.stats import (
    answers_needed_for_margin,
    baseline_answers_needed,
    reruns_to_detect,
)
from apps.drift.stats.combine import FIRST_DEAL
from apps.drift.stats.run_effect import OCCASIONS, of_one_day
from apps.registry.models import Approval, Assumption

MOST_RERUNS = 60
MOST_SIMULATED = 60  # cases; with more of them the estimate errs to the late side
STEPS = (0.05, 0.1, 0.2, 0.3, 0.5)


class Support(StrEnum):
    YES = "supported"
    NO = "not_supported"
    BROKEN = "already_broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Power:
    """room: how far the metric may move, in its units. reruns: until that is seen, in half of all
    lives; None where it is not expected within MOST_RERUNS."""

    assumption: Assumption
    support: Support
    sentence: str
    room: float | None = None
    reruns: int | None = None

    @property
    def warns(self) -> bool:
        return self.support != Support.YES


def power_of_approval(approval: Approval) -> list[Power]:
    """One row for each assumption, in their order."""
    return [power_of(a) for a in approval.assumptions.select_related("approval").order_by("code")]


def power_of(assumption: Assumption) -> Power:
    """What the version's present baseline of the assumption's suite can support."""
    baseline = (
        Baseline.objects.filter(
            model_version=assumption.approval.model_version_id,
            suite_revision__suite__slug=assumption.suite_slug,
            retired_at__isnull=True,
        )
        .select_related("suite_revision")
        .order_by("-created_at")
        .first()
    )
    if baseline is None:
        return _unknown(
            assumption,
            f"{assumption.suite_slug} has no baseline of this version: no rerun can tell whether "
            "this still holds. Run it with purpose “baseline” first.",
        )
    watched = watches_of(baseline) if baseline.summary.get("watched") else []
    metric = next((m for m in watched if m.key == assumption.metric_key), None)
    values = evaluations.metric_values(list(baseline.runs.all())).get(assumption.metric_key, {})
    cases = {case: scores for case, scores in values.items() if scores}
    if metric is None or not cases:
        return _unknown(
            assumption,
            f"The baseline holds no value of {assumption.metric_key}: no rerun can tell whether "
            "this still holds.",
        )
    return _estimate(assumption, baseline, metric, cases)


def _unknown(assumption: Assumption, sentence: str) -> Power:
    return Power(assumption, Support.UNKNOWN, sentence)


def _estimate(
    assumption: Assumption,
    baseline: Baseline,
    metric: WatchedMetric,
    cases: Mapping[str, Sequence[float]],
) -> Power:
    mean = sum(sum(v) / len(v) for v in cases.values()) / len(cases)
    lower = assumption.comparator == Assumption.Comparator.AT_LEAST
    room = mean - assumption.threshold if lower else assumption.threshold - mean
    room += assumption.tolerance
    way = "fall" if lower else "rise"
    if room <= 0.0:
        return Power(
            assumption,
            Support.BROKEN,
            f"The baseline's own mean of {mean:.3g} does not keep it.",
            room,
        )
    amount, spread = _amount(metric, room), ""
    if metric.is_share and room >= (mean if lower else 1.0 - mean):
        return _unknown(assumption, f"No {way} of {metric.label} can break it: it says nothing.")
    if all(v in (0.0, 1.0) for scores in cases.values() for v in scores):
        alpha, one_day = _alpha(baseline, metric), of_one_day(baseline.runs.count())
        sign = 1.0 if lower else -1.0
        reruns = _simulated(sign * room, cases, alpha, one_day)
        hint = _smallest(sign, room, cases, alpha, one_day) if reruns is None else ""
        sooner = _simulated(sign * room, cases, alpha, False) if one_day else None
        if sooner is not None and (reruns is None or sooner < reruns):
            # The first reruns are ranked against that one day's luck, and tempered for it.
            spread = f"; within {sooner} with a baseline of {OCCASIONS} runs or more over some days"
            hint += spread
    else:
        reruns, hint = _by_interval(room, cases)
    many = f"{len(cases)} case{'' if len(cases) == 1 else 's'}"
    if reruns is None:
        return Power(
            assumption,
            Support.NO,
            f"A {way} of {amount} breaks it, and {many} a rerun are too few to expect to see "
            f"that within {MOST_RERUNS} reruns{hint}. More cases or a larger tolerance would.",
            room,
        )
    times = "the first rerun" if reruns == 1 else f"{reruns} reruns"
    return Power(
        assumption,
        Support.YES,
        f"A {way} of {amount} breaks it; with {many} a rerun it is seen within {times} "
        f"(in half of all lives, by this metric alone{spread}).",
        room,
        reruns,
    )


def _amount(metric: WatchedMetric, room: float) -> str:
    return f"{room * metric.scale:.3g} {metric.shown_unit}".strip()


def _alpha(baseline: Baseline, metric: WatchedMetric) -> float:
    """The line that this metric's own e-value must reach: 1 / (alpha x its part of the capital)."""
    source = EvidenceSource.objects.filter(baseline=baseline).order_by("-created_at").first()
    of_version = source.weight if source and source.weight is not None else FIRST_DEAL * 0.6
    share = float(baseline.summary.get("first_rerun", {}).get("share", 0.0))
    alpha = float(baseline.summary.get("alpha", settings.GOVTRACK["ALPHA"]))
    return max(alpha * of_version * (1.0 - share) * metric.weight, 1e-12)


def _simulated(
    drop: float, cases: Mapping[str, Sequence[float]], alpha: float, one_day: bool
) -> int | None:
    # Laplace's rule: an answer seen right three times of three is not right for ever.
    rates = sorted((sum(v) + 0.5) / (len(v) + 1.0) for v in cases.values())
    count = min(len(rates), MOST_SIMULATED)
    picked = [round(rates[(2 * i + 1) * len(rates) // (2 * count)], 2) for i in range(count)]
    replicates = min(min(len(v) for v in cases.values()), 20)
    line = round(math.log(alpha), 2)
    return _cached(round(drop, 3), count, line, replicates, tuple(picked), one_day)


@lru_cache(maxsize=512)
def _cached(
    drop: float,
    count: int,
    log_alpha: float,
    replicates: int,
    rates: tuple[float, ...],
    one_day: bool,
) -> int | None:
    return reruns_to_detect(
        drop,
        count,
        math.exp(log_alpha),
        baseline_replicates=replicates,
        quiet_runs=0,
        rates=rates,
        max_runs=MOST_RERUNS,
        one_day=one_day,
    )


def _smallest(
    sign: float, room: float, cases: Mapping[str, Sequence[float]], alpha: float, one_day: bool
) -> str:
    for step in STEPS:
        if step > room and (runs := _simulated(sign * step, cases, alpha, one_day)):
            times = "rerun" if runs == 1 else "reruns"
            return f" (one of {100 * step:.0f} points would be seen, within {runs} {times})"
    return " (nor any larger one)"


def _by_interval(room: float, cases: Mapping[str, Sequence[float]]) -> tuple[int | None, str]:
    """Reruns until the interval of an unchanged model is as narrow as the room, and a hint."""
    variance = _variance(cases)
    if variance <= 0.0:
        return 1, ""  # never varied: the first answer that differs is news
    have = sum(len(v) for v in cases.values())
    answers = answers_needed_for_margin(
        room, answer_variance=variance, baseline_answers=have, alpha=EFFECT_ALPHA
    )
    if answers is None:
        wanted = baseline_answers_needed(room, answer_variance=variance, alpha=EFFECT_ALPHA)
        return None, f" (the baseline needs about {wanted:,} answers and has {have:,})"
    reruns = math.ceil(answers / len(cases))
    return (reruns, "") if reruns <= MOST_RERUNS else (None, f" (about {reruns:,} would be needed)")


def _variance(cases: Mapping[str, Sequence[float]]) -> float:
    """Of one answer within its case; without replicates over all answers, which is an upper bound
    in expectation."""
    repeated = [v for v in cases.values() if len(v) > 1]
    groups = repeated or [[x for v in cases.values() for x in v]]
    freedom = sum(len(g) - 1 for g in groups)
    squares = sum((x - sum(g) / len(g)) ** 2 for g in groups for x in g)
    return squares / freedom if freedom else 0.0
