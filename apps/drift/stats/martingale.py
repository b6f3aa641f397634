"""A conformal test martingale that may start betting on any day: the restart mixture.

Under exchangeability every bet on a rank (`bets`) has mean 1 given all ranks before, so the capital
of a gambler who starts with 1 is a test martingale: by Ville's inequality it ever reaches 1/alpha
with probability at most alpha, over the whole life.

One gambler who starts on the first day has lost much of his capital when the change comes after a
year of quiet. So the starting capital is split over all possible starting looks k with weights

    w_1 = 0.8,  w_k = 0.2 / (C * (k + 1) * log(k + 1)**2) for k = 2, 3, ...,  C = 1.0692,

so that sum w_k <= 1 (the first rerun after an approval has most: the change may have come between,
and a late start costs little beside years of looks), and over the bets b with prior shares pi_b.
All starts of one bet are carried by one running number: R_b <- (R_b + w_k pi_b) * product over the
look of its bets. What has not started yet stays at its weight, so
e = sum_b R_b + (1 - w_1 - ... - w_k). After each look 1 % of the capital is dealt out anew by the
prior shares (a change of direction is followed). Moving capital on information already seen leaves
the mean at 1.

The *look* is the unit of a start: one look is one run, with as many ranks as it has answers.

References: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2nd ed. 2022), ch. 8;
Vovk et al. 2021, "Retrain or not retrain", sections 2-3 (simple jumper); Shin, Ramdas, Rinaldo
2024, "E-detectors", section 3 (weights over starting times); Ville 1939.

Numbers: capitals are natural logarithms, so nothing overflows; sums run in a fixed order, so a
recomputation on the same machine agrees to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apps.drift.stats.bets import (
    COUNT,
    LINEAR,
    LOG_PRIOR,
    LOG_PRIOR_BINARY,
    log_bets,
    log_point_bets,
)

FloatArray = NDArray[np.float64]

JUMP_RATE = 0.01
_LOG_JUMP, _LOG_STAY = math.log(JUMP_RATE), math.log1p(-JUMP_RATE)
FIRST_WEIGHT = 0.8
_WEIGHT_TOTAL = 1.0692  # sum over m >= 3 of 1 / (m log(m)**2) = 1.06906..., rounded up
_MAX_EXP = 709.0
_KIND, _OLD_KIND = "restart-mixture/2", "restart-mixture/1"


def restart_weight(look: int) -> float:
    """w_k, the share of the capital that may start betting at look k = 1, 2, ..."""
    if look < 1:
        raise ValueError(f"look: looks are counted from 1, got {look}.")
    if look == 1:
        return FIRST_WEIGHT
    return (1.0 - FIRST_WEIGHT) / (_WEIGHT_TOTAL * (look + 1) * math.log(look + 1) ** 2)


class Capital(NamedTuple):
    """Capital of one watch, or of many side by side (leading dimensions ``...``).

    logs:    shape (..., COUNT), natural log of the capital of each bet.
    unspent: the prior weight of the looks still to come; the same for all.
    looks:   number of looks so far.
    """

    logs: FloatArray
    unspent: float
    looks: int

    @classmethod
    def fresh(cls, shape: tuple[int, ...] = ()) -> Capital:
        """Capital 1, all of it not yet started."""
        return cls(np.full((*shape, COUNT), -np.inf), 1.0, 0)

    def log_e(self) -> FloatArray:
        """Natural logarithm of the e-value, shape (...)."""
        return np.logaddexp(_log_sum(self.logs), math.log(self.unspent))


def bet_look(capital: Capital, gains: FloatArray, prior: FloatArray = LOG_PRIOR) -> Capital:
    """The capital after one look. Pure.

    gains: shape (..., COUNT), the sum over the look's answers of `bets.log_bets`.
    prior: log shares of the bets, fixed for the life.
    Steps: start w_k, multiply by every bet of the look, then deal out 1 % anew.
    """
    weight = restart_weight(capital.looks + 1)
    logs = np.logaddexp(capital.logs, prior + math.log(weight)) + gains
    total = _log_sum(logs)[..., np.newaxis]
    logs = np.logaddexp(logs + _LOG_STAY, total + (prior + _LOG_JUMP))
    return Capital(logs, capital.unspent - weight, capital.looks + 1)


def _log_sum(logs: FloatArray) -> FloatArray:
    top = logs.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log(np.exp(logs - safe[..., np.newaxis]).sum(axis=-1)))


def _different(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different triples in rising order and how often each comes: one sort of numbers."""
    size = int(counts.max()) + 1
    if size > 1 << 20:
        kinds, times = np.unique(counts, axis=0, return_counts=True)
        return kinds, times
    codes = (counts[:, 0] * size + counts[:, 1]) * size + counts[:, 2]
    codes, times = np.unique(codes, return_counts=True)
    return np.stack([codes // size**2, codes // size % size, codes % size], axis=-1), times


def checked_ranks(ps: ArrayLike) -> FloatArray:
    """Ranks as an array. Raises ValueError when one is NaN or outside [0, 1]."""
    ranks = np.asarray(ps, dtype=np.float64)
    if not bool(np.all((ranks >= 0.0) & (ranks <= 1.0))):
        raise ValueError("ps: every rank must be a number between 0 and 1.")
    return ranks


class RestartMixture:
    """The restart mixture of one watch, fed look by look.

    >>> watch = RestartMixture()
    >>> watch.update_look([0.2, 0.7, 0.5])
    >>> watch.looks
    1
    """

    def __init__(self, *, binary: bool = False) -> None:
        """binary: the scores are 0 or 1 only; the bets are dealt for that."""
        self._binary = binary
        self._capital = Capital.fresh()
        self._log_e = 0.0
        self._max_log_e = 0.0
        self._gains: FloatArray = np.zeros(COUNT)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value now."""
        return self._log_e

    @property
    def max_log_e(self) -> float:
        """Largest ``log_e`` so far, at least 0. An alarm once raised stays raised on this one."""
        return self._max_log_e

    @property
    def e_value(self) -> float:
        """The e-value for display, capped near 1e308 (compare ``log_e`` instead)."""
        return math.exp(min(self._log_e, _MAX_EXP))

    @property
    def binary(self) -> bool:
        """Whether the bets are dealt for scores that are 0 or 1 only."""
        return self._binary

    @property
    def looks(self) -> int:
        """How many looks were taken."""
        return self._capital.looks

    def update_intervals(
        self, below: ArrayLike, equal: ArrayLike, total: ArrayLike, *, exponent: float = 1.0
    ) -> None:
        """Bet on all answers of one look, given how many earlier answers of their case are below,
        equal to, and altogether. Shapes (n,). Equal triples are worked out once. exponent: in
        (0, 1], known before the look; see `run_effect`.

        Raises ValueError when there is no answer or the counts contradict each other.
        """
        counts = np.stack([np.asarray(x, dtype=np.int64) for x in (below, equal, total)], axis=-1)
        if counts.ndim != 2 or counts.shape[0] == 0:
            raise ValueError("below, equal, total: a look needs at least one answer.")
        if bool((counts < 0).any()) or bool((counts[:, 0] + counts[:, 1] > counts[:, 2]).any()):
            raise ValueError("below, equal, total: counts contradict each other.")
        kinds, times = _different(counts)
        b, e, n = (kinds[:, i].astype(np.float64) for i in range(3))
        gains = log_bets(b / (n + 1.0), (b + e + 1.0) / (n + 1.0)) * times[:, np.newaxis]
        self._update(gains.sum(axis=0) * exponent)

    def update_look(self, ps: Sequence[float] | FloatArray) -> None:
        """Bet on ranks that are points (permutation tests, one rank per run).

        Raises ValueError when there is none or one is NaN or outside [0, 1]; nothing changes then.
        """
        ranks = checked_ranks(ps)
        if ranks.ndim != 1 or ranks.size == 0:
            raise ValueError("ps: a look needs a flat sequence of at least one rank.")
        self._update(log_point_bets(ranks).sum(axis=0))

    @property
    def last_gains(self) -> FloatArray:
        """log factor of every bet at the last look of this object's life; zeros before."""
        return self._gains

    def _update(self, gains: FloatArray) -> None:
        self._gains = gains
        prior = LOG_PRIOR_BINARY if self._binary else LOG_PRIOR
        self._capital = bet_look(self._capital, gains, prior)
        self._log_e = float(self._capital.log_e())
        self._max_log_e = max(self._max_log_e, self._log_e)

    def update(self, p: float) -> None:
        """A look with a single rank (also the mode "one rank per run")."""
        self.update_look([p])

    def update_many(self, ps: Sequence[float]) -> None:
        """Each rank as a look of its own, in order. Raises ValueError before any is used."""
        for p in checked_ranks(ps):
            self.update_look([float(p)])

    def to_state(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_state` continues to the last bit."""
        return {
            "kind": _KIND,
            "binary": self._binary,
            "logs": [None if value == -math.inf else float(value) for value in self._capital.logs],
            "unspent": self._capital.unspent,
            "looks": self._capital.looks,
            "max_log_e": self._max_log_e,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RestartMixture:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged.

        A state of the first kind knew the linear bets only; they come first here too, so it goes
        on with the capital it has.
        """
        if state.get("kind") == _OLD_KIND:
            held = np.array(state["capitals"], dtype=np.float64)
            logs = np.full(COUNT, -np.inf)
            if held.shape == (len(LINEAR),):
                with np.errstate(divide="ignore"):
                    logs[: len(LINEAR)] = np.log(held) + int(state["exponent"]) * math.log(2.0)
            else:
                logs = held
        elif state.get("kind") == _KIND:
            parts = [-math.inf if v is None else float(v) for v in state["logs"]]
            logs = np.array(parts, dtype=np.float64)
        else:
            raise ValueError(f"state: not a restart mixture (kind {state.get('kind')!r}).")
        if logs.shape != (COUNT,) or bool(np.any(np.isnan(logs) | (logs == np.inf))):
            raise ValueError(f"state.logs: {COUNT} numbers are needed.")
        mixture = cls(binary=bool(state.get("binary", False)))
        mixture._capital = Capital(logs, float(state["unspent"]), int(state["looks"]))
        mixture._log_e = float(mixture._capital.log_e()) if mixture.looks else 0.0
        mixture._max_log_e = float(state["max_log_e"])
        return mixture
