"""Simulated lives for the Monte Carlo tests: ONE stored baseline a life, reused at every look.

A fresh baseline at each look would hide the very error these tests are for.
"""

import numpy as np

from apps.drift.stats.bets import LOG_PRIOR_BINARY, log_bets
from apps.drift.stats.martingale import Capital, bet_look
from benchmarks.detection.signs import plain_sign_log_e

CASES, REPLICATES = 20, 5


def answers(rng, *, lives, days, drop_after=None, drop=0.0, replicates=REPLICATES):
    """Answers of unequal difficulty: baseline (lives, cases, R), reruns (days, lives, cases)."""
    rates = rng.beta(2, 1, (lives, CASES))
    baseline = rng.random((lives, CASES, replicates)) < rates[..., None]
    reruns = np.empty((days, lives, CASES), dtype=bool)
    for day in range(days):
        changed = drop_after is not None and day >= drop_after
        now = np.clip(rates - drop, 0, 1) if changed else rates
        reruns[day] = rng.random((lives, CASES)) < now
    return baseline, reruns


def alarm_day_of_watch(baseline, reruns, alpha):
    """Day of the first alarm of the product's martingale, 0 when none; all lives side by side."""
    ones, total = baseline.sum(-1).astype(float), baseline.shape[-1]
    capital = Capital.fresh((baseline.shape[0],))
    first = np.zeros(baseline.shape[0], dtype=int)
    for day, success in enumerate(reruns, start=1):
        below = np.where(success, total - ones, 0.0)
        equal = np.where(success, ones, total - ones)
        size = total + 1
        gains = log_bets(below / size, (below + equal + 1) / size).sum(axis=-2)
        capital = bet_look(capital, gains, LOG_PRIOR_BINARY)
        ones, total = ones + success, total + 1
        first = np.where((capital.log_e() >= -np.log(alpha)) & (first == 0), day, first)
    return first


def alarm_day_of_naive_signs(baseline, reruns, alpha):
    """The same for the method that looks right and is not: a Beta(1/2, 1/2) sign e-process.

    Each new answer is compared with a stored baseline answer of its case, as if that were fresh.
    """
    wins = np.zeros(baseline.shape[0])
    losses = np.zeros(baseline.shape[0])
    first = np.zeros(baseline.shape[0], dtype=int)
    for day, success in enumerate(reruns, start=1):
        stored = baseline[:, :, day % baseline.shape[-1]]
        wins += (success & ~stored).sum(-1)
        losses += (~success & stored).sum(-1)
        log_e = plain_sign_log_e(wins, losses)
        first = np.where((log_e >= -np.log(alpha)) & (first == 0), day, first)
    return first
