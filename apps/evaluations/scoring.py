"""From an answer to its scores and style profile. The rules are in `scorers/` and `style.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from apps.evaluations.models import Run, Sample, Score, SuiteRevision
from apps.evaluations.scorers import Answer, Scorer, ScoreResult
from apps.evaluations.stored import frame_of
from apps.evaluations.suitefile import Case, build_scorers

# Under this number, samples are scored as they are stored. A rescoring takes the next one.
FIRST_REVISION = 1


@dataclass(frozen=True)
class Plan:
    """A suite's scorers, built once, and the metrics that read them."""

    scorers: dict[str, Scorer]
    metrics: dict[str, str]

    def results(self, case: Case, answer: Answer) -> dict[str, ScoreResult]:
        """The result for every metric that rules can score, by its key. Never raises."""
        wanted = {s for s in self.metrics.values() if not self.scorers[s].deferred}
        found = {k: s.score(answer, case) for k, s in self.scorers.items() if k in wanted}
        return {key: found[scorer] for key, scorer in self.metrics.items() if scorer in found}

    def metric_keys(self, deferred: str = "") -> list[str]:
        """Metrics of one way of scoring: "" for rules, else the scorers' `deferred`."""
        return [k for k, s in self.metrics.items() if self.scorers[s].deferred == deferred]


def plan_of(revision: SuiteRevision) -> Plan:
    return _plan(revision.pk)


@lru_cache(maxsize=64)
def _plan(revision_id: UUID) -> Plan:
    # Cached by id: a revision never changes.
    suite = frame_of(revision_id)
    return Plan(scorers=build_scorers(suite), metrics={m.key: m.scorer for m in suite.metrics})


def scores_of(
    *, run: Run, sample: Sample, results: dict[str, ScoreResult], revision: int = FIRST_REVISION
) -> list[Score]:
    """Rows to store beside a sample; what a scorer did not score has value None and says why."""
    return [
        Score(
            month=run.month,
            run=run,
            sample_id=sample.id,
            case_id=sample.case_id,
            replicate=sample.replicate,
            scoring_revision=revision,
            metric_key=key,
            value=result.value,
            explanation=result.explanation,
            detail=result.detail,
        )
        for key, result in results.items()
    ]
