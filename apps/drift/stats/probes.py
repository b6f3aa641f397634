"""Watches over probes: tiny requests, asked again and again, that tell another model's numerics.

A *round* is one pass over a fixed set of prompts. For each prompt the new answer is ranked by how
strange it is among all earlier answers to the same prompt; the strange end of the ranks is bet on;
rounds are joined by a restart mixture (see `martingale`).

**Load.** An answer's numbers move with what else the server computes at that moment, and a busy
hour moves all prompts of a round together, always away from the quiet answers. Plain ranks are then
not independent within a round. So a rank is taken against a part of the history only:

    p = min(1, (above + u * (equal + 1)) / (m + 1)),   m = ceil(coverage * n)

above, equal: how many of the n earlier answers are stranger than, or as strange as, the new one.
The null hypothesis is weaker than exchangeability: *at least the share `coverage` of the history
was collected under a load at least as strong as now*; given the loads, answers are independent.
With the m answers of that share the rank among m + 1 is uniform, and counting over the whole
history only makes p larger. coverage = 1 is the plain smoothed rank. A baseline that was recorded
on a quiet server breaks this null: it is collected over time and load (`coverage_gaps`).

**Bets.** 1 - s + s * k * p**(k - 1) with (s, k) from `BETS`: decreasing in p, mean at most 1 for
every p that is uniform or larger, so the product over a round has mean at most 1.

References: Vovk, Gammerman, Shafer 2022 (ranks); Sellke, Bayarri, Berger 2001 and Vovk, Wang 2021
(k * p**(k-1) as calibrators); arXiv 2512.03816 (distance of first-token log-probabilities); arXiv
2602.11083 (border inputs); Ville 1939.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.checks import finite
from apps.drift.stats.history import History
from apps.drift.stats.martingale import restart_weight
from apps.drift.stats.ranks import recorded_uniform

BETS: tuple[tuple[float, float], ...] = (
    (1.0, 0.15),
    (1.0, 0.35),
    (0.6, 0.35),
    (0.5, 0.15),
    (0.25, 0.1),
    (0.1, 0.1),
)
MAX_VALUES = 250
_SMALLEST = math.nextafter(0.0, 1.0)

Top = Sequence[tuple[str, float]]
"""The likeliest next tokens with their natural log-probabilities."""


def top_distance(a: Top, b: Top) -> float:
    """Mean absolute difference of two lists of log-probabilities, over the union of their tokens.

    A token that only one list holds counts by how far it lies above the other list's smallest
    value (it is at most that likely there). 0 for equal lists; in nats. Raises ValueError when a
    list is empty or a number is not finite.
    """
    first, second = _top(a), _top(b)
    low_a, low_b = min(first.values()), min(second.values())
    total = 0.0
    tokens = sorted(first.keys() | second.keys())
    for token in tokens:
        if token in first and token in second:
            total += abs(first[token] - second[token])
        elif token in first:
            total += max(0.0, first[token] - low_b)
        else:
            total += max(0.0, second[token] - low_a)
    return total / len(tokens)


def _top(top: Top) -> dict[str, float]:
    if not top:
        raise ValueError("top: there is no log-probability.")
    return {token: finite(value, f"top[{token!r}]") for token, value in top}


def covered_rank(*, above: int, equal: int, total: int, u: float, coverage: float) -> float:
    """The rank of the module's docstring, in (0, 1]; small is strange. No history: 1."""
    if total == 0:
        return 1.0
    part = math.ceil(coverage * total)
    return min(1.0, max((above + u * (equal + 1)) / (part + 1), _SMALLEST))


@dataclass
class Kinds:
    """How often each answer was given, where answers have no order: a token, or the set of names
    that one round showed. Strange is what shares its parts with few others."""

    counts: dict[str, int]

    def rank(self, parts: Collection[str], u: float, coverage: float) -> float:
        """Rank by full conformal prediction: every member of the bag, the new one included, is as
        familiar as the number of members that hold its rarest part."""
        key = kind_key(parts)
        bag = {**self.counts, key: self.counts.get(key, 0) + 1}
        holders: dict[str, int] = {}
        for kind, count in bag.items():
            for part in json.loads(kind):
                holders[part] = holders.get(part, 0) + count
        familiar = {k: min((holders[p] for p in json.loads(k)), default=0) for k in bag}
        mine = familiar[key]
        above = sum(n for k, n in self.counts.items() if familiar[k] < mine)
        equal = sum(n for k, n in self.counts.items() if familiar[k] == mine)
        return covered_rank(above=above, equal=equal, total=self.total, u=u, coverage=coverage)

    def add(self, parts: Collection[str]) -> None:
        key = kind_key(parts)
        self.counts[key] = self.counts.get(key, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def known(self) -> frozenset[str]:
        return frozenset(part for kind in self.counts for part in json.loads(kind))

    def thin(self, most: int, *key: str) -> None:
        """A uniformly random half, by recorded draws, when more than `most` kinds are held: see
        `history` for why that keeps the ranks valid."""
        if len(self.counts) <= most:
            return
        members = [kind for kind in sorted(self.counts) for _ in range(self.counts[kind])]
        draws = sorted(
            (recorded_uniform(*key, "thin", str(len(members)), str(i)), i)
            for i in range(len(members))
        )
        kept: dict[str, int] = {}
        for _, i in draws[: (len(members) + 1) // 2]:
            kept[members[i]] = kept.get(members[i], 0) + 1
        self.counts = kept


def kind_key(parts: Collection[str]) -> str:
    return json.dumps(sorted(set(parts)), ensure_ascii=False)


def upper_rank(history: History, score: float, u: float, coverage: float) -> float:
    """`covered_rank` of a score among earlier ones; large scores are strange."""
    at = bisect_left(history.values, score)
    found = at < len(history.values) and history.values[at] == score
    equal = history.counts[at] if found else 0
    above = history.total - sum(history.counts[:at]) - equal
    return covered_rank(above=above, equal=equal, total=history.total, u=u, coverage=coverage)


class RoundBets:
    """The restart mixture over rounds: capital log R_b for each bet b, and what has not started.

    R_b <- (R_b + w_k / len(BETS)) * prod over the round's ranks of bet_b(p)
    e = sum_b R_b + (1 - w_1 - ... - w_k)
    """

    def __init__(self) -> None:
        self._logs: list[float | None] = [None] * len(BETS)
        self._unspent = 1.0
        self.rounds = 0
        self.max_log_e = 0.0

    @property
    def log_e(self) -> float:
        started = [value for value in self._logs if value is not None]
        return _log_sum([*started, math.log(self._unspent)])

    def update(self, ranks: Sequence[float]) -> None:
        """One round. Raises ValueError when it has no rank or one is not in (0, 1]."""
        if not ranks or not all(0.0 < p <= 1.0 for p in ranks):
            raise ValueError("ranks: a round needs at least one, each in (0, 1].")
        self.rounds += 1
        weight = restart_weight(self.rounds)
        start = math.log(weight / len(BETS))
        for i, (share, power) in enumerate(BETS):
            growth = math.fsum(
                math.log(1.0 - share + share * power * p ** (power - 1.0)) for p in ranks
            )
            held = self._logs[i]
            base = start if held is None else _log_sum([held, start])
            self._logs[i] = base + growth
        self._unspent -= weight
        self.max_log_e = max(self.max_log_e, self.log_e)

    def to_state(self) -> dict[str, Any]:
        return {
            "kind": "round-bets/1",
            "logs": self._logs,
            "unspent": self._unspent,
            "rounds": self.rounds,
            "max_log_e": self.max_log_e,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RoundBets:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") != "round-bets/1" or len(state["logs"]) != len(BETS):
            raise ValueError(f"state: not bets on rounds (kind {state.get('kind')!r}).")
        bets = cls()
        bets._logs = [None if v is None else finite(v, "state.logs") for v in state["logs"]]
        bets._unspent = finite(state["unspent"], "state.unspent")
        bets.rounds, bets.max_log_e = int(state["rounds"]), float(state["max_log_e"])
        return bets


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs))


@dataclass(frozen=True)
class RoundLook:
    """What one round did. phase: of this round. ranks: prompt -> rank, where it was bet on."""

    phase: str
    ranks: Mapping[str, float]
    scores: Mapping[str, float]
    log_e_before: float
    log_e: float
    max_log_e: float

    @property
    def log_e_increment(self) -> float:
        return self.log_e - self.log_e_before


class ProbeWatch:
    """The watch over one version's probe.

    The first `references` rounds are kept whole: an answer's score is its distance to the nearest
    of them (vectors), which needs no scale. The next `calibration` rounds only fill the histories.
    Then every round is ranked, bet on, and added. Answers that are tokens (`tokens=True`) need no
    references: their score is how few earlier answers agree.
    """

    def __init__(
        self,
        *,
        key: str,
        tokens: bool = False,
        references: int = 6,
        calibration: int = 20,
        coverage: float = 0.25,
    ) -> None:
        if not key:
            raise ValueError("key: a watch needs a lasting id.")
        if not 0.0 < coverage <= 1.0:
            raise ValueError("coverage: must be above 0 and at most 1.")
        self.key, self.tokens, self.coverage = key, tokens, coverage
        self.references = 0 if tokens else references
        self.calibration = calibration
        self.rounds = 0
        self.bets = RoundBets()
        self._last: str | None = None
        self._references: dict[str, list[list[tuple[str, float]]]] = {}
        self._scores: dict[str, History] = {}
        self._kinds: dict[str, Kinds] = {}

    @property
    def phase(self) -> str:
        """Of the next round: reference, calibration or watching."""
        if self.rounds < self.references:
            return "reference"
        return "calibration" if self.rounds < self.references + self.calibration else "watching"

    @property
    def log_e(self) -> float:
        return self.bets.log_e

    @property
    def max_log_e(self) -> float:
        return self.bets.max_log_e

    def extend(self, rounds: int) -> None:
        """Collect longer: the histories were too narrow. Only before the first bet."""
        if self.phase == "watching":
            raise ValueError("rounds: the watch has begun; its baseline is fixed.")
        self.calibration += rounds

    def observe_round(self, round_key: str, answers: Mapping[str, Any]) -> RoundLook:
        """One round: prompt -> top log-probabilities, or the token. A prompt that got no answer is
        left out. Raises ValueError when the round is the last one again, or an answer is unusable.
        """
        if not round_key or round_key == self._last:
            raise ValueError(f"round_key: round {round_key!r} was already observed, or has no id.")
        phase, before = self.phase, self.log_e
        scores: dict[str, float] = {}
        ranks: dict[str, float] = {}
        checked = {p: a if self.tokens else list(_top(a).items()) for p, a in answers.items()}
        for prompt in sorted(checked):
            answer = checked[prompt]
            if phase == "reference":
                self._references.setdefault(prompt, []).append(answer)
            elif self.tokens:
                self._observe_token(prompt, str(answer), round_key, phase, ranks)
            elif prompt in self._references:
                scores[prompt] = self._observe_vector(prompt, answer, round_key, phase, ranks)
        if ranks:
            self.bets.update([ranks[p] for p in sorted(ranks)])
        if answers:
            self.rounds += 1
        self._last = round_key
        return RoundLook(phase, ranks, scores, before, self.log_e, self.max_log_e)

    def _observe_vector(
        self, prompt: str, answer: Top, round_key: str, phase: str, ranks: dict[str, float]
    ) -> float:
        score = round(min(top_distance(answer, r) for r in self._references[prompt]), 5)
        history = self._scores.setdefault(prompt, History())
        if phase == "watching" and history.total:
            u = recorded_uniform(self.key, prompt, round_key)
            ranks[prompt] = upper_rank(history, score, u, self.coverage)
        history.add(score)
        history.thin(MAX_VALUES, self.key, prompt)
        return score

    def _observe_token(
        self, prompt: str, token: str, round_key: str, phase: str, ranks: dict[str, float]
    ) -> None:
        kinds = self._kinds.setdefault(prompt, Kinds({}))
        if phase == "watching" and kinds.total:
            u = recorded_uniform(self.key, prompt, round_key)
            ranks[prompt] = kinds.rank([token], u, self.coverage)
        kinds.add([token])
        kinds.thin(MAX_VALUES, self.key, prompt)

    @property
    def settled_share(self) -> float:
        """Share of the prompts whose answers have not moved at all so far (1.0: nothing moved)."""
        parts: list[bool] = [h.values == [0.0] for h in self._scores.values()]
        parts += [len(k.counts) == 1 for k in self._kinds.values()]
        return sum(parts) / len(parts) if parts else 1.0

    def undecided(self) -> dict[str, float]:
        """Prompt -> share of its commonest token; 1.0 never flipped. Only for tokens."""
        return {p: max(k.counts.values()) / k.total for p, k in self._kinds.items()}

    def to_state(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_state` continues to the last bit."""
        return {
            "kind": "probe-watch/1",
            "key": self.key,
            "tokens": self.tokens,
            "references": self.references,
            "calibration": self.calibration,
            "coverage": self.coverage,
            "rounds": self.rounds,
            "last": self._last,
            "bets": self.bets.to_state(),
            "kept": {p: [[list(t) for t in top] for top in r] for p, r in self._references.items()},
            "scores": {
                p: {"values": h.values, "counts": h.counts, "seen": h.seen}
                for p, h in self._scores.items()
            },
            "kinds": {p: k.counts for p, k in self._kinds.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ProbeWatch:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") != "probe-watch/1":
            raise ValueError(f"state: not a probe watch (kind {state.get('kind')!r}).")
        watch = cls(
            key=state["key"],
            tokens=bool(state["tokens"]),
            references=int(state["references"]),
            calibration=int(state["calibration"]),
            coverage=float(state["coverage"]),
        )
        watch.rounds, watch._last = int(state["rounds"]), state["last"]
        watch.bets = RoundBets.from_state(state["bets"])
        watch._references = {
            p: [[(str(t), float(v)) for t, v in top] for top in kept]
            for p, kept in state["kept"].items()
        }
        watch._scores = {
            p: History.from_state(h["values"], h["counts"], h["seen"])
            for p, h in state["scores"].items()
        }
        watch._kinds = {
            p: Kinds({str(k): int(n) for k, n in counts.items()})
            for p, counts in state["kinds"].items()
        }
        return watch


def coverage_gaps(
    hours: Sequence[float], *, rounds_wanted: int = 20, days_wanted: float = 7.0
) -> list[str]:
    """Why a baseline is too narrow to be trusted; [] when it is not.

    hours: when its rounds were asked, in hours since any fixed moment (UTC). Wanted: enough rounds,
    over enough days, in every quarter of the day. Recorded on a quiet server in one afternoon, a
    baseline cries wolf in two of three months.
    """
    gaps = []
    if len(hours) < rounds_wanted:
        gaps.append(f"{len(hours)} of {rounds_wanted} rounds")
    span = (max(hours) - min(hours)) / 24.0 if hours else 0.0
    # The last round of day 7 may come a little before the full week.
    if span < days_wanted - 0.5:
        gaps.append(f"{span:.1f} of {days_wanted:g} days")
    quarters = {int(h % 24 // 6) for h in hours}
    missing = [f"{6 * q:02d}–{6 * q + 6:02d}" for q in range(4) if q not in quarters]
    if missing and days_wanted >= 1:
        gaps.append(f"no round between {', '.join(missing)} h UTC")
    return gaps
