"""Between which two looks did it begin? A first, thin answer; a later issue completes it.

While nothing has changed the capital drifts down a little; after a change it climbs. So the last
look of the old regime is estimated by the minimum of the running sum of log-e increments up to the
alarm (the maximum-likelihood change point of a CUSUM; Page 1954; Shin, Ramdas, Rinaldo 2024).
It is an estimate: no coverage is claimed yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.drift.stats.checks import finite


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
