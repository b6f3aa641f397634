"""What the suite pages say: cases, how often they pass, what a revision changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Avg, Max, Min

from apps.evaluations.models import Run, RunState, Score, SuiteRevision
from apps.evaluations.quality import CaseQuality, case_quality
from apps.evaluations.revisions import SameCases
from apps.evaluations.scoring import FIRST_REVISION
from apps.evaluations.selectors import metric_values
from apps.web.rundata import metric_specs

RECENT_RUNS = 20


@dataclass(frozen=True)
class CaseStats:
    """Over recent runs: mean share right, and whether equal questions got unequal marks."""

    pass_rate: float | None
    flaky: bool


def main_metric(revision: SuiteRevision) -> dict[str, Any] | None:
    """The first metric of which an answer can be right or wrong."""
    for spec in metric_specs(revision):
        if spec.get("bounds") == [0, 1] and spec.get("direction") == "higher":
            return spec
    return None


def case_stats(revision: SuiteRevision, runs: Iterable[Run]) -> dict[Any, CaseStats]:
    """By case, over the given runs of one revision: one query for each run's partition."""
    spec = main_metric(revision)
    if spec is None:
        return {}
    seen: dict[Any, list[tuple[float, bool]]] = {}
    for run in runs:
        rows = (
            Score.objects.filter(
                month=run.month,
                run=run,
                metric_key=spec["key"],
                scoring_revision=FIRST_REVISION,
                value__isnull=False,
            )
            .values("case_id")
            .annotate(mean=Avg("value"), low=Min("value"), high=Max("value"))
        )
        for row in rows:
            seen.setdefault(row["case_id"], []).append((row["mean"], row["low"] != row["high"]))
    return {
        case: CaseStats(
            pass_rate=sum(mean for mean, _ in found) / len(found),
            flaky=any(uneven for _, uneven in found),
        )
        for case, found in seen.items()
    }


def recent_runs(runs: Any, revision: SuiteRevision) -> list[Run]:
    """The newest complete runs of a revision among `runs` (what a person may see)."""
    rows = runs.filter(suite_revision=revision, state=RunState.COMPLETE)
    return list(rows.order_by("-created_at")[:RECENT_RUNS])


def quality(revision: SuiteRevision, runs: Iterable[Run]) -> dict[Any, CaseQuality]:
    """By stored case, over the given runs of the revision."""
    spec = main_metric(revision)
    return case_quality(runs, spec["key"]) if spec else {}


@dataclass(frozen=True)
class OverRevisions:
    """A metric's mean over the cases that two revisions ask alike, in the newest run of each."""

    label: str
    version: str
    before: float
    after: float
    cases: int
    share: bool


def over_revisions(
    first: SuiteRevision, second: SuiteRevision, same: SameCases, runs: Any
) -> list[OverRevisions]:
    """For each version that answered both revisions: the suite's comparable metrics."""
    rows: list[OverRevisions] = []
    if not same.case_ids:
        return rows
    newest: dict[Any, dict[Any, Run]] = {}
    done = runs.filter(suite_revision__in=[first, second], state=RunState.COMPLETE)
    for run in done.order_by("created_at")[:200]:
        newest.setdefault(run.model_version_id, {})[run.suite_revision_id] = run
    specs = {spec["key"]: spec for spec in metric_specs(second)}
    wanted = set(same.case_ids)
    for pair in list(newest.values())[:10]:
        if len(pair) < 2:
            continue
        old, new = (metric_values([pair[r.pk]]) for r in (first, second))
        for key in same.metric_keys:
            means = [_mean(values.get(key, {}), wanted) for values in (old, new)]
            if means[0] is None or means[1] is None:
                continue
            rows.append(
                OverRevisions(
                    label=specs[key].get("label") or key,
                    version=pair[second.pk].model_version.label,
                    before=means[0],
                    after=means[1],
                    cases=len(wanted & set(new[key])),
                    share=specs[key].get("bounds") == [0, 1],
                )
            )
    return rows


def _mean(values: dict[str, list[float]], wanted: set[str]) -> float | None:
    """The mean over the wanted cases of their means."""
    means = [sum(v) / len(v) for case, v in values.items() if case in wanted and v]
    return sum(means) / len(means) if means else None
