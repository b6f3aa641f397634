"""How noisy are answers to the same case, when each case has only a few of them?

Cases are fixed and paired, so only the noise *within* a case counts. One arm (baseline or reruns)
gives a mean over cases  m = sum_c w_c * mean_c  with variance  sum_c w_c**2 * sigma_c**2 / n_c.

* With replicates, sigma_c**2 is the sample variance of case c (unbiased for the sum; cases with a
  single answer take the pooled variance). Degrees of freedom by Satterthwaite 1946.
* Without replicates, the spread over cases of the paired differences current - baseline bounds the
  variance of the whole difference from above (it also holds the differences between cases).
* **Floor for answers that never varied.** n answers without a flip still allow a flip rate of
  log(1/alpha)/n (3/n at 5 %). So each arm gets log(1/alpha)/n * (share of cases that did not vary)
  * range**2 on top, per answer. The range is that of the bounds. For an unbounded metric it is the
  largest spread seen within a case, else over all answers, else the size of the values: a rule of
  thumb, since nothing bounds what an answer never seen might score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.drift.stats.checks import NotEnoughAnswers

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """Answers of one arm, summed up by case; every array has shape (cases,)."""

    count: FloatArray
    mean: FloatArray
    squares: FloatArray  # sum of squared distances from the case's mean
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, answers: list[list[float]]) -> Arm:
        """Sum up one list of scores (at least one) for each case."""
        count = np.array([len(scores) for scores in answers])
        mean, squares, low, high = (np.empty(count.size) for _ in range(4))
        for size in np.unique(count):  # cases with as many answers as one table
            at = np.nonzero(count == size)[0]
            table = np.array([answers[i] for i in at], dtype=np.float64)
            mean[at] = table.mean(axis=1)
            squares[at] = ((table - mean[at][:, None]) ** 2).sum(axis=1)
            low[at], high[at] = table.min(axis=1), table.max(axis=1)
        return cls(count=count.astype(np.float64), mean=mean, squares=squares, low=low, high=high)

    @property
    def answers(self) -> float:
        """Number of answers."""
        return float(self.count.sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom within cases."""
        return float((self.count - 1.0).sum())

    def case_variances(self) -> FloatArray:
        """Sample variance for each case; the pooled one where a case has a single answer."""
        pooled = float(self.squares.sum()) / self.freedom
        repeated = self.count > 1.0
        own = self.squares / np.where(repeated, self.count - 1.0, 1.0)
        return np.where(repeated, own, pooled)


@dataclass(frozen=True)
class Noise:
    """Variance of the estimated difference: baseline part, rerun part, degrees of freedom."""

    baseline: float
    current: float
    freedom: float


def difference_noise(
    baseline: Arm, current: Arm, weights: FloatArray, *, value_range: float | None, log_odds: float
) -> Noise:
    """Estimate the noise of  sum_c w_c (current mean_c - baseline mean_c).

    weights: shape (cases,), summing to 1. value_range: high - low for a bounded metric, else None.
    log_odds: log(1/alpha), the price of an unseen flip.

    The baseline's part is the larger of what the baseline and what the reruns show: a lucky, calm
    baseline is corrected once the reruns show the noise.

    Raises NotEnoughAnswers when a single case has no replicate and the metric has no bounds, or
    when every answer is 0 and the metric has no bounds.
    """
    w2 = weights**2
    base_design, now_design = float((w2 / baseline.count).sum()), float((w2 / current.count).sum())
    cases = weights.size
    spread = value_range if value_range is not None else _observed_range(baseline, current)

    paired = None
    if cases > 1:
        shift = current.mean - baseline.mean
        centred = shift - float((weights * shift).sum())
        paired = float((w2 * centred**2).sum()) * cases / (cases - 1)

    base_part, base_freedom = _within(baseline, w2)
    now_part, now_freedom = _within(current, w2)
    if now_part is not None and (current.freedom >= cases - 1 or paired is None):
        seen_in_reruns = float((w2 * current.case_variances() / baseline.count).sum())
        base_part = max(base_part or 0.0, seen_in_reruns)
        if baseline.freedom < 1.0 and paired is not None:
            base_part = max(base_part, paired * base_design / (base_design + now_design))
            base_freedom = float(cases - 1)
        now_const = current.low == current.high
    elif paired is not None:
        if base_part is None:
            base_part = paired * base_design / (base_design + now_design)
            base_freedom = float(cases - 1)
        now_part, now_freedom = max(paired - base_part, 0.0), float(cases - 1)
        now_const = baseline.low == baseline.high
    elif base_part is not None:
        now_part, now_freedom = base_part / base_design * now_design, base_freedom
        now_const = baseline.low == baseline.high
    elif value_range is not None:
        base_part = now_part = 0.0
        base_freedom = now_freedom = 1.0
        now_const = baseline.low == baseline.high
    else:
        raise NotEnoughAnswers(
            "current: one case without replicates shows no noise; give the metric's bounds, "
            "or collect a second answer."
        )

    base_share = float((baseline.low == baseline.high).mean())
    now_share = float(now_const.mean())
    base_floor = log_odds / baseline.answers * base_share * spread**2 * base_design
    now_floor = log_odds / current.answers * now_share * spread**2 * now_design
    base_total, now_total = base_part + base_floor, now_part + now_floor
    doubt = base_part**2 / max(base_freedom, 1.0) + now_part**2 / max(now_freedom, 1.0)
    freedom = (base_total + now_total) ** 2 / doubt if doubt > 0.0 else 1e6
    if value_range is not None:
        worst = value_range**2 / 4.0
        base_total = min(base_total, worst * base_design)
        now_total = min(now_total, worst * now_design)
    return Noise(base_total, now_total, freedom)


def _within(arm: Arm, w2: FloatArray) -> tuple[float | None, float]:
    """Variance of the arm's mean (None without replicates) and Satterthwaite's freedom."""
    if arm.freedom < 1.0:
        return None, 0.0
    parts = w2 * arm.case_variances() / arm.count
    total = float(parts.sum())
    if total == 0.0:
        return 0.0, arm.freedom
    repeated = arm.count > 1.0
    doubt = float((parts[repeated] ** 2 / (arm.count[repeated] - 1.0)).sum())
    return total, min(total**2 / doubt, arm.freedom) if doubt > 0.0 else arm.freedom


def _observed_range(baseline: Arm, current: Arm) -> float:
    """Scale of an answer never seen, for a metric without bounds (see the module's text)."""
    low, high = np.minimum(baseline.low, current.low), np.maximum(baseline.high, current.high)
    for scale in (
        float((high - low).max()),
        float(high.max() - low.min()),
        float(np.abs(high).max()),
    ):
        if scale > 0.0:
            return scale
    raise NotEnoughAnswers(
        "baseline, current: every answer is 0 and the metric has no bounds, so nothing says how "
        "large a difference could be; give the bounds."
    )
