"""Simulated lives: one stored baseline a version, three years of daily reruns, all layers together.

A version: a suite of 20 cases, five baseline answers each (one run, so they share its day), one
answer a case and day at a temperature above 0; a probe round and an identity round a day. Watched:
accuracy (success rates from Beta(2, 1)), two 0/1 style features, length and the length of the last
line (log-normal within the case), errors (0.5 %), whole outputs (same as the reference answer, and
likeness to it, where equal answers tie at 1), the first rerun's test, a probe's statistic, a
fingerprint that rotates among known ones. Weights are those that `drift.metrics` deals. Structure
has no weight: it describes. Nuisances: whole days move together (0/1 metrics: logit sd 0.3; all
lengths and likenesses by one shift, sd 0.055 of a within-case 0.4, the same excess of a run's
variance, or more where said), a tenth of the cases answer the same for ever but for rare flips
(T = 0 with batching), 5 % of days and 2 % of answers are missing. Latency has seasons; it is no
evidence by rule, so it is not simulated.

The bets, restarts, weights and the version's average are the product's own, run for many lives side
by side. Simplifications: probe and identity are each one e-process of the same restart mixture, not
`stats.probes` in full (those have simulations of their own); histories are thinned by the number of
answers, not of different ones, and a missing answer's score stays in them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.drift.metrics import ERROR_METRIC, FIRST_RERUN_SHARE, watched_of_document
from apps.drift.stats import deal_weights, e_bh, first_rerun_log_e
from apps.drift.stats.bets import LOG_PRIOR, LOG_PRIOR_BINARY, log_bets
from apps.drift.stats.martingale import Capital, bet_look
from apps.drift.stats.run_effect import ADDED, KEPT, MEDIAN_OF_CHI_SQUARED, assumed, of_cases
from apps.drift.stats.watch import MAX_VALUES

ALPHA, CASES, R = 0.01, 20, 5
LINE = -math.log(ALPHA)
LENGTH_SD, WITHIN_SD = 0.055, 0.4
Floats = NDArray[np.float64]
# The watched metrics in the order of `Lives._day`, by the keys that the product knows them by.
KEYS = (
    "accuracy",
    "style.ends_with_period",
    "style.starts_with_label",
    "style.chars",
    "style.closing_chars",
    ERROR_METRIC,
    "whole.match",
    "whole.similarity",
)


def product_weights(keys: Sequence[str] = KEYS) -> list[float]:
    document = {"metrics": [{"key": "accuracy", "bounds": [0, 1], "margin": 0.05}]}
    dealt = {m.key: m.weight for m in watched_of_document(document, set(keys))}
    return [dealt[key] for key in keys]


class Effects:
    """`stats.run_effect` for many lives: the exponent for this look from the looks before."""

    def __init__(self, *, one_day: bool, binary: bool, replicated: bool) -> None:
        self.spreads: list[Floats] = []
        self.replicated = replicated
        self.assumed = assumed(one_day=one_day, binary=binary)

    def exponent(self, middle: Floats, noise: Floats, present: Floats) -> Floats:
        (lives, cases), looks = middle.shape, len(self.spreads)
        effect = np.full(lives, self.assumed.least(looks, replicated=self.replicated, cases=cases))
        if looks:
            usual = MEDIAN_OF_CHI_SQUARED * of_cases(self.assumed.usual, cases)
            prior = [np.full(lives, usual)] * ADDED
            seen = np.sort(np.stack([*prior, *self.spreads[-KEPT:]]), axis=0)  # NaN sorts last
            known = (~np.isnan(seen)).sum(axis=0)
            at = np.arange(lives)
            middle_of = (seen[(known - 1) // 2, at] + seen[known // 2, at]) / 2.0
            found = np.minimum(
                middle_of / MEDIAN_OF_CHI_SQUARED, self.assumed.largest(looks, cases=cases)
            )
            effect = np.maximum(effect, found)
        total = (noise * present).sum(-1)
        moved = ((middle - 0.5) * present).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.spreads.append(np.where(total > 0, moved**2 / total, np.nan))
        return np.asarray(1.0 / effect)[:, None]


@dataclass
class Binary:
    """A 0/1 metric: counts are all the history there is."""

    ones: Floats
    total: int
    capital: Capital
    effect: Effects

    @classmethod
    def start(cls, baseline: Floats, *, one_day: bool = True) -> Binary:
        capital, r = Capital.fresh((baseline.shape[0],)), baseline.shape[-1]
        effect = Effects(one_day=one_day, binary=True, replicated=r > 1)
        return cls(baseline.sum(-1), r, capital, effect)

    def look(self, now: Floats, present: Floats) -> None:
        size = self.total + 1.0
        below = np.where(now > 0.5, self.total - self.ones, 0.0)
        equal = np.where(now > 0.5, self.ones, self.total - self.ones)
        gains = log_bets(below / size, (below + equal + 1.0) / size) * present[..., None]
        share = self.ones / self.total
        noise = (1.0 - share**3 - (1.0 - share) ** 3) / 12.0
        power = self.effect.exponent((below + (equal + 1.0) / 2.0) / size, noise, present)
        self.capital = bet_look(self.capital, gains.sum(-2) * power, LOG_PRIOR_BINARY)
        # A missing answer brings no bet; keeping its score in the history leaves ranks uniform.
        self.ones = self.ones + now
        self.total += 1


@dataclass
class Continuous:
    """Values without ties but at 1.0; thinned to a random half as `stats.history` does."""

    history: NDArray[np.float32]
    filled: int
    capital: Capital
    random: np.random.Generator
    effect: Effects

    @classmethod
    def start(cls, baseline: Floats, *, one_day: bool = True) -> Continuous:
        lives, cases, r = baseline.shape
        history = np.full((lives, cases, MAX_VALUES + 1), np.inf, dtype=np.float32)
        history[..., :r] = baseline
        effect = Effects(one_day=one_day, binary=False, replicated=r > 1)
        random = np.random.default_rng(r * lives)
        return cls(history, r, Capital.fresh((lives,)), random, effect)

    def look(self, now: Floats, present: Floats) -> None:
        n = self.filled
        held, value = self.history[..., :n], now[..., None].astype(np.float32)
        below = (held < value).sum(-1)
        tied = (held == np.float32(1.0)).sum(-1)
        equal = np.where(now == 1.0, tied, 0)
        gains = log_bets(below / (n + 1.0), (below + equal + 1.0) / (n + 1.0)) * present[..., None]
        middle = (below + (equal + 1.0) / 2.0) / (n + 1.0)
        ties = tied + (now == 1.0)  # `run_effect.rank_variance`, of the answers with this one
        alone = n + 1.0 - ties
        tie_free = (1.0 - (ties**3 + alone) / (n + 1.0) ** 3) / 12.0
        noise = np.where(alone + (ties > 0) > 12, 1.0 / 12.0, tie_free)
        power = self.effect.exponent(middle, noise, present)
        self.capital = bet_look(self.capital, gains.sum(-2) * power, LOG_PRIOR)
        self.history[..., n] = now
        self.filled += 1
        if self.filled > MAX_VALUES:
            draws = self.random.random(self.history.shape, dtype=np.float32)
            self.filled = (self.filled + 1) // 2
            kept = np.argpartition(draws, self.filled, axis=-1)[..., : self.filled]
            self.history[..., : self.filled] = np.take_along_axis(self.history, kept, axis=-1)


def logistic(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


class Lives:
    """Many versions side by side; `run` gives the day of each one's first alarm (0: none).

    day_sd, length_sd: how far whole days move. occasions: each baseline answer has a day of its
    own, as in a baseline collected over five runs; else all share the day of one run.
    """

    def __init__(
        self,
        lives: int,
        *,
        seed: int,
        day_sd: float = 0.3,
        length_sd: float = LENGTH_SD,
        occasions: bool = False,
        cases: int = CASES,
        replicates: int = R,
    ) -> None:
        self.lives, self.day_sd, self.length_sd = lives, day_sd, length_sd
        self.cases = cases
        self.rng = rng = np.random.default_rng(seed)
        rates = np.clip(rng.beta(2, 1, (lives, cases)), 1e-4, 1 - 1e-4)
        steady = rng.random((lives, cases)) < 0.1
        self.rate = np.where(
            steady, np.where(rng.random((lives, cases)) < 0.7, 0.998, 0.002), rates
        )
        self.flags = [
            np.clip(rng.beta(a, b, (lives, cases)), 1e-4, 0.9999) for a, b in ((4, 1), (1, 4))
        ]
        self.levels = [rng.normal(5, 1, (lives, cases)), rng.normal(3, 0.7, (lives, cases))]
        # How often the reference answer comes again: short answers often, long ones hardly ever.
        self.again = np.where(
            steady, 0.99, np.clip(rng.beta(0.5, 1.5, (lives, cases)), 1e-4, 0.999)
        )
        self.likeness = rng.normal(0, 1, (lives, cases))
        day = self._effects()
        stored = [self._day(0.0, self._effects() if occasions else day) for _ in range(replicates)]
        self.baseline = [np.stack([s[i] for s in stored], axis=-1) for i in range(len(KEYS))]
        # Whole outputs are scored against the first answer, which has no score itself.
        self.baseline[6:] = [scores[..., 1:] for scores in self.baseline[6:] if replicates > 1]
        kinds = (Binary, Binary, Binary, Continuous, Continuous, Binary, Binary, Continuous)
        self.watches: list[Any] = [
            k.start(b, one_day=not occasions) for k, b in zip(kinds, self.baseline, strict=False)
        ]
        self.weights = product_weights(KEYS[: len(self.watches)])
        self.probe = Continuous.start(rng.normal(size=(lives, cases, 10)))
        known = (rng.random((lives, 1, 40)) < rng.beta(2, 2, (lives, 1, 1))).astype(float)
        self.rotation = known.mean(-1)
        self.identity = Binary.start(known)
        self.first = np.zeros(lives)
        self.log_e = np.zeros(lives)

    def _effects(self) -> list[Floats]:
        r = self.rng
        rates = [r.normal(0, self.day_sd, (self.lives, 1)) for _ in range(4)]
        return [*rates, r.normal(0, self.length_sd, (self.lives, 1))]

    def _day(self, drop: float | Floats, effects: list[Floats] | None = None) -> list[Floats]:
        r = self.rng
        effects = effects or self._effects()
        shape = (self.lives, self.cases)

        def flips(rate: Floats, effect: Floats) -> Floats:
            moved = logistic(np.log(rate / (1 - rate)) + effect)
            return (r.random(shape) < moved).astype(float)

        rate = np.clip(self.rate - drop, 1e-4, 1 - 1e-4)
        longer = effects[4]
        same = flips(self.again, effects[3])
        near = logistic(self.likeness + longer + r.normal(0, WITHIN_SD, shape))
        return [
            flips(rate, effects[0]),
            flips(self.flags[0], effects[1]),
            flips(self.flags[1], effects[2]),
            self.levels[0] + longer + r.normal(0, WITHIN_SD, shape),
            self.levels[1] + longer + r.normal(0, WITHIN_SD, shape),
            (r.random(shape) < 0.005).astype(float),
            same,
            np.where(same == 1.0, 1.0, near),
        ]

    def run(
        self, days: int, *, change: int | None = None, drop: float = 0.0, only: Floats | None = None
    ) -> NDArray[np.int64]:
        """`change`: first changed day (0 is the first rerun); `only`: 1 for lives that change."""
        rng = self.rng
        found = np.zeros(self.lives, dtype=np.int64)
        mask = np.ones((self.lives, 1)) if only is None else only[:, None]
        shares = deal_weights([0.6, 0.25, 0.15], spent=0.0)
        for day in range(days):
            changed = change is not None and day >= change
            now = self._day(drop * mask if changed else 0.0)
            there = (rng.random((self.lives, 1)) >= 0.05) | (day == 0)
            present = ((rng.random((self.lives, self.cases)) >= 0.02) & there).astype(float)
            for watch, values in zip(self.watches, now, strict=False):
                watch.look(values, present)
            if day == 0:
                self._first(now)
            self.probe.look(
                rng.normal(size=(self.lives, self.cases)), np.ones((self.lives, self.cases))
            )
            seen = (rng.random((self.lives, 1)) < self.rotation).astype(float)
            self.identity.look(seen, np.ones((self.lives, 1)))
            found = np.where((self._combined(shares) >= LINE) & (found == 0), day + 1, found)
        return found

    def _first(self, now: list[Floats]) -> None:
        names = ("accuracy", "f1", "f2", "l1", "l2")
        for life in range(self.lives):
            old = {
                n: {f"c{c}": list(self.baseline[i][life, c]) for c in range(self.cases)}
                for i, n in enumerate(names)
            }
            new = {
                n: {f"c{c}": [float(now[i][life, c])] for c in range(self.cases)}
                for i, n in enumerate(names)
            }
            self.first[life] = first_rerun_log_e(
                old, new, weights=dict.fromkeys(names, 0.2), key=f"life{life}"
            )

    def _combined(self, shares: Sequence[float]) -> Floats:
        logs = np.stack([w.capital.log_e() for w in self.watches], axis=-1)
        later = np.logaddexp.reduce(logs + np.log(self.weights), axis=-1)
        suite = np.logaddexp(
            math.log(FIRST_RERUN_SHARE) + self.first, math.log1p(-FIRST_RERUN_SHARE) + later
        )
        parts = [
            np.full(self.lives, math.log(1 - sum(shares))),
            math.log(shares[0]) + suite,
            math.log(shares[1]) + self.probe.capital.log_e(),
            math.log(shares[2]) + self.identity.capital.log_e(),
        ]
        self.log_e = np.logaddexp.reduce(np.stack(parts), axis=0)
        return self.log_e


def delays(found: NDArray[np.int64], change: int) -> dict[str, float]:
    """Days from the change to the alarm, alarms before it left out."""
    late = found[(found == 0) | (found > change)]
    wait = np.where(late == 0, np.inf, late - change)
    return {"median": float(np.median(wait)), "found": float(np.isfinite(wait).mean())}


def _alarms(lives: int, days: int, seed: int, nuisance: dict[str, Any]) -> int:
    return int((Lives(lives, seed=seed, **nuisance).run(days) > 0).sum())


def unchanged(
    lives: int, days: int, *, seed: int = 11, batch: int = 250, **nuisance: Any
) -> dict[str, float]:
    """`nuisance`: day_sd, length_sd, occasions, cases; see `Lives`."""
    alarms, done, started = 0, 0, time.perf_counter()
    sizes = {first: min(batch, lives - first) for first in range(0, lives, batch)}
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(sizes))) as pool:
        waiting = {
            pool.submit(_alarms, size, days, seed + first, nuisance): size
            for first, size in sizes.items()
        }
        for future in as_completed(waiting):
            done, alarms = done + waiting[future], alarms + future.result()
            print(f"  {done} of {lives} lives: {alarms} alarms", flush=True)
    return {"lives": lives, "days": days, "alarms": alarms, "rate": alarms / lives,
            "seconds": time.perf_counter() - started}  # fmt: skip


def power(
    drop: float, change: int, *, lives: int = 100, after: int = 150, **nuisance: Any
) -> dict[str, float]:
    simulated = Lives(lives, seed=1000 + change + int(100 * drop), **nuisance)
    return delays(simulated.run(change + after, change=change, drop=drop), change)


def fleet(
    *, versions: int = 500, changed: int = 20, fleets: int = 3, days: int = 120
) -> dict[str, float]:
    """e-BH at 5 % over a fleet, once, 20 days after its change of 20 points."""
    false, power_ = [], []
    for number in range(fleets):
        only = np.zeros(versions)
        only[:changed] = 1.0
        lives = Lives(versions, seed=77 + number)
        lives.run(days, change=days - 20, drop=0.2, only=only)
        chosen = e_bh(list(lives.log_e), 0.05)
        wrong = sum(i >= changed for i in chosen)
        false.append(wrong / max(len(chosen), 1))
        power_.append((len(chosen) - wrong) / changed)
        print(f"  fleet {number + 1} of {fleets}: {len(chosen)} named, {wrong} wrong", flush=True)
    return {"fdr": float(np.mean(false)), "found": float(np.mean(power_)), "fleets": fleets}
