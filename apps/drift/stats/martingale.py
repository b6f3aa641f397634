"""A conformal test martingale that may start betting on any day: the restart mixture.

Under exchangeability the smoothed ranks are independent and uniform, so every bet
1 + eps * (p - 1/2) has mean 1 and the capital of a gambler who starts with 1 is a test martingale:
by Ville's inequality it ever reaches 1/alpha with probability at most alpha, over the whole life.

One gambler who starts on the first day has lost much of his capital when the change comes after a
year of quiet. So the starting capital is split over all possible starting looks k with weights

    w_k = 1 / (C * (k + 1) * log(k + 1)**2),  k = 1, 2, ...,  with C = 2.1098 so that sum w_k <= 1,

and over the bets eps in {0, +-0.475, +-0.95, +-1.9} in equal parts. All starts of one bet are
carried by one running number:  R_eps <- (R_eps + w_k / 7) * product over the look of its bets.
What has not started yet stays at its weight, so e = sum_eps R_eps + (1 - w_1 - ... - w_k). After
each look 1 % of every R moves to the average of all (a change of direction is followed). Moving
capital on information already seen leaves the mean at 1.

The *look* is the unit of a start: one look is one run, with as many ranks as it has answers.

References: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2nd ed. 2022), ch. 8;
Vovk et al. 2021, "Retrain or not retrain", sections 2-3 (simple jumper); Shin, Ramdas, Rinaldo
2024, "E-detectors", section 3 (weights over starting times); Ville 1939.

Numbers: capitals are kept divided by a shared power of two, so that nothing overflows; e grows
past 1e308 without trouble in ``log_e``. Apart from w_k and the final logarithm only additions and
multiplications in a fixed order are used, so a recomputation agrees to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BETS: tuple[float, ...] = (0.0, 0.475, -0.475, 0.95, -0.95, 1.9, -1.9)
JUMP_RATE = 0.01
_EPS: FloatArray = np.array(BETS)
_WEIGHT_TOTAL = 2.1098  # sum over m >= 2 of 1 / (m log(m)**2) = 2.10974..., rounded up
_BLOCK = 64  # ranks multiplied before the scale is looked at: 0.05**64 is far from underflow
_LARGE, _SMALL = 2.0**200, 2.0**-200
_MAX_EXP = 709.0


def restart_weight(look: int) -> float:
    """w_k, the share of the capital that may start betting at look k = 1, 2, ..."""
    if look < 1:
        raise ValueError(f"look: looks are counted from 1, got {look}.")
    return 1.0 / (_WEIGHT_TOTAL * (look + 1) * math.log(look + 1) ** 2)


class Capital(NamedTuple):
    """Capital of one watch, or of many side by side (leading dimensions ``...``).

    capitals: shape (..., 7), capital of each bet divided by 2**exponent.
    exponent: shape (...), never negative.
    unspent:  the prior weight of the looks still to come; the same for all.
    looks:    number of looks so far.
    """

    capitals: FloatArray
    exponent: IntArray
    unspent: float
    looks: int

    @classmethod
    def fresh(cls, shape: tuple[int, ...] = ()) -> Capital:
        """Capital 1, all of it not yet started."""
        return cls(np.zeros((*shape, len(BETS))), np.zeros(shape, dtype=np.int64), 1.0, 0)

    def log_e(self) -> FloatArray:
        """Natural logarithm of the e-value, shape (...)."""
        resting = np.ldexp(self.unspent, -self.exponent)
        total = self.capitals.sum(axis=-1) + resting
        return np.asarray(np.log(total) + self.exponent * math.log(2.0))


def bet_look(capital: Capital, ps: FloatArray) -> Capital:
    """The capital after one look at the ranks ``ps`` of shape (..., n). Pure.

    Steps: start w_k, multiply by every bet of the look, then let 1 % jump between bets.
    """
    weight = restart_weight(capital.looks + 1)
    start = np.ldexp(weight / len(BETS), -capital.exponent)
    capitals = capital.capitals + start[..., np.newaxis]
    exponent = capital.exponent
    for first in range(0, ps.shape[-1], _BLOCK):
        block = ps[..., first : first + _BLOCK, np.newaxis]
        capitals = capitals * (1.0 + _EPS * (block - 0.5)).prod(axis=-2)
        capitals, exponent = _rescaled(capitals, exponent)
    capitals = (1.0 - JUMP_RATE) * capitals + JUMP_RATE * capitals.mean(axis=-1, keepdims=True)
    return Capital(capitals, exponent, capital.unspent - weight, capital.looks + 1)


def _rescaled(capitals: FloatArray, exponent: IntArray) -> tuple[FloatArray, IntArray]:
    """Move powers of two between capitals and exponent when the capitals leave the safe range."""
    largest = capitals.max(axis=-1)
    outside = (largest > _LARGE) | ((largest < _SMALL) & (exponent > 0))
    if not outside.any():
        return capitals, exponent
    _, shift = np.frexp(largest)
    shift = np.where(outside, np.maximum(shift, -exponent), 0).astype(np.int64)
    return np.ldexp(capitals, -shift[..., np.newaxis]), exponent + shift


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

    def __init__(self) -> None:
        self._capital = Capital.fresh()
        self._log_e = 0.0
        self._max_log_e = 0.0

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
    def looks(self) -> int:
        """How many looks were taken."""
        return self._capital.looks

    def update_look(self, ps: Sequence[float] | FloatArray) -> None:
        """Bet on all ranks of one look.

        Raises ValueError when there is none or one is NaN or outside [0, 1]; nothing changes then.
        """
        ranks = checked_ranks(ps)
        if ranks.ndim != 1 or ranks.size == 0:
            raise ValueError("ps: a look needs a flat sequence of at least one rank.")
        self._capital = bet_look(self._capital, ranks)
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
            "kind": "restart-mixture/1",
            "capitals": [float(value) for value in self._capital.capitals],
            "exponent": int(self._capital.exponent),
            "unspent": self._capital.unspent,
            "looks": self._capital.looks,
            "max_log_e": self._max_log_e,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RestartMixture:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") != "restart-mixture/1":
            raise ValueError(f"state: not a restart mixture (kind {state.get('kind')!r}).")
        capitals = np.array(state["capitals"], dtype=np.float64)
        if capitals.shape != (len(BETS),) or not bool(np.all(np.isfinite(capitals))):
            raise ValueError(f"state.capitals: {len(BETS)} finite numbers are needed.")
        mixture = cls()
        mixture._capital = Capital(
            capitals,
            np.array(int(state["exponent"]), dtype=np.int64),
            float(state["unspent"]),
            int(state["looks"]),
        )
        mixture._log_e = float(mixture._capital.log_e()) if mixture.looks else 0.0
        mixture._max_log_e = float(state["max_log_e"])
        return mixture
