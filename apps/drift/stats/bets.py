"""What a gambler may stake on a rank: functions on [0, 1] with mean 1, averaged over ties.

The rank of a new answer among n earlier ones and itself is an interval

    [a, b] = [below / (n + 1), (below + equal + 1) / (n + 1)],

uniformly at random one of those that the bag of answers allows. The classical smoothed rank draws a
point of it. Here the bet is averaged over the interval instead: the mean of an e-value over its own
tie-breaker is an e-value, nothing is drawn, and a tie is no noise. With one earlier answer a win or
a loss is all that is seen, and the boldest step below doubles or all but ends the stake.

| shape        | f(p)                         | for                                  |
|--------------|------------------------------|--------------------------------------|
| linear eps   | 1 + eps (p - 1/2)            | slow drifts, 0/1 scores              |
| step c       | 1 + c above 1/2, 1 - c below | few earlier answers; signs           |
| power k      | k p**(k - 1), and mirrored   | answers outside all that was seen    |
| spread s     | 1 + s (12 (p - 1/2)**2 - 1)  | more (s > 0) or less (s < 0) variety |

References: Vovk, Gammerman, Shafer 2022, ch. 8; Shafer 2021, "Testing by betting" (mixtures of
bets); Ramdas et al. 2022, "Testing exchangeability", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

LINEAR: tuple[float, ...] = (0.0, 0.475, -0.475, 0.95, -0.95, 1.9, -1.9)
STEP: tuple[float, ...] = (0.36, -0.36, 0.6, -0.6, 0.78, -0.78, 0.99, -0.99)
POWER: tuple[float, ...] = (0.5, 0.25)
SPREAD: tuple[float, ...] = (0.45, -0.45)
COUNT = len(LINEAR) + len(STEP) + 2 * len(POWER) + len(SPREAD)


def _prior(
    null: float, linear: Sequence[float], step: Sequence[float], power: float, spread: float
) -> FloatArray:
    shares = [null, *np.repeat(linear, 2), *np.repeat(step, 2), *[power] * 4, *[spread] * 2]
    prior = np.array(shares)
    return np.asarray(np.log(prior / prior.sum()))


# Prior shares of the bets, fixed before looking; logarithms, shape (COUNT,).
LOG_PRIOR: FloatArray = _prior(0.01, (0.04, 0.04, 0.04), (0.04, 0.06, 0.08, 0.07), 0.04, 0.035)
# 0/1 scores know nothing outside what was seen and no spread: all on a higher or a lower rate, and
# dealt so that with one baseline answer a case no record of up to 1,000 pairs that differ reaches
# the line of 100 later than the plain sign test (the mixture over Beta(1/2, 1/2), which starts
# with all the capital). That test keeps a fifth of its capital for odds beyond 39 : 1 and a twelfth
# for effects that a thousand pairs do not show; the same capital serves better in between. The
# shares solve the linear programme "least capital that is never later", rounded; 4 % are spare.
LOG_PRIOR_BINARY: FloatArray = _prior(
    0.004, (0.057, 0.055, 0.06), (0.0475, 0.0525, 0.1335, 0.0755), 0.002, 0.002
)
_TINY = 1e-300


def log_bets(low: ArrayLike, high: ArrayLike) -> FloatArray:
    """log of the mean of every bet over [low, high]: shape (..., COUNT).

    low, high: rank intervals (see `ranks.rank_interval`), 0 <= low < high <= 1, shape (...).
    """
    a, b = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    width = b - a
    middle = (a + b) / 2.0 - 0.5
    above = (np.maximum(b, 0.5) - np.maximum(a, 0.5)) / width  # share of the interval above 1/2
    square = ((b - 0.5) ** 3 - (a - 0.5) ** 3) * 4.0 / width - 1.0
    parts = [1.0 + eps * middle for eps in LINEAR]
    parts += [1.0 + c * (2.0 * above - 1.0) for c in STEP]
    for k in POWER:
        parts.append((b**k - a**k) / width)
        parts.append(((1.0 - a) ** k - (1.0 - b) ** k) / width)
    parts += [1.0 + s * square for s in SPREAD]
    return np.log(np.maximum(np.stack(parts, axis=-1), _TINY))


def log_point_bets(p: ArrayLike) -> FloatArray:
    """log of every bet at the rank p in [0, 1] itself: shape (..., COUNT)."""
    q = np.clip(np.asarray(p, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    parts = [1.0 + eps * (q - 0.5) for eps in LINEAR]
    parts += [1.0 + c * np.sign(q - 0.5) for c in STEP]
    for k in POWER:
        parts.append(k * q ** (k - 1.0))
        parts.append(k * (1.0 - q) ** (k - 1.0))
    parts += [1.0 + s * (12.0 * (q - 0.5) ** 2 - 1.0) for s in SPREAD]
    return np.log(np.stack(parts, axis=-1))
