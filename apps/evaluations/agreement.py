"""How far two raters agree beyond chance: Cohen's kappa with an interval. NumPy only.

kappa = (p_o - p_e) / (1 - p_e), with p_o the share of items on which both say the same and p_e the
share that two raters with these habits would share by chance. Large-sample variance after Fleiss,
Cohen and Everitt (1969), Psychological Bulletin 72, 323-327, eq. 13:

    var = [ A + B - C ] / (n (1 - p_e)^2)
    A = sum_i p_ii (1 - (p_i. + p_.i)(1 - kappa))^2
    B = (1 - kappa)^2 sum_{i != j} p_ij (p_.i + p_j.)^2
    C = (kappa - p_e (1 - kappa))^2

Where both say the same throughout, that variance is zero, and the lower end comes from the exact
(Clopper-Pearson) bound of p_o instead: (0.025)^(1/n), with p_e as observed.

Trap: with few items, or where nearly all get one label, kappa says little; below MIN_ITEMS there is
no interval, and where both raters gave everything one label kappa is not defined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_ITEMS = 10
Z95 = 1.959963984540054
ALPHA = 0.05


@dataclass(frozen=True)
class Agreement:
    """`kappa` is None where it is not defined; `low`, `high` where there are too few items."""

    items: int
    same: float
    """The share of items on which both said the same."""
    kappa: float | None
    low: float | None
    high: float | None


def cohens_kappa(first: Sequence[float], second: Sequence[float]) -> Agreement | None:
    """Agreement of two raters over the same items, in order; None without items. Labels are any
    numbers; they count as names. The interval is 95 %, kept within -1 to 1."""
    if len(first) != len(second):
        raise ValueError("Both raters must have rated the same items.")
    count = len(first)
    if not count:
        return None
    labels = sorted({*first, *second})
    place = {label: n for n, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for a, b in zip(first, second, strict=True):
        table[place[a], place[b]] += 1
    table /= count
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    agreed = len([1 for a, b in zip(first, second, strict=True) if a == b])
    same = agreed / count
    chance = float(rows @ columns)
    if chance >= 1.0 - 1e-12:
        return Agreement(count, same, None, None, None)
    kappa = 1.0 if agreed == count else (same - chance) / (1.0 - chance)
    if count < MIN_ITEMS:
        return Agreement(count, same, kappa, None, None)
    if agreed == count:
        # Fleiss's variance is zero here, which is not what thirteen equal answers prove.
        sure = (ALPHA / 2) ** (1.0 / count)
        return Agreement(count, same, kappa, (sure - chance) / (1.0 - chance), kappa)
    diagonal = np.diag(table)
    a_part = float((diagonal * (1.0 - (rows + columns) * (1.0 - kappa)) ** 2).sum())
    pairs = (columns[:, None] + rows[None, :]) ** 2
    off = table * pairs
    b_part = (1.0 - kappa) ** 2 * float(off.sum() - np.trace(off))
    c_part = (kappa - chance * (1.0 - kappa)) ** 2
    variance = max(0.0, a_part + b_part - c_part) / (count * (1.0 - chance) ** 2)
    half = Z95 * math.sqrt(variance)
    return Agreement(count, same, kappa, max(-1.0, kappa - half), min(1.0, kappa + half))
