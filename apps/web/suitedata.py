"""What the suite pages say: cases, how often they pass, what a revision changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Avg, Max, Min

from apps.evaluations.models import Run, RunState, Score, SuiteCase, SuiteRevision
from apps.evaluations.scoring import FIRST_REVISION
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


@dataclass(frozen=True)
class RevisionDiff:
    """What a revision changed against the one before, by case id and content."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    keys: list[str]

    def sentence(self) -> str:
        parts = [
            f"{len(ids)} case{'' if len(ids) == 1 else 's'} {verb}"
            for verb, ids in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
            )
            if ids
        ]
        if self.keys:
            parts.append(f"{', '.join(self.keys)} changed")
        return "; ".join(parts) or "Nothing but the order of cases changed"


def revision_diff(old: SuiteRevision, new: SuiteRevision) -> RevisionDiff:
    def hashes(revision: SuiteRevision) -> dict[str, str]:
        return dict(
            SuiteCase.objects.filter(revision=revision)
            .order_by("position")
            .values_list("case_id", "content_hash")
        )

    before, after = hashes(old), hashes(new)
    return RevisionDiff(
        added=[key for key in after if key not in before],
        removed=[key for key in before if key not in after],
        changed=[key for key in after if key in before and before[key] != after[key]],
        keys=sorted(
            key
            for key in {*old.document, *new.document}
            if old.document.get(key) != new.document.get(key)
        ),
    )
