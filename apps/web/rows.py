"""Model versions with what a list says of each: gate, verdicts, next run. A few queries in all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Min

from apps.core import clock
from apps.drift.models import Comparison
from apps.evaluations.models import Schedule
from apps.registry import gate
from apps.registry.models import ModelVersion
from apps.web.inventory import worst

WINDOW = dt.timedelta(days=90)


@dataclass
class VersionRow:
    version: ModelVersion
    gates: list[gate.GateAnswer]
    verdicts: list[str] = field(default_factory=list)
    last: str = "none"
    last_at: dt.datetime | None = None
    next_due_at: dt.datetime | None = None

    @property
    def gate(self) -> str:
        return worst(self.gates)

    @property
    def tier(self) -> int:
        """The highest risk that it is used at; 9 where it has no use."""
        return min((g.use_case.risk_tier for g in self.gates), default=9)


def version_rows(versions: Iterable[ModelVersion]) -> list[VersionRow]:
    """Rows with gate, newest verdict and next run; `add_verdicts` adds the history of a page."""
    listed = list(versions)
    ids = [v.pk for v in listed]
    answers = gate.check_many(listed)
    last = {
        version: (verdict, at)
        for version, verdict, at in Comparison.objects.filter(baseline__model_version__in=ids)
        .order_by("baseline__model_version_id", "-created_at")
        .distinct("baseline__model_version_id")
        .values_list("baseline__model_version_id", "verdict", "created_at")
    }
    due: dict[UUID, dt.datetime] = dict(
        Schedule.objects.filter(model_version__in=ids, enabled=True)
        .values("model_version_id")
        .annotate(due=Min("next_due_at"))
        .values_list("model_version_id", "due")
    )
    rows = []
    for version in listed:
        verdict, at = last.get(version.pk, ("none", None))
        rows.append(
            VersionRow(
                version,
                answers[version.pk],
                last=verdict,
                last_at=at,
                next_due_at=due.get(version.pk),
            )
        )
    return rows


def add_verdicts(rows: list[VersionRow]) -> list[VersionRow]:
    by_id = {row.version.pk: row for row in rows}
    seen = Comparison.objects.filter(
        baseline__model_version__in=by_id, created_at__gte=clock.now() - WINDOW
    ).order_by("created_at")
    for version, verdict in seen.values_list("baseline__model_version_id", "verdict"):
        by_id[version].verdicts.append(verdict)
    return rows
