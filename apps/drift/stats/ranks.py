"""Smoothed ranks (conformal p-values) with recorded randomness.

Reference: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2nd ed. 2022),
section 2.2.6 (smoothed conformal predictors) and chapter 8 (testing exchangeability).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from apps.drift.stats.checks import finite, finite_all, probability

_BITS = 52
_LARGEST_BELOW_ONE = math.nextafter(1.0, 0.0)
_SMALLEST_ABOVE_ZERO = math.nextafter(0.0, 1.0)


def recorded_uniform(*parts: str) -> float:
    """A number in the open interval (0, 1) that depends on nothing but ``parts``.

    It stands in for the random tie-breaker of a smoothed rank. It is keyed by
    (watch id, case id, replicate, run id), so whoever holds the samples computes the same ranks
    to the last bit, and nobody can draw again until the answer suits.

    u = (n + 1/2) / 2**52, where n is the first 52 bits of SHA-256 over the parts, each preceded
    by its length in bytes (so that ("a", "bc") and ("ab", "c") differ).

    Raises ValueError when no part is given.
    """
    if not parts:
        raise ValueError("parts: at least one part is needed to key the random number.")
    digest = hashlib.sha256()
    for part in parts:
        data = _key_bytes(part)
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    number = int.from_bytes(digest.digest()[:8], "big") >> (64 - _BITS)
    return (number + 0.5) / float(1 << _BITS)


def _key_bytes(part: str) -> bytes:
    """Apart, so that a test whose ids are random can still draw the same numbers every time."""
    return part.encode("utf-8")


def rank_from_counts(*, below: int, equal: int, total: int, u: float) -> float:
    """p = (below + u * (equal + 1)) / (total + 1), kept inside the open interval (0, 1).

    ``below`` and ``equal`` count the earlier answers below and equal to the new one, ``total``
    counts all earlier answers, and u in (0, 1) breaks ties.
    """
    p = (below + u * (equal + 1)) / (total + 1)
    return min(max(p, _SMALLEST_ABOVE_ZERO), _LARGEST_BELOW_ONE)


def smoothed_rank(history: Sequence[float], value: float, u: float) -> float:
    """The smoothed rank of ``value`` among ``history`` and itself.

    p = (#{h < value} + u * (#{h = value} + 1)) / (n + 1), n = len(history).

    When history and value are exchangeable and u is uniform, p is exactly uniform on (0, 1), and
    the ranks of successive answers, each among all earlier ones, are independent. With an empty
    history p = u. Equality is exact: a caller whose scores should tie must round them first.

    Raises ValueError when a number is NaN or infinite or u is not in (0, 1).
    """
    scores = finite_all(history, "history")
    score = finite(value, "value")
    below = sum(h < score for h in scores)
    equal = sum(h == score for h in scores)
    tie_breaker = probability(u, "u")
    return rank_from_counts(below=below, equal=equal, total=len(scores), u=tie_breaker)
