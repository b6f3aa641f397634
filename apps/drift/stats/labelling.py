"""The first rerun, all features together: which of the answers to each case is the new one?

A baseline with one answer a case gives each new answer one bit at most, and a mixture over many
features and directions spends several of them on finding out which feature moved. This test spends
one. Under the null hypothesis, given the *bag* of answers to each case (baseline and new), every
way of naming one of them "the new one" is equally likely, for all cases together. So for any
statistic g >= 0 of a naming,

    e = g(the naming as it happened) / mean of g over all namings

is an e-value: exact, for any features, however dependent. All namings are run through when they
are few; else a sample of them is drawn (by recorded randomness), with the true one counted among
the mean: still exact (Besag and Clifford 1989; Ramdas et al. 2022).

The statistic: for each feature f the average over bold and timid steps in both directions of the
product over cases of the bet on the named answer's place, e_f. Their average over features, with
weights, raised to a power (1.5 to 3), and the product of small powers of all: both are large only
for namings by which *many features move together*, which is what a changed model does and a naming
by chance does not. The e-value is the average over these choices.

Runs that move together would make it cry wolf, and at the first rerun nothing is known of that.
With several baseline answers a case there is evidence to spare, so the e-value is then taken to the
power 1/D (mean at most 1 by Jensen), D as `run_effect` assumes it of lengths: 2 for 20 cases.
With one there is none to spare for a small suite: up to 20 cases it is taken as it is, and only
what further cases add to D counts.

Only for the first rerun: later ones rank against longer histories by `watch`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from apps.drift.stats.checks import finite_all
from apps.drift.stats.run_effect import FOR_CASES, OTHER, of_cases

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEPS: tuple[float, ...] = (0.5, -0.5, 0.9, -0.9, 0.98, -0.98)
POWERS: tuple[float, ...] = (1.5, 2.0, 3.0)
PRODUCTS: tuple[float, ...] = (0.25, 0.5)
MAX_CASES, MAX_ALL, SAMPLED = 120, 1 << 13, 1 << 12


def first_rerun_log_e(
    baseline: Mapping[str, Mapping[str, Sequence[float]]],
    current: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    weights: Mapping[str, float],
    key: str,
) -> float:
    """log e-value of the first rerun against its baseline.

    baseline, current: feature -> case id -> values; the first current value of a case counts.
    weights: feature -> weight > 0, fixed beforehand (rescaled to sum 1 over the features seen).
    key: keys the recorded randomness. At most 120 cases are used, the first by a keyed order.

    0.0 (no evidence either way) when no case has answers to the same number of features in both.
    Raises ValueError when a value is not finite.
    """
    features = [f for f in sorted(weights) if weights[f] > 0.0 and f in baseline and f in current]
    cases = _complete_cases(features, baseline, current)
    if not features or not cases:
        return 0.0
    cases = sorted(cases, key=lambda case: _digest(key, case))[:MAX_CASES]
    shares = np.array([weights[f] for f in features])
    tables = [_table(features, case, baseline, current) for case in cases]
    sizes = np.array([table.shape[0] for table in tables])
    namings = _namings(sizes, key)
    logs = np.zeros((namings.shape[0], len(features), len(STEPS)))
    for column, table in enumerate(tables):
        logs += table[namings[:, column]]
    log_e = _log_e(logs, shares / shares.sum())
    counted = len(cases) if int(sizes.max()) > 2 else max(0, len(cases) - FOR_CASES)
    return log_e / of_cases(OTHER.first, counted)


def _complete_cases(
    features: list[str],
    baseline: Mapping[str, Mapping[str, Sequence[float]]],
    current: Mapping[str, Mapping[str, Sequence[float]]],
) -> list[str]:
    if not features:
        return []
    found = []
    for case in sorted(baseline[features[0]]):
        sizes = {len(baseline[f].get(case, ())) for f in features}
        if len(sizes) == 1 and sizes != {0} and all(current[f].get(case) for f in features):
            found.append(case)
    return found


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()


def _table(
    features: list[str],
    case: str,
    baseline: Mapping[str, Mapping[str, Sequence[float]]],
    current: Mapping[str, Mapping[str, Sequence[float]]],
) -> FloatArray:
    """log bets of naming each answer of the bag, shape (answers, features, steps); new one last."""
    bag = np.array(
        [
            finite_all([*baseline[f][case], current[f][case][0]], f"answers[{f!r}][{case!r}]")
            for f in features
        ]
    )
    size = bag.shape[1]
    below = (bag[:, :, None] > bag[:, None, :]).sum(-1)
    equal = (bag[:, :, None] == bag[:, None, :]).sum(-1)  # itself included
    low, high = below / size, (below + equal) / size
    above = (np.maximum(high, 0.5) - np.maximum(low, 0.5)) / (high - low)
    bets = np.stack([1.0 + c * (2.0 * above - 1.0) for c in STEPS], axis=-1)
    return np.asarray(np.log(bets).transpose(1, 0, 2))


def _namings(sizes: IntArray, key: str) -> IntArray:
    """Indices of the named answers, shape (namings, cases); the first row is what happened."""
    total = math.prod(int(s) for s in sizes) if sizes.size <= 13 else MAX_ALL + 1
    true = (sizes - 1)[None, :]
    if total <= MAX_ALL:
        grid = np.indices(tuple(int(s) for s in sizes)).reshape(sizes.size, -1).T
        return np.concatenate([true, grid[~(grid == true).all(axis=1)]])
    count = SAMPLED if sizes.size <= 40 else SAMPLED // 4
    seed = int.from_bytes(_digest(key, "namings")[:8], "big")
    random = np.random.Generator(np.random.Philox(seed))
    drawn = np.floor(random.random((count - 1, sizes.size)) * sizes).astype(np.int64)
    return np.concatenate([true, drawn])


def _log_e(logs: FloatArray, shares: FloatArray) -> float:
    by_feature = _log_mean(logs)
    combined = by_feature + np.log(shares)
    top = combined.max(axis=1, keepdims=True)
    average = np.log(np.exp(combined - top).sum(axis=1)) + top[:, 0]
    statistics = [power * average for power in POWERS]
    product = by_feature @ (shares * shares.size)
    statistics += [power * product for power in PRODUCTS]
    logs_e = np.array([float(g[0]) - _log_mean_of(g) for g in statistics])
    return _log_mean_of(logs_e)


def _log_mean(logs: FloatArray) -> FloatArray:
    top = logs.max(axis=-1)
    return np.asarray(np.log(np.exp(logs - top[..., None]).mean(axis=-1)) + top)


def _log_mean_of(values: FloatArray) -> float:
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).mean()))
