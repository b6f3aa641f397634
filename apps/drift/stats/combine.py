"""One e-value out of many, and many hypotheses at once.

References: Vovk and Wang 2021, "E-values: calibration, combination and applications", section 3
(the arithmetic mean is the best symmetric combination under arbitrary dependence); Wang and Ramdas
2022, "False discovery rate control with e-values", section 4 (e-BH).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from apps.drift.stats.checks import finite_all, probability

FIRST_DEAL, LATER_DEAL = 0.9, 0.5


def _log_e_values(log_es: Sequence[float], argument: str) -> list[float]:
    values = [float(value) for value in log_es]
    for value in values:
        if math.isnan(value) or value == math.inf:
            raise ValueError(f"{argument}: must be numbers or minus infinity, got {value}.")
    return values


def combine_log_e(log_es: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """log of sum_i w_i * e_i: the weighted average of e-values, in natural logarithms.

    Valid under any dependence (the product is not). The weights must be fixed before looking; they
    sum to 1 and are equal when None. Averages of e-processes looked at together are e-processes.

    Raises ValueError when there is no e-value, one is NaN or infinite, or the weights are negative,
    of another length, or do not sum to 1.
    """
    values = _log_e_values(log_es, "log_es")
    if not values:
        raise ValueError("log_es: there is no e-value to combine.")
    if weights is None:
        shares = [1.0 / len(values)] * len(values)
    else:
        shares = finite_all(weights, "weights")
        if len(shares) != len(values):
            raise ValueError(f"weights: {len(values)} are needed, got {len(shares)}.")
        if min(shares) < 0.0 or abs(math.fsum(shares) - 1.0) > 1e-9:
            raise ValueError("weights: must not be negative and must sum to 1.")
    parts = [v + math.log(s) for v, s in zip(values, shares, strict=True) if s > 0.0]
    top = max(parts)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(part - top) for part in parts))


def deal_weights(shares: Sequence[float], *, spent: float) -> list[float]:
    """Weights for sources that have not looked yet, out of the capital not yet spent.

    shares: positive, in proportion to which they are dealt. spent: sum of the weights already
    fixed, in [0, 1). The first deal hands out 9/10 and keeps a reserve; every later deal hands out
    half of the reserve, so that no number of new sources ever spends more than 1.

    Raises ValueError on shares that are not positive or on ``spent`` outside [0, 1).
    """
    sizes = finite_all(shares, "shares")
    if not sizes or min(sizes) <= 0.0:
        raise ValueError("shares: at least one is needed, and each must be above 0.")
    if not 0.0 <= spent < 1.0:
        raise ValueError(f"spent: must lie in [0, 1), got {spent}.")
    dealt = FIRST_DEAL if spent == 0.0 else (1.0 - spent) * LATER_DEAL
    total = math.fsum(sizes)
    return [dealt * size / total for size in sizes]


def e_bh(log_es: Sequence[float], alpha: float) -> list[int]:
    """Positions (rising) of the hypotheses rejected by e-BH at false discovery rate alpha.

    With e_(1) >= e_(2) >= ..., k* = max{k: e_(k) >= n / (alpha k)}; the k* largest are rejected.
    Valid under any dependence. Raises ValueError on NaN, infinity, or alpha not in (0, 1).
    """
    values = _log_e_values(log_es, "log_es")
    line = math.log(len(values)) if values else 0.0
    line -= math.log(probability(alpha, "alpha"))
    order = sorted(range(len(values)), key=lambda i: -values[i])
    rejected = 0
    for k, i in enumerate(order, start=1):
        if values[i] >= line - math.log(k):
            rejected = k
    return sorted(order[:rejected])
