"""How large is the change, with the baseline's own error in the interval, at any look.

    delta = sum over cases of w_c * (mean of the current answers - mean of the baseline answers)

with w_c = 1/cases unless weights are given. The interval is delta +- h with h from
`intervals.anytime_half_width` and the noise from `noise.difference_noise`, widened by the ratio of
Student's to the normal quantile for few degrees of freedom and cut to what the bounds allow.

What is claimed: coverage 1 - alpha over *all* looks at one growing set of reruns, by the central
limit theorem for the sum over cases and answers; measured in the Monte Carlo tests for few answers,
rare flips and skewed scores. What is not claimed: a guarantee for any bounded distribution at any
size. Such bounds would never settle a margin here: for 120 baseline answers with variance 1/6, at
alpha/2 = 2.5 %, Hoeffding's is +-13.5 points and the empirical Bernstein bound of Maurer and Pontil
2009 +-20 points for the baseline alone, before any error of the reruns. Nor does it cover a set
of reruns that was *chosen* by its result: after an alarm, measure the effect on fresh runs.

The interval speaks about the mean over all the reruns given; a change last week moves a year's mean
little. The watch (`watch.CaseWatch`) finds that; the verdict needs both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import t as student

from apps.drift.stats.checks import NotEnoughAnswers, answers_by_case, finite, probability
from apps.drift.stats.intervals import anytime_half_width
from apps.drift.stats.noise import Arm, FloatArray, difference_noise

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Effect:
    """A difference of means with its interval, in the metric's units.

    relative: estimate / baseline_mean, None when the baseline mean is 0.
    baseline_variance, current_variance: the two parts of the variance of the estimate, already
    widened for few degrees of freedom; only the second shrinks with further reruns.
    """

    estimate: float
    low: float
    high: float
    alpha: float
    baseline_mean: float
    current_mean: float
    n_cases: int
    n_baseline: int
    n_current: int
    relative: float | None
    baseline_variance: float
    current_variance: float

    def inside(self, margin: float) -> bool:
        """The whole interval lies within +-margin."""
        return -margin < self.low and self.high < margin

    def beyond(self, margin: float) -> bool:
        """The whole interval lies outside +-margin, on one side."""
        return self.low > margin or self.high < -margin

    def excludes_zero(self) -> bool:
        """The interval does not hold 0."""
        return self.low > 0.0 or self.high < 0.0


def effect_interval(
    baseline: Mapping[str, Sequence[float]],
    current: Mapping[str, Sequence[float]],
    *,
    alpha: float,
    bounds: tuple[float, float] | None,
    weights: Mapping[str, float] | None = None,
) -> Effect:
    """Effect over the cases that have an answer in both arms.

    baseline, current: case id -> scores. alpha: error probability over all looks (0.05 for a 95 %
    confidence sequence). bounds: lowest and highest possible score, or None when there are none.
    weights: case id -> weight >= 0 (rescaled to sum 1 over the cases used); equal when None.

    Raises ValueError when a score is not finite or out of bounds, when no case is answered in
    both arms, or when the weights are unusable; NotEnoughAnswers (a ValueError) when the answers
    cannot show any noise (see `noise`). A caller then passes ``effect=None`` on: inconclusive.
    """
    probability(alpha, "alpha")
    before, after = answers_by_case(baseline, "baseline"), answers_by_case(current, "current")
    cases = sorted(case for case in before if before[case] and after.get(case))
    if not any(before.values()):
        raise ValueError("baseline: has no answer; there is nothing to compare with.")
    if not any(after.values()):
        raise ValueError("current: has no answer.")
    if not cases:
        raise ValueError("current: no case has answers in both baseline and current.")
    value_range = _checked_range(before, after, cases, bounds)
    w = _case_weights(cases, weights)
    old, new = Arm.of([before[c] for c in cases]), Arm.of([after[c] for c in cases])

    noise = difference_noise(old, new, w, value_range=value_range, log_odds=-math.log(alpha))
    widened = _student_ratio(alpha, noise.freedom) ** 2
    base_variance, now_variance = noise.baseline * widened, noise.current * widened
    if value_range is not None:
        worst = value_range**2 / 4.0
        base_variance = min(base_variance, worst * float((w**2 / old.count).sum()))
        now_variance = min(now_variance, worst * float((w**2 / new.count).sum()))
    total = base_variance + now_variance
    if total <= 0.0:
        raise NotEnoughAnswers("current: the answers show no noise at all; collect more.")
    half = anytime_half_width(variance=total, baseline_variance=base_variance, alpha=alpha)

    old_mean, new_mean = float((w * old.mean).sum()), float((w * new.mean).sum())
    estimate = new_mean - old_mean
    low, high = estimate - half, estimate + half
    if value_range is not None:
        low, high = max(low, -value_range), min(high, value_range)
    return Effect(
        estimate=estimate,
        low=low,
        high=high,
        alpha=alpha,
        baseline_mean=old_mean,
        current_mean=new_mean,
        n_cases=len(cases),
        n_baseline=int(old.answers),
        n_current=int(new.answers),
        relative=estimate / old_mean if old_mean != 0.0 else None,
        baseline_variance=base_variance,
        current_variance=now_variance,
    )


def _checked_range(
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    cases: Sequence[str],
    bounds: tuple[float, float] | None,
) -> float | None:
    if bounds is None:
        return None
    low, high = finite(bounds[0], "bounds"), finite(bounds[1], "bounds")
    if low >= high:
        raise ValueError(f"bounds: the lower must be below the upper, got {low} and {high}.")
    for name, arm in (("baseline", before), ("current", after)):
        for case in cases:
            for score in arm[case]:
                if not low <= score <= high:
                    raise ValueError(f"{name}[{case!r}]: {score} is out of bounds {low} to {high}.")
    return high - low


def _case_weights(cases: Sequence[str], weights: Mapping[str, float] | None) -> FloatArray:
    if weights is None:
        return np.full(len(cases), 1.0 / len(cases))
    chosen = []
    for case in cases:
        if case not in weights:
            raise ValueError(f"weights: has no weight for case {case!r}.")
        weight = finite(weights[case], f"weights[{case!r}]")
        if weight < 0.0:
            raise ValueError(f"weights[{case!r}]: must not be negative, got {weight}.")
        chosen.append(weight)
    total = math.fsum(chosen)
    if total <= 0.0:
        raise ValueError("weights: at least one case needs a weight above 0.")
    return np.array(chosen) / total


def _student_ratio(alpha: float, freedom: float) -> float:
    """Student's quantile over the normal one at 1 - alpha/8, the constant boundary's level."""
    level = 1.0 - alpha / 8.0
    return float(student.ppf(level, max(freedom, 1.0))) / _NORMAL.inv_cdf(level)
