"""Between which two looks did it begin?

`change_interval` is for watches whose bets are known look by look; `change_window` for any
e-process of which only the growth is known.

While nothing has changed the capital drifts down a little; after a change it climbs. So the last
look of the old regime is estimated by the minimum of the running sum of log-e increments up to the
alarm (the maximum-likelihood change point of a CUSUM; Page 1954; Shin, Ramdas, Rinaldo 2024).
It is an estimate: no coverage is claimed yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from apps.drift.stats.checks import finite

# By simulation (drops of 10 to 50 points on day 0, 5, 60) the span then holds the true first look
# in 94 to 100 of 100 changes that raised the alarm.
INTERVAL_CUT = 4.0


def change_interval(gains: ArrayLike, *, cut: float = INTERVAL_CUT) -> tuple[int, int]:
    """Positions (first, last) of the looks that may be the first of the new regime.

    gains: shape (looks, bets), at each look up to the alarm the log factor of every bet of every
    metric (`LookResult.gains`, metrics side by side). Every bet loses on average while nothing has
    changed, and the right one gains after the change. So for each bet the profile

        l(k) = sum of its gains over looks k .. alarm

    is a log-likelihood ratio of "changed at k" with its maximum near the change (Page 1954;
    Siegmund 1988 for the set {k: l(k) >= max l - cut}). The bet with the largest maximum is used;
    the interval is the span of its set. Coverage is measured, not proven: see `docs/statistics.md`.

    Raises ValueError when there is no look or a gain is not finite.
    """
    g = np.asarray(gains, dtype=np.float64)
    if g.ndim != 2 or g.size == 0:
        raise ValueError("gains: an array of looks by bets is needed.")
    if not bool(np.isfinite(g).all()):
        raise ValueError("gains: must be finite.")
    profile = np.cumsum(g[::-1], axis=0)[::-1]
    best = int(profile.max(axis=0).argmax())
    near = np.nonzero(profile[:, best] >= profile[:, best].max() - cut)[0]
    return int(near[0]), int(near[-1])


def change_window(looks: Sequence[tuple[str, float]], alarm_index: int) -> tuple[str | None, str]:
    """Keys of the last look like the old regime and of the first that is not.

    looks: (run key, log_e increment) in order, see `watch.LookResult.log_e_increment`.
    alarm_index: position of the look that raised the alarm. The first key is None when even the
    first rerun looks changed: the window then begins at the baseline.

    Raises ValueError when there is no look, an increment is not finite, or the index is out of
    range.
    """
    if not looks:
        raise ValueError("looks: there is none.")
    if not 0 <= alarm_index < len(looks):
        raise ValueError(f"alarm_index: must lie in 0 to {len(looks) - 1}, got {alarm_index}.")
    total, lowest, last_old = 0.0, 0.0, -1
    for position, (_, increment) in enumerate(looks[:alarm_index]):
        total += finite(increment, "looks")
        if total <= lowest:
            lowest, last_old = total, position
    start = looks[last_old][0] if last_old >= 0 else None
    return start, looks[last_old + 1][0]
