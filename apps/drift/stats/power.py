"""Planning: how many answers until something is settled or found. Estimates, not guarantees."""

from __future__ import annotations

import math
from collections.abc import Sequence

from apps.drift.stats.checks import finite, positive, probability
from apps.drift.stats.effect import Effect
from apps.drift.stats.intervals import variance_for_half_width
from apps.drift.stats.martingale import BETS, restart_weight

# Success rates of ten equally likely cases of unequal difficulty: deciles' middles of Beta(2, 1).
TYPICAL_RATES: tuple[float, ...] = tuple(math.sqrt((i + 0.5) / 10) for i in range(10))


def answers_needed_for_margin(
    margin: float, *, answer_variance: float, baseline_answers: int, alpha: float
) -> int | None:
    """Current answers until an unchanged model's interval is expected within +-margin.

    answer_variance: noise of one answer within its case (metric units squared; 0/1 scores with
    rates like Beta(2, 1) have 1/6). Balanced design, answers spread evenly over the cases.
    None when the baseline is too small for this margin, however long the reruns: see
    `baseline_answers_needed`. Raises ValueError when a number is not positive.
    """
    noise = positive(answer_variance, "answer_variance")
    base = noise / positive(baseline_answers, "baseline_answers")
    total = variance_for_half_width(
        half_width=positive(margin, "margin"), baseline_variance=base, alpha=alpha
    )
    return None if total is None or total <= base else math.ceil(noise / (total - base))


def baseline_answers_needed(
    margin: float, *, answer_variance: float, alpha: float, current_answers: int | None = None
) -> int:
    """Smallest baseline (in answers) with which ``current_answers`` reruns can settle +-margin.

    current_answers None means: as many reruns as baseline answers.
    """
    low, high = 0, 1
    while not _settles(high, margin, answer_variance, alpha, current_answers):
        low, high = high, high * 2
        if high > 10**12:
            raise ValueError("current_answers: too few for this margin, whatever the baseline.")
    while high - low > 1:
        middle = (low + high) // 2
        if _settles(middle, margin, answer_variance, alpha, current_answers):
            high = middle
        else:
            low = middle
    return high


def _settles(
    baseline: int, margin: float, variance: float, alpha: float, current: int | None
) -> bool:
    needed = answers_needed_for_margin(
        margin, answer_variance=variance, baseline_answers=baseline, alpha=alpha
    )
    return needed is not None and needed <= (baseline if current is None else current)


def further_answers(effect: Effect, half_width: float) -> int | None:
    """Further current answers until the effect's half-width is about ``half_width``.

    Assumes that noise per answer stays as it is. None when only a larger baseline would do.
    """
    if half_width <= 0.0:
        return None
    total = variance_for_half_width(
        half_width=half_width, baseline_variance=effect.baseline_variance, alpha=effect.alpha
    )
    if total is None or total <= effect.baseline_variance:
        return None
    target = total - effect.baseline_variance
    needed = math.ceil(effect.n_current * effect.current_variance / target)
    return max(needed - effect.n_current, 1)


def reruns_to_detect(
    drop: float,
    answers_per_run: int,
    alpha: float,
    *,
    baseline_replicates: int = 5,
    quiet_runs: int = 60,
    rates: Sequence[float] = TYPICAL_RATES,
    max_runs: int = 3650,
) -> int | None:
    """About how many runs after a drop of the success rate the watch needs for its alarm.

    drop: fall of every case's success rate (0.3 = 30 points; negative: rise), cut to [0, 1].
    answers_per_run: answers a run, one a case. quiet_runs: unchanged runs before the drop.
    rates: success rates of equally likely kinds of cases.

    Method: the rank of a 0/1 answer is uniform over the part of (0, 1) that its value holds in the
    history, so each bet's expected log growth is known. Growth is summed for each bet from each
    start after the drop, while the new answers enter the history, until it pays for the alarm line
    and for the prior weight of that start and bet. Mean-field: no noise in history or growth, so it
    is a middle value, a little optimistic for small drops. None when not within ``max_runs``.
    """
    finite(drop, "drop")
    line = -math.log(probability(alpha, "alpha"))
    positive(answers_per_run, "answers_per_run")
    if baseline_replicates < 1 or quiet_runs < 0 or not rates:
        raise ValueError("baseline_replicates, quiet_runs, rates: need 1, 0 and one or more.")
    old = [probability(rate, "rates") for rate in rates]
    new = [min(max(rate - drop, 0.0), 1.0) for rate in old]
    earlier = float(baseline_replicates + quiet_runs)
    capitals = [0.0] * len(BETS)
    for run in range(1, max_runs + 1):
        n = earlier + run - 1
        weight = restart_weight(quiet_runs + run) / len(BETS)
        for b, eps in enumerate(BETS):
            growth = math.fsum(
                _growth(eps, (o * earlier + r * (run - 1)) / n, r, n)
                for o, r in zip(old, new, strict=True)
            ) / len(old)
            capitals[b] = (capitals[b] + weight) * math.exp(growth * answers_per_run)
        if sum(capitals) >= math.exp(line):
            return run
    return None


def _growth(eps: float, history_rate: float, rate: float, n: float) -> float:
    """Mean of log(1 + eps (p - 1/2)) for a 0/1 answer with success rate ``rate``.

    n: answers in the history, of which the share ``history_rate`` is 1.
    """
    if eps == 0.0:
        return 0.0
    zeros, ones = n * (1.0 - history_rate), n * history_rate
    failure = _mean_log(eps, 0.0, (zeros + 1.0) / (n + 1.0))
    success = _mean_log(eps, zeros / (n + 1.0), (zeros + ones + 1.0) / (n + 1.0))
    return (1.0 - rate) * failure + rate * success


def _mean_log(eps: float, low: float, high: float) -> float:
    """Mean of log(1 + eps (p - 1/2)) for p uniform on (low, high)."""
    a, b = 1.0 + eps * (low - 0.5), 1.0 + eps * (high - 0.5)
    return (b * math.log(b) - a * math.log(a)) / (b - a) - 1.0
