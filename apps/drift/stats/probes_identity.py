"""Does an endpoint say that it is what it was? Names, fingerprints, catalogue, headers, tokens.

Each *facet* of a round is a set of values (the fingerprints that its answers carried). A value that
belongs to a known rotation is no news; one that was never seen is. How surprising that is, the
past tells: where every tenth round brought a value of its own, another one means little; where 60
rounds brought three fingerprints again and again, a fourth means much. The conformal rank of a
round (`probes.Kinds`) says exactly this, and is Good and Turing's estimate of novelty in other
words: (rounds with a value of their own + 1) / (rounds + 1).

Null hypothesis: the rounds of a facet are exchangeable. A vendor that rolls a benign fingerprint
out once and for all breaks it: that is a finding, and suites decide whether behaviour changed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.combine import combine_log_e
from apps.drift.stats.probes import MAX_VALUES, Kinds, RoundBets
from apps.drift.stats.ranks import recorded_uniform

TELLING = 0.05


@dataclass(frozen=True)
class News:
    """A value that its facet never showed before.

    surprise: probability of a round at least as strange if nothing changed, at this one look.
    telling: surprise is at most 0.05; otherwise new values are routine here.
    """

    facet: str
    value: str
    known: tuple[str, ...]
    surprise: float

    @property
    def telling(self) -> bool:
        return self.surprise <= TELLING


class IdentityWatch:
    """One e-process over all facets (the average of theirs): identical until proven otherwise.

    The first `baseline` rounds of a facet fill its known set without a bet.
    """

    def __init__(self, *, key: str, facets: Collection[str], baseline: int = 5) -> None:
        if not key or not facets:
            raise ValueError("key, facets: a watch needs a lasting id and at least one facet.")
        self.key, self.baseline = key, baseline
        self.rounds = 0
        self._kinds = {facet: Kinds({}) for facet in sorted(facets)}
        self._bets = {facet: RoundBets() for facet in sorted(facets)}
        self._last: str | None = None
        self.max_log_e = 0.0

    @property
    def log_e(self) -> float:
        return combine_log_e([bets.log_e for bets in self._bets.values()])

    def known(self, facet: str) -> frozenset[str]:
        return self._kinds[facet].known

    def observe_round(self, round_key: str, seen: Mapping[str, Collection[str]]) -> list[News]:
        """facet -> the values of this round. A facet without values is left out.

        Raises ValueError when the round is the last one again, or a facet is unknown.
        """
        if not round_key or round_key == self._last:
            raise ValueError(f"round_key: round {round_key!r} was already observed, or has no id.")
        if unknown := sorted(set(seen) - set(self._kinds)):
            raise ValueError(f"seen: unknown facets {', '.join(unknown)}.")
        news = []
        for facet in sorted(seen):
            values, kinds = sorted(set(seen[facet])), self._kinds[facet]
            if not values:
                continue
            if kinds.total >= self.baseline:
                u = recorded_uniform(self.key, facet, round_key)
                self._bets[facet].update([kinds.rank(values, u, 1.0)])
                surprise = kinds.rank(values, math.nextafter(1.0, 0.0), 1.0)
                known = tuple(sorted(kinds.known))
                news += [News(facet, v, known, surprise) for v in values if v not in kinds.known]
            kinds.add(values)
            kinds.thin(MAX_VALUES, self.key, facet)
        self.rounds += 1
        self._last = round_key
        self.max_log_e = max(self.max_log_e, self.log_e)
        return news

    def to_state(self) -> dict[str, Any]:
        return {
            "kind": "identity-watch/1",
            "key": self.key,
            "baseline": self.baseline,
            "rounds": self.rounds,
            "last": self._last,
            "max_log_e": self.max_log_e,
            "facets": {
                facet: {"kinds": self._kinds[facet].counts, "bets": self._bets[facet].to_state()}
                for facet in self._kinds
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> IdentityWatch:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") != "identity-watch/1":
            raise ValueError(f"state: not an identity watch (kind {state.get('kind')!r}).")
        watch = cls(key=state["key"], facets=list(state["facets"]), baseline=int(state["baseline"]))
        for facet, part in state["facets"].items():
            watch._kinds[facet] = Kinds({str(k): int(n) for k, n in part["kinds"].items()})
            watch._bets[facet] = RoundBets.from_state(part["bets"])
        watch.rounds, watch._last = int(state["rounds"]), state["last"]
        watch.max_log_e = float(state["max_log_e"])
        return watch
