"""Half-width of an interval for a difference that may be looked at after every run.

The situation: a baseline mean with variance s, known once and for ever, and a rerun mean whose
variance falls towards 0. Their difference has variance v = s + (variance of the rerun mean), which
falls towards s. In the information scale I = 1/v the estimate times I is (by the central limit
theorem) a Brownian motion: reruns add independent parts, and the baseline's error, common to all
looks, is exactly what keeps I below 1/s. So one boundary covers both errors at every look, and
they add as squares do, instead of each having an interval of its own.

Two boundaries get alpha/2 each and the smaller half-width counts:

* normal mixture (Robbins 1970; Howard et al. 2021, "Time-uniform, nonparametric, nonasymptotic
  confidence sequences", section 3.2; as an asymptotic confidence sequence: Waudby-Smith et al.
  2024, "Time-uniform central limit theory", theorem 2.2), sharp at the first looks:
      h**2 = v (v + t) / t * (2 log(1/a) + log((v + t) / v))
* constant boundary over the bounded information (reflection principle: P(sup over I <= 1/s of
  |W(I)| > c / sqrt(s)) <= 4 (1 - Phi(c)); the shape of O'Brien and Fleming 1979), sharp later:
      h = c v / sqrt(s),  c = Phi^-1(1 - a/4)
"""

from __future__ import annotations

import math
from statistics import NormalDist

from apps.drift.stats.checks import finite, positive, probability

_NORMAL = NormalDist()


def mixture_scale(alpha: float) -> float:
    """t / v at which the normal mixture is about tightest: x = log(1/a**2) + log(1 + x).

    Howard et al. 2021, section 3.5, by fixed-point iteration (the half-width is flat around it).
    """
    cost = -2.0 * math.log(probability(alpha, "alpha"))
    scale = cost
    for _ in range(20):
        scale = cost + math.log1p(scale)
    return scale


def anytime_half_width(*, variance: float, baseline_variance: float, alpha: float) -> float:
    """Half-width that covers the true difference at all looks together with chance 1 - alpha.

    variance: of the estimated difference now (metric units squared), baseline part included.
    baseline_variance: the part that further reruns cannot reduce; 0 when the baseline is exact.
    Raises ValueError when variance is not positive or is below baseline_variance.
    """
    v = positive(variance, "variance")
    s = finite(baseline_variance, "baseline_variance")
    if not 0.0 <= s <= v * (1.0 + 1e-9):
        raise ValueError("baseline_variance: must lie between 0 and variance.")
    half = probability(alpha, "alpha") / 2.0
    t = mixture_scale(half) * (2.0 * s if s > 0.0 else v)
    mixture = math.sqrt(v * (v + t) / t * (-2.0 * math.log(half) + math.log((v + t) / v)))
    if s == 0.0:
        return mixture
    constant = _NORMAL.inv_cdf(1.0 - half / 4.0) * v / math.sqrt(s)
    return min(mixture, constant)


def variance_for_half_width(
    *, half_width: float, baseline_variance: float, alpha: float
) -> float | None:
    """Largest total variance whose half-width is at most ``half_width``.

    None when even an endless rerun would not do: the baseline itself is too small.
    """
    positive(half_width, "half_width")
    s = positive(baseline_variance, "baseline_variance")
    if anytime_half_width(variance=s, baseline_variance=s, alpha=alpha) >= half_width:
        return None
    low, high = s, s + half_width**2
    for _ in range(100):
        middle = (low + high) / 2.0
        h = anytime_half_width(variance=middle, baseline_variance=s, alpha=alpha)
        low, high = (middle, high) if h <= half_width else (low, middle)
    return low
