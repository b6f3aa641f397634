"""The watch over one (suite revision, scorer revision, metric) of one version.

Every new answer is ranked among *all earlier answers to the same case*: the baseline, earlier
reruns, and earlier answers of the same run. Ranking each rerun against the stored baseline alone
would carry the baseline's luck into every look, always in the same direction, and raise an alarm
on most unchanged models within a year; see the Monte Carlo tests, which show both.

Null hypothesis: for each case, baseline answers and reruns are exchangeable, and cases are
independent. It breaks when whole runs move together (an overloaded hour, another GPU): from about
0.4 logits of run-to-run movement false alarms exceed alpha. Where that was measured, feed the watch
one number a run instead (say a single case "run" holding the mean over cases): its ranks then cost
delay, since a run yields one rank instead of one for each answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.checks import answers_by_case
from apps.drift.stats.history import History
from apps.drift.stats.martingale import RestartMixture
from apps.drift.stats.ranks import recorded_uniform

_KIND = "case-watch/1"
MAX_VALUES = 1000


@dataclass(frozen=True)
class LookResult:
    """What one run did to the watch.

    ranks: for each case, the ranks of its answers in the order given; a mean far below 0.5 says
    that the case now scores lower than before.
    """

    run_key: str
    n_ranks: int
    ranks: Mapping[str, tuple[float, ...]]
    unmatched_cases: int
    missing_cases: int
    log_e_before: float
    log_e_after: float
    max_log_e: float
    looks: int

    @property
    def log_e_increment(self) -> float:
        """Growth of the logarithm of the e-value at this look; feeds `change_window`."""
        return self.log_e_after - self.log_e_before

    def alarm(self, alpha: float) -> bool:
        """Whether the watch has ever reached 1/alpha."""
        return self.max_log_e >= -math.log(alpha)


class CaseWatch:
    """State and verbs of one watch. Start it once; a new suite or scorer revision starts another.

    Errors are outcomes of their own: a caller leaves failed answers out here and watches the
    share of failures as a metric of its own.
    """

    def __init__(
        self, *, key: str, histories: dict[str, History], max_values: int = MAX_VALUES
    ) -> None:
        self._key = key
        self._histories = histories
        self._max_values = max_values
        self._last_run: str | None = None
        self._mixture = RestartMixture()

    @classmethod
    def start(
        cls,
        baseline: Mapping[str, Sequence[float]],
        key: str,
        *,
        max_values: int = MAX_VALUES,
    ) -> CaseWatch:
        """Begin a watch on the approved answers.

        baseline: case id -> scores (one replicate is enough for validity; more give power).
        key: the watch's lasting id; it keys the tie-breakers.
        max_values: a case that holds more different scores is thinned; see `history`.

        Raises ValueError when the baseline is empty, a case has no score, or one is not finite.
        """
        if not key:
            raise ValueError("key: a watch needs a lasting id.")
        if max_values < 2:
            raise ValueError("max_values: at least 2 different scores must be kept.")
        if not baseline:
            raise ValueError("baseline: has no case; there is nothing to compare with.")
        scores = answers_by_case(baseline, "baseline")
        for case, values in scores.items():
            if not values:
                raise ValueError(f"baseline[{case!r}]: has no answer; leave the case out.")
        histories = {case: History.of(scores[case]) for case in sorted(scores)}
        for case, history in histories.items():
            history.thin(max_values, key, case)
        return cls(key=key, histories=histories, max_values=max_values)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value now."""
        return self._mixture.log_e

    @property
    def max_log_e(self) -> float:
        """Largest ``log_e`` of the watch's life; alarm when it reaches log(1/alpha)."""
        return self._mixture.max_log_e

    @property
    def looks(self) -> int:
        """How many runs brought at least one rank."""
        return self._mixture.looks

    def observe_run(self, run_key: str, answers: Mapping[str, Sequence[float]]) -> LookResult:
        """Rank and bet on the answers of one run: one look.

        run_key: the run's lasting id. Further answers bought for the same run are a further look
        under a key of their own. answers: case id -> scores, in order of replicate. Cases without
        a baseline are counted in ``unmatched_cases`` and otherwise ignored; baseline cases without
        an answer are counted in ``missing_cases``. A run without any usable answer changes nothing
        and is no look.

        Raises ValueError when the run was the last one seen already or a score is not finite; the
        watch is then unchanged.
        """
        if not run_key:
            raise ValueError("run_key: a run needs a lasting id.")
        if run_key == self._last_run:
            raise ValueError(f"run_key: run {run_key!r} was already observed.")
        scores = answers_by_case(answers, "answers")
        before = self._mixture.log_e
        ranks: dict[str, tuple[float, ...]] = {}
        for case in sorted(scores):
            if case in self._histories and scores[case]:
                ranks[case] = self._rank_case(case, run_key, scores[case])
        flat = [p for case in ranks for p in ranks[case]]
        if flat:
            self._mixture.update_look(flat)
        self._last_run = run_key
        return LookResult(
            run_key=run_key,
            n_ranks=len(flat),
            ranks=ranks,
            unmatched_cases=sum(case not in self._histories for case in scores),
            missing_cases=sum(case not in ranks for case in self._histories),
            log_e_before=before,
            log_e_after=self._mixture.log_e,
            max_log_e=self._mixture.max_log_e,
            looks=self._mixture.looks,
        )

    def _rank_case(self, case: str, run_key: str, scores: list[float]) -> tuple[float, ...]:
        history = self._histories[case]
        ranks = []
        for replicate, score in enumerate(scores):
            u = recorded_uniform(self._key, case, str(replicate), run_key)
            ranks.append(history.rank(score, u))
            history.add(score)
            history.thin(self._max_values, self._key, case)
        return tuple(ranks)

    def to_state(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_state` continues to the last bit.

        Size: two numbers a case for 0/1 scores; at most ``max_values`` + 1 pairs a case otherwise.
        """
        return {
            "kind": _KIND,
            "key": self._key,
            "max_values": self._max_values,
            "last_run": self._last_run,
            "cases": {
                case: {"values": list(h.values), "counts": list(h.counts), "seen": h.seen}
                for case, h in self._histories.items()
            },
            "martingale": self._mixture.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CaseWatch:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") != _KIND:
            raise ValueError(f"state: not a case watch (kind {state.get('kind')!r}).")
        histories = {
            case: History.from_state(part["values"], part["counts"], part["seen"])
            for case, part in sorted(state["cases"].items())
        }
        watch = cls(key=state["key"], histories=histories, max_values=int(state["max_values"]))
        watch._last_run = state["last_run"]
        watch._mixture = RestartMixture.from_state(state["martingale"])
        return watch
