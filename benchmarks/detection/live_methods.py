"""Methods of the literature on the same records, re-implemented from their papers.

* LT, log-probability tracking (arXiv 2512.03816): two samples of one-token answers; the statistic
  is the mean absolute difference of the tokens' mean log-probabilities; permutation test.
  `published`: its permutation p-value, Bonferroni over three years of daily looks, the smallest
  window that can reach it. `oracle`: the newest round alone against the stored sample.
* B3IT, border inputs (arXiv 2602.11083): prompts that gave two answers at T = 0 while sampled;
  the statistic is the mean total variation between stored and new answers. Oracle threshold.
* MET, Model Equality Testing (arXiv 2410.20247): MMD with the Hamming kernel over completions of
  every prompt, ten each. Oracle threshold.
* Accuracy: forty questions with letters, at T = 0; the drop of the share of right answers.

A look is what the method asks in one go. Tokens are prompt and completion tokens up to the alarm.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from apps.drift.stats.probes import top_distance
from benchmarks.detection.live_prompts import questions

Top = list[tuple[str, float]]
STORED, LOOKS, LIVES, TRIES, MOST = 26, 365, 40, 20, 20
YEARS_OF_LOOKS = 1095
ALPHA = 0.01


def draw(top: Top, temperature: float, rng: random.Random) -> str:
    """One token of the likeliest twenty at a temperature."""
    best = max(v for _, v in top)
    weights = [math.exp((v - best) / temperature) for _, v in top]
    return rng.choices([t for t, _ in top], weights)[0]


def letter(top: Top) -> str:
    """The likeliest of the letters A to D among the tokens."""
    for token, _ in sorted(top, key=lambda pair: -pair[1]):
        if token.strip() in ("A", "B", "C", "D"):
            return token.strip()
    return ""


def compare(records: Any, border: Callable[..., list[int]]) -> dict[str, dict[str, float]]:
    """method -> change -> median tokens to detection (infinite: never)."""
    changes = [name for name in records.by if name != "unchanged"]
    return {
        "LT, published test": {n: _lt_published(records, n) for n in changes},
        "LT, oracle": _lt_oracle(records, changes),
        "B3IT, oracle": _b3it(records, changes, border),
        "MET (MMD)": _met(records, changes),
        "accuracy": _accuracy(records, changes),
    }


def _round(records: Any, name: str, which: Sequence[int], rng: random.Random) -> list[Top]:
    return list(records.round(name, records.load(name, rng), which, rng))


def _vector(stored: Sequence[Sequence[Top]], place: int) -> list[str]:
    return sorted({t for row in stored for t, _ in row[place]})


def _matrix(rows: Sequence[list[Top]], place: int, tokens: Sequence[str]) -> np.ndarray:
    """rounds x tokens; a token that is not among the twenty counts as the smallest that is."""
    out = np.empty((len(rows), len(tokens)))
    for i, row in enumerate(rows):
        known = dict(row[place])
        low = min(known.values())
        out[i] = [known.get(t, low) for t in tokens]
    return out


def _lt_published(records: Any, name: str) -> float:
    """Windows of w rounds: C(26 + w, w) orders must allow p <= 0.01 / 1095."""
    window = next(
        w for w in range(1, 20) if math.comb(STORED + w, w) >= YEARS_OF_LOOKS / ALPHA * 1.01
    )
    which = list(range(20))
    found = []
    for attempt in range(5):
        rng = random.Random(f"lt{name}{attempt}")
        stored = [_round(records, "unchanged", which, rng) for _ in range(STORED)]
        new: list[list[Top]] = []
        hit = math.inf
        for count in range(1, MOST + 1):
            new.append(_round(records, name, which, rng))
            if count < window:
                continue
            rows = stored + new[-window:]
            parts = []
            for place in which:
                tokens = _vector(rows, place)
                parts.append(_matrix(rows, place, tokens) / len(tokens) / len(which))
            both = np.concatenate(parts, axis=1)
            if _permuted(both, window, random.Random(count)) <= ALPHA / YEARS_OF_LOOKS:
                hit = count * records.round_tokens
                break
        found.append(hit)
    return statistics.median(found)


def _permuted(rows: np.ndarray, window: int, rng: random.Random) -> float:
    """p-value of the mean absolute difference of means; 120,000 random splits of the rows."""
    total, n = rows.sum(axis=0), len(rows)

    def statistic(picks: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(picks), rows.shape[1]), dtype=np.float32)
        for k in range(window):
            sums += rows[picks[:, k]]
        other = total - sums
        return np.abs(sums / window - other / (n - window)).sum(axis=1)

    mine = float(statistic(np.arange(n - window, n)[None, :])[0])
    gen = np.random.default_rng(rng.randrange(2**32))
    above = 0
    splits = 120_000
    for first in range(0, splits, 4_000):
        picks = np.argsort(gen.random((4_000, n)), axis=1)[:, :window]
        above += int((statistic(picks) >= mine - 1e-9).sum())
        if first >= 8_000 and above > 20:
            return above / (first + 4_000)
    return (above + 1) / (splits + 1)


def _oracle(unchanged: Callable[[random.Random], float]) -> float:
    """The threshold that 1 % of unchanged lives of 365 looks pass: their maxima's quantile."""
    rng = random.Random("oracle")
    values = np.array([unchanged(rng) for _ in range(2_000)])
    maxima = [float(np.random.default_rng(i).choice(values, LOOKS).max()) for i in range(400)]
    return float(np.quantile(maxima, 1 - ALPHA)) + 1e-12


def _until(look: Callable[[random.Random], float], line: float, tokens: float, key: str) -> float:
    found = []
    for attempt in range(TRIES):
        rng = random.Random(f"{key}{attempt}")
        hit = next((k for k in range(1, MOST + 1) if look(rng) > line), None)
        found.append(math.inf if hit is None else hit * tokens)
    return statistics.median(found)


def _lt_oracle(records: Any, changes: Sequence[str]) -> dict[str, float]:
    """One prompt, one request a look (the cheapest form): distance to the nearest stored answer."""
    rng = random.Random("lt")
    place = 1
    stored = [_round(records, "unchanged", [place], rng)[0] for _ in range(STORED)]

    def look(name: str) -> Callable[[random.Random], float]:
        return lambda rng: statistics.mean(
            top_distance(_round(records, name, [place], rng)[0], s) for s in stored
        )

    line = _oracle(look("unchanged"))
    one = records.round_tokens / 20
    return {n: _until(look(n), line, one, f"lt{n}") for n in changes}


def _b3it(
    records: Any, changes: Sequence[str], border: Callable[..., list[int]]
) -> dict[str, float]:
    rng = random.Random("b3it")
    everything = list(range(20, len(records.prompts)))
    stored = [_round(records, "unchanged", everything, rng) for _ in range(STORED)]
    counts = {place: Counter(row[i][0][0] for row in stored) for i, place in enumerate(everything)}
    chosen = [p for p in everything if len(counts[p]) > 1][:20] or everything[:20]

    def look(name: str) -> Callable[[random.Random], float]:
        def one(rng: random.Random) -> float:
            rows = [_round(records, name, chosen, rng) for _ in range(3)]
            total = 0.0
            for i, place in enumerate(chosen):
                new = Counter(row[i][0][0] for row in rows)
                keys = new.keys() | counts[place].keys()
                total += 0.5 * sum(abs(new[k] / 3 - counts[place][k] / STORED) for k in keys)
            return total / len(chosen)

        return one

    line = _oracle(look("unchanged"))
    tokens = 3 * len(chosen) * records.border_tokens
    return {n: _until(look(n), line, tokens, f"b3{n}") for n in changes}


def _met(records: Any, changes: Sequence[str]) -> dict[str, float]:
    """MMD^2 with the Hamming kernel, summed over prompts; ten completions a prompt and look."""
    texts: dict[str, dict[int, list[list[str]]]] = {}
    for name, rows in records.completions.items():
        by: dict[int, list[list[str]]] = {}
        for row in rows:
            by.setdefault(row["prompt"], []).append([t[0] for t in row["tokens"]])
        texts[name] = by
    if "unchanged" not in texts:
        return dict.fromkeys(changes, math.inf)
    stored = {p: rows[:15] for p, rows in texts["unchanged"].items()}
    fresh = {p: rows[15:] for p, rows in texts["unchanged"].items()}
    each = 8

    def look(pool: dict[int, list[list[str]]]) -> Callable[[random.Random], float]:
        # Every kernel once; a look picks rows and columns.
        known = [(_kernels(rows, rows), _kernels(rows, pool[p]), _kernels(pool[p], pool[p]))
                 for p, rows in stored.items()]  # fmt: skip

        def one(rng: random.Random) -> float:
            total = 0.0
            for old, between, new in known:
                picked = rng.sample(range(len(new)), min(each, len(new)))
                total += _mmd(old, between[:, picked], new[np.ix_(picked, picked)])
            return total / len(known)

        return one

    rng = random.Random("met")
    unchanged = look(fresh)
    values = np.array([unchanged(rng) for _ in range(150)])
    # The maximum of 365 looks, from a normal fit: 365 x 400 sums of kernels would take a day.
    line = float(values.mean() + 4.2 * values.std())
    tokens = each * len(stored) * (records.prompt_tokens + 16)
    found = {}
    for n in changes:
        found[n] = _until(look(texts[n]), line, tokens, f"met{n}") if n in texts else math.nan
    return found


def _kernels(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]]) -> np.ndarray:
    """len(a) x len(b): the share of the 16 places with the same token."""
    return np.array([[sum(map(str.__eq__, x, y)) / 16 for y in b] for x in a])


def _mmd(old: np.ndarray, between: np.ndarray, new: np.ndarray) -> float:
    """The unbiased estimate: no answer is held against itself."""

    def within(k: np.ndarray) -> float:
        return float((k.sum() - np.trace(k)) / max(1, len(k) * (len(k) - 1)))

    return within(old) + within(new) - 2 * float(between.mean())


def _accuracy(records: Any, changes: Sequence[str]) -> dict[str, float]:
    """A drop that a paired sign test finds at 0.01 / 1095: at least 17 of 40 answers, one way."""
    right = [answer for _, answer in questions()]
    before = [a == r for a, r in zip(records.questions["unchanged"], right, strict=True)]
    found = {}
    for name in changes:
        now = [a == r for a, r in zip(records.questions[name], right, strict=True)]
        lost = sum(b and not n for b, n in zip(before, now, strict=True))
        won = sum(n and not b for b, n in zip(before, now, strict=True))
        p = 2 * sum(math.comb(lost + won, k) for k in range(min(lost, won) + 1)) / 2 ** (lost + won)
        found[name] = records.question_tokens if p <= ALPHA / YEARS_OF_LOOKS else math.inf
    return found
