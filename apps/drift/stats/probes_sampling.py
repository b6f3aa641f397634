"""Does the endpoint still draw its tokens as it was told? Seen in the drawn tokens alone.

Log-probabilities are computed before temperature, top-p, penalties and biases act, so tracking them
cannot see these change. The drawn tokens can: two scores of a completion, ranked among earlier
completions of the same prompt (`watch.CaseWatch`), each a test martingale; their average is one.

* surprise: sum over tokens of log q(token) + H(q), divided by the root of the summed variances, q
  being the top log-probabilities at the version's own temperature. Warmer is lower; penalties too.
* depth: the largest mass that lies above a drawn token, max over tokens of sum of q over likelier
  tokens. With top-p at 0.9 it never passes 0.9; without, a few tokens of a completion do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.checks import finite, positive
from apps.drift.stats.combine import combine_log_e
from apps.drift.stats.watch import CaseWatch

SCORES = ("surprise", "depth")


@dataclass(frozen=True)
class Drawn:
    """One drawn token: its log-probability, and those of the likeliest tokens at its place."""

    log_p: float
    top: tuple[float, ...]


def sampling_scores(tokens: Sequence[Drawn], *, temperature: float) -> dict[str, float]:
    """Both scores of one completion. `temperature` is the version's own, above 0.

    Raises ValueError when there is no token or a number is not usable.
    """
    if not tokens:
        raise ValueError("tokens: the completion is empty.")
    cool = 1.0 / positive(temperature, "temperature")
    total = variance = deepest = 0.0
    for token in tokens:
        mine = finite(token.log_p, "tokens.log_p") * cool
        logs = [finite(v, "tokens.top") * cool for v in token.top]
        if not any(abs(v - mine) < 1e-9 for v in logs):
            logs.append(mine)
        peak = max(logs)
        norm = peak + math.log(math.fsum(math.exp(v - peak) for v in logs))
        q = [math.exp(v - norm) for v in logs]
        mean = math.fsum(p * (v - norm) for p, v in zip(q, logs, strict=True))
        total += (mine - norm) - mean
        variance += math.fsum(p * (v - norm - mean) ** 2 for p, v in zip(q, logs, strict=True))
        deepest = max(
            deepest, math.fsum(p for p, v in zip(q, logs, strict=True) if v > mine + 1e-9)
        )
    surprise = total / math.sqrt(variance) if variance > 1e-12 else 0.0
    return {"surprise": round(surprise, 6), "depth": round(deepest, 6)}


class SamplingWatch:
    """The average of the two scores' martingales. Starts on baseline completions of each prompt."""

    def __init__(self, watches: dict[str, CaseWatch]) -> None:
        self._watches = watches
        self.max_log_e = 0.0

    @classmethod
    def start(
        cls, baseline: Mapping[str, Sequence[Mapping[str, float]]], *, key: str
    ) -> SamplingWatch:
        """baseline: prompt -> the scores of its completions (`sampling_scores`)."""
        return cls(
            {
                name: CaseWatch.start(
                    {p: [s[name] for s in rows] for p, rows in baseline.items()},
                    f"{key}:{name}",
                    max_values=200,
                    one_day=False,  # probes' baselines are collected over time and load
                )
                for name in SCORES
            }
        )

    @property
    def log_e(self) -> float:
        return combine_log_e([w.log_e for w in self._watches.values()])

    def observe_round(
        self, round_key: str, answers: Mapping[str, Sequence[Mapping[str, float]]]
    ) -> float:
        """The growth of log e. Raises ValueError for the last round again."""
        before = self.log_e
        for name, watch in self._watches.items():
            watch.observe_run(
                round_key, {p: [s[name] for s in rows] for p, rows in answers.items()}
            )
        self.max_log_e = max(self.max_log_e, self.log_e)
        return self.log_e - before

    def to_state(self) -> dict[str, Any]:
        return {
            "kind": "sampling-watch/1",
            "max_log_e": self.max_log_e,
            "watches": {name: w.to_state() for name, w in self._watches.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SamplingWatch:
        if state.get("kind") != "sampling-watch/1":
            raise ValueError(f"state: not a sampling watch (kind {state.get('kind')!r}).")
        watch = cls({n: CaseWatch.from_state(s) for n, s in state["watches"].items()})
        watch.max_log_e = float(state["max_log_e"])
        return watch
