"""Planning: how many answers until something is settled or found. Estimates, not guarantees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from apps.drift.stats.bets import LOG_PRIOR_BINARY, log_bets
from apps.drift.stats.checks import finite, positive, probability
from apps.drift.stats.effect import Effect
from apps.drift.stats.intervals import variance_for_half_width
from apps.drift.stats.martingale import Capital, bet_look
from apps.drift.stats.run_effect import design_effect

_LIVES, _SEED = 200, 20240314
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
    max_runs: int = 365,
    one_day: bool = True,
) -> int | None:
    """Median number of runs after a drop of the success rate until the watch raises its alarm.

    drop: fall of every case's success rate (0.3 = 30 points; negative: rise), cut to [0, 1].
    answers_per_run: answers a run, one a case. quiet_runs: unchanged runs before the drop.
    rates: success rates, dealt out to the cases in turn. one_day: the baseline is of one occasion,
    so the first reruns are tempered more (`run_effect`).

    Method: the watch itself, tempering included, on 200 simulated lives of independent 0/1 answers
    (fixed seed, under a second). The quiet time fills the histories; bets begun in it are left out,
    so the answer errs a little to the late side. Where whole runs move together, tempering grows
    with what is measured and the delay with it: that is not foreseen here. None when fewer than
    half of the lives raise an alarm within ``max_runs`` after the drop, which is what small drops
    on few answers do: new answers become the new normal.

    Raises ValueError on rates or alpha outside (0, 1) or counts that are too small.
    """
    finite(drop, "drop")
    line = -math.log(probability(alpha, "alpha"))
    if answers_per_run < 1:
        raise ValueError(f"answers_per_run: must be at least 1, got {answers_per_run}.")
    if baseline_replicates < 1 or quiet_runs < 0 or max_runs < 1 or not rates:
        raise ValueError("baseline_replicates, quiet_runs, max_runs, rates: too few.")
    dealt = [probability(rates[i % len(rates)], "rates") for i in range(answers_per_run)]
    old = np.tile(np.array(dealt), (_LIVES, 1))
    new = np.clip(old - drop, 0.0, 1.0)
    random = np.random.default_rng(_SEED)
    total = baseline_replicates + quiet_runs
    ones = random.binomial(total, old).astype(np.float64)
    capital = Capital.fresh((_LIVES,))._replace(looks=quiet_runs)
    replicated = baseline_replicates > 1
    alarmed = np.zeros(_LIVES, dtype=bool)
    spreads = [list(row) for row in random.chisquare(1.0, (_LIVES, quiet_runs))]
    for run in range(1, max_runs + 1):
        success = random.random(new.shape) < new
        below = np.where(success, total - ones, 0.0)
        equal = np.where(success, ones, total - ones)
        size = total + 1.0
        effects = [
            design_effect(s, answers=answers_per_run, replicated=replicated, one_day=one_day)
            for s in spreads
        ]
        gains = log_bets(below / size, (below + equal + 1.0) / size).sum(axis=-2)
        capital = bet_look(capital, gains / np.array(effects)[:, np.newaxis], LOG_PRIOR_BINARY)
        ones, total = ones + success, total + 1
        moved = ((below + (equal + 1.0) / 2.0) / size - 0.5).sum(axis=-1)
        noise = ((1.0 - (ones**3 + (total - ones) ** 3) / total**3) / 12.0).sum(axis=-1)
        for life, square, variance in zip(spreads, moved**2, noise, strict=True):
            if variance > 0.0:
                life.append(square / variance)
        alarmed |= capital.log_e() >= line
        if 2 * int(alarmed.sum()) >= _LIVES:
            return run
    return None
