"""The earlier answers to one case, kept as sorted values with counts.

A 0/1 score needs two numbers however long the watch lives; a continuous score grows by one value
an answer until it is thinned.

**Thinning keeps the test valid.** When more than ``max_values`` *different* values are held, a
uniformly random half of the answers is kept. Both the moment (a property of the bag of answers)
and the choice (uniform, keyed by recorded randomness) ignore the order in which the answers came.
So, given the bag, the newest answer is as likely to be any member as before: later ranks stay
independent of earlier ones and uniform. Rules that look at the order would break that: keeping
only the baseline is the trap of a reused baseline, and a classic reservoir, which prefers old
answers, makes the next rank depend on the last. The price of thinning is a shorter memory.
"""

from __future__ import annotations

import base64
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from apps.drift.stats.checks import finite, finite_all
from apps.drift.stats.ranks import rank_from_counts, recorded_uniform


@dataclass
class History:
    """Sorted different values, how often each was seen, and how many answers were ever added."""

    values: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    seen: int = 0

    @classmethod
    def of(cls, scores: Iterable[float]) -> History:
        """A history that holds ``scores``. Raises ValueError on NaN or infinite scores."""
        history = cls()
        for number in sorted(finite_all(list(scores), "score")):
            if history.values and history.values[-1] == number:
                history.counts[-1] += 1
            else:
                history.values.append(number)
                history.counts.append(1)
            history.seen += 1
        return history

    @classmethod
    def from_state(cls, values: Sequence[float], counts: Sequence[int], seen: int) -> History:
        """Rebuild a stored history. Raises ValueError when the parts contradict each other."""
        numbers = [finite(value, "state.values") for value in values]
        sizes = [int(count) for count in counts]
        if len(numbers) != len(sizes) or any(size < 1 for size in sizes):
            raise ValueError("state.counts: one count of at least 1 is needed for each value.")
        if any(left >= right for left, right in pairwise(numbers)):
            raise ValueError("state.values: must rise strictly.")
        if seen < sum(sizes):
            raise ValueError("state.seen: is below the number of answers held.")
        return cls(values=numbers, counts=sizes, seen=int(seen))

    def to_state(self) -> dict[str, Any]:
        """A JSON-able dict. More than eight values are packed: base64 of little-endian doubles,
        to the last bit and half as long as decimals; ``counts`` is None when all are 1.
        """
        if len(self.values) <= 8:
            return {"values": list(self.values), "counts": list(self.counts), "seen": self.seen}
        packed = base64.b64encode(struct.pack(f"<{len(self.values)}d", *self.values)).decode()
        counts = None if max(self.counts) == 1 else list(self.counts)
        return {"values": packed, "counts": counts, "seen": self.seen}

    @classmethod
    def unpacked(cls, state: Mapping[str, Any]) -> History:
        """Rebuild a packed history. Raises ValueError when it is damaged."""
        data = base64.b64decode(state["values"], validate=True)
        if len(data) % 8:
            raise ValueError("state.values: is no whole number of values.")
        values = struct.unpack(f"<{len(data) // 8}d", data)
        counts = state["counts"]
        return cls.from_state(
            values, [1] * len(values) if counts is None else counts, state["seen"]
        )

    @property
    def total(self) -> int:
        """How many answers are held (after thinning: fewer than ``seen``)."""
        return sum(self.counts)

    def place(self, score: float) -> tuple[int, int, int]:
        """How many of the answers held are below ``score``, equal to it, and all of them."""
        at = bisect_left(self.values, score)
        found = at < len(self.values) and self.values[at] == score
        return sum(self.counts[:at]), self.counts[at] if found else 0, sum(self.counts)

    def observe(self, score: float) -> tuple[int, int, int]:
        """`place` and then `add`, of a finite score, with one search."""
        values, counts = self.values, self.counts
        at = bisect_left(values, score)
        below, total, equal = sum(counts[:at]), sum(counts), 0
        if at < len(values) and values[at] == score:
            equal = counts[at]
            counts[at] += 1
        else:
            values.insert(at, score)
            counts.insert(at, 1)
        self.seen += 1
        return below, equal, total

    def rank(self, score: float, u: float) -> float:
        """The smoothed rank of ``score`` among the answers held; see `ranks.smoothed_rank`."""
        at = bisect_left(self.values, score)
        found = at < len(self.values) and self.values[at] == score
        equal = self.counts[at] if found else 0
        below = sum(self.counts[:at])
        return rank_from_counts(below=below, equal=equal, total=self.total, u=u)

    def add(self, score: float) -> None:
        """Count one more answer. Raises ValueError when the score is NaN or infinite."""
        number = finite(score, "score")
        at = bisect_left(self.values, number)
        if at < len(self.values) and self.values[at] == number:
            self.counts[at] += 1
        else:
            self.values.insert(at, number)
            self.counts.insert(at, 1)
        self.seen += 1

    def thin(self, max_values: int, *key: str) -> None:
        """Keep a uniformly random half of the answers when too many values differ.

        The answers are numbered in rising order; answer i draws recorded_uniform(*key, "thin",
        seen, i), and the half with the smallest draws stays.
        """
        if len(self.values) <= max_values:
            return
        answers = [v for v, n in zip(self.values, self.counts, strict=True) for _ in range(n)]
        draws = [
            (recorded_uniform(*key, "thin", str(self.seen), str(i)), i) for i in range(len(answers))
        ]
        kept = sorted(i for _, i in sorted(draws)[: (len(answers) + 1) // 2])
        seen = self.seen
        thinned = History.of(answers[i] for i in kept)
        self.values, self.counts, self.seen = thinned.values, thinned.counts, seen
