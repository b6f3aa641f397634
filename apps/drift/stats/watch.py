"""The watch over one (suite revision, scorer revision, metric) of one version.

Every new answer is ranked among *all earlier answers to the same case*: the baseline, earlier
reruns, and earlier answers of the same run. Ranking each rerun against the stored baseline alone
would carry the baseline's luck into every look, always in the same direction, and raise an alarm
on most unchanged models within a year; see the Monte Carlo tests, which show both.

Null hypothesis: for each case, baseline answers and reruns are exchangeable, and cases are
independent. Whole runs that move together (an overloaded hour, another GPU) are measured from the
reruns and their bets tempered: see `run_effect`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.checks import answers_by_case
from apps.drift.stats.history import History
from apps.drift.stats.martingale import RestartMixture
from apps.drift.stats.run_effect import KEPT, design_effect, rank_variance

_KIND, _OLD_KINDS = "case-watch/3", ("case-watch/2", "case-watch/1")
MAX_VALUES = 128


@dataclass(frozen=True)
class LookResult:
    """What one run did to the watch.

    ranks: for each case, the middle ranks of its answers in the order given; a mean far below 0.5
    says that the case now scores lower than before.
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
    gains: tuple[float, ...] = ()  # log factor of every bet; see `changepoint.change_interval`

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
        self._spreads: list[float] = []
        self._sizes: list[int] = []
        self._replicated, self._one_day = False, True
        self._mixture = RestartMixture()

    @classmethod
    def start(
        cls,
        baseline: Mapping[str, Sequence[float]],
        key: str,
        *,
        max_values: int = MAX_VALUES,
        one_day: bool = True,
    ) -> CaseWatch:
        """Begin a watch on the approved answers.

        baseline: case id -> scores (one replicate is enough for validity; more give power).
        key: the watch's lasting id; it keys the thinning of long histories.
        max_values: a case that holds more different scores is thinned; see `history`.
        one_day: False when the baseline was collected over several occasions; see `run_effect`.

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
        watch = cls(key=key, histories=histories, max_values=max_values)
        binary = all(value in (0.0, 1.0) for h in histories.values() for value in h.values)
        watch._mixture = RestartMixture(binary=binary)
        watch._one_day = one_day
        watch._replicated = 2 * sum(h.seen > 1 for h in histories.values()) > len(histories)
        return watch

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

    @property
    def design_effect(self) -> float:
        """How many times the runs vary more than independent answers would; 1.0 is none. Of a run
        with one answer to each case."""
        return self._effect_of(len(self._histories))

    def _effect_of(self, answers: int) -> float:
        return design_effect(
            self._spreads,
            answers=answers,
            sizes=self._sizes,
            replicated=self._replicated,
            one_day=self._one_day,
            binary=self._mixture.binary,
        )

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
        places: list[tuple[int, int, int]] = []
        noise = moved = 0.0
        for case in sorted(scores):
            if case in self._histories and scores[case]:
                found = self._place_case(case, scores[case])
                noise += len(found) * rank_variance(self._histories[case].counts)
                places += found
                ranks[case] = middle = tuple((b + (e + 1) / 2) / (n + 1) for b, e, n in found)
                moved += sum(middle) - 0.5 * len(middle)
        if places:
            exponent = 1.0 / self._effect_of(len(places))
            self._mixture.update_intervals(*zip(*places, strict=True), exponent=exponent)
            if noise > 0.0:
                self._spreads = [*self._spreads, moved**2 / noise][-KEPT:]
                self._sizes = [*self._sizes, len(places)][-KEPT:]
        self._last_run = run_key
        return LookResult(
            run_key=run_key,
            n_ranks=len(places),
            ranks=ranks,
            unmatched_cases=sum(case not in self._histories for case in scores),
            missing_cases=sum(case not in ranks for case in self._histories),
            log_e_before=before,
            log_e_after=self._mixture.log_e,
            max_log_e=self._mixture.max_log_e,
            looks=self._mixture.looks,
            gains=tuple(float(g) for g in self._mixture.last_gains) if places else (),
        )

    def _place_case(self, case: str, scores: list[float]) -> list[tuple[int, int, int]]:
        history = self._histories[case]
        places = []
        for score in scores:
            places.append(history.observe(score))
            if len(history.values) > self._max_values:
                history.thin(self._max_values, self._key, case)
        return places

    def to_state(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_state` continues to the last bit.

        Size: two numbers a case for 0/1 scores; otherwise at most ``max_values`` a case, packed.
        """
        return {
            "kind": _KIND,
            "key": self._key,
            "max_values": self._max_values,
            "last_run": self._last_run,
            "spreads": list(self._spreads),
            "sizes": list(self._sizes),
            "replicated": self._replicated,
            "one_day": self._one_day,
            "cases": {case: h.to_state() for case, h in self._histories.items()},
            "martingale": self._mixture.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CaseWatch:
        """Rebuild from `to_state`. Raises ValueError when it is of another kind or damaged."""
        if state.get("kind") not in (_KIND, *_OLD_KINDS):
            raise ValueError(f"state: not a case watch (kind {state.get('kind')!r}).")
        histories = {
            case: History.from_state(part["values"], part["counts"], part["seen"])
            if isinstance(part["values"], list)
            else History.unpacked(part)
            for case, part in sorted(state["cases"].items())
        }
        watch = cls(key=state["key"], histories=histories, max_values=int(state["max_values"]))
        watch._last_run = state["last_run"]
        watch._spreads = [float(value) for value in state.get("spreads", [])]
        # States of before sizes were kept: one answer to each case.
        sizes = state.get("sizes", [len(histories)] * len(watch._spreads))
        watch._sizes = [int(size) for size in sizes]
        watch._replicated = bool(state.get("replicated", False))
        watch._one_day = bool(state.get("one_day", True))
        watch._mixture = RestartMixture.from_state(state["martingale"])
        return watch
