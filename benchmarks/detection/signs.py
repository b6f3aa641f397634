"""The yardstick: the plain sign test, as anybody would write it.

Of the pairs (baseline answer, new answer) that differ, wins and losses are equally likely under the
null hypothesis. The mixture of likelihood ratios over Beta(1/2, 1/2) is an e-process, valid where
every pair is fresh; against one stored baseline, reused, it is not (docs/statistics.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln


def plain_sign_log_e(wins: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
    """log of 2**n B(wins + 1/2, losses + 1/2) / B(1/2, 1/2), n = wins + losses."""
    w, l_ = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    return np.asarray(betaln(w + 0.5, l_ + 0.5) - betaln(0.5, 0.5) + (w + l_) * math.log(2.0))
