"""The e-process of one suite: the first rerun's test and the watches of its metrics, averaged.

    e = share * (first rerun, all features together) + (1 - share) * sum over metrics of w_m * e_m

The first term is one e-value, paid once and kept; the second goes on with every rerun. Both are
bought with the same capital, so their sum starts at 1 and the error rate is that of one e-process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from apps.drift.stats.combine import combine_log_e


def suite_log_e(
    *, first: float, share: float, watches: Sequence[float], weights: Sequence[float]
) -> float:
    """log of the suite's e-value.

    first: log e-value of the first rerun (0.0 before it). share: of the capital, 0 <= share < 1.
    watches, weights: log e-values of the metrics and their weights, summing to 1.

    Raises ValueError when share is out of range, or as `combine.combine_log_e` does.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"share: must lie in [0, 1), got {share}.")
    later = combine_log_e(watches, weights)
    if share == 0.0:
        return later
    return float(np.logaddexp(math.log(share) + first, math.log1p(-share) + later))
