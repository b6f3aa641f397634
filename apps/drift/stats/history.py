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

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from apps.drift.stats.checks import finite
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
        for score in scores:
            history.add(score)
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

    @property
    def total(self) -> int:
        """How many answers are held (after thinning: fewer than ``seen``)."""
        return sum(self.counts)

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
