"""Many versions at once: which of them changed, with at most 5 % of those named wrong.

Each version's own alarm holds alpha over its life; over 500 versions that is five false alarms in
as many lives. e-BH (Wang and Ramdas 2022) asks more of each where many are watched, and less where
many changed, whatever the dependence between them. The e-value of a life is that of its *stopped*
process: the value at its alarm once there was one, else the value now. Both are e-values; the
largest value ever reached is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from apps.drift.models import Evidence, EvidenceLook, Watch
from apps.drift.stats import e_bh
from apps.registry.models import ModelVersion

FALSE_DISCOVERY_RATE = 0.05
FIRST = "first.rerun"


@dataclass(frozen=True)
class Fleet:
    """versions, metrics: those flagged, strongest evidence first; *_tested: out of how many."""

    rate: float
    versions_tested: int
    versions: list[tuple[ModelVersion, float]]
    metrics_tested: int
    metrics: list[Watch]

    @property
    def sentence(self) -> str:
        share = f"at most {100 * self.rate:.0f} % of those named wrong in the long run"
        if not self.versions:
            return f"None of {self.versions_tested:,} watched versions is flagged ({share})."
        names = ", ".join(v.label for v, _ in self.versions[:5])
        more = len(self.versions) - 5
        names += f" and {more:,} more" if more > 0 else ""
        return (
            f"{len(self.versions):,} of {self.versions_tested:,} watched versions "
            f"{'is' if len(self.versions) == 1 else 'are'} flagged: {names} ({share})."
        )


def flagged(versions: Iterable[Any], *, rate: float = FALSE_DISCOVERY_RATE) -> Fleet:
    """Versions, and metrics of suites of versions, flagged by e-BH at this false discovery rate.

    versions: a queryset, or ids. Only lives that go on and have looked count as tested. Two
    families: the versions, and all watches (metric x suite x version); the rate holds for each.
    """
    lives = list(
        Evidence.objects.filter(model_version__in=versions, ended_at__isnull=True, looks__gt=0)
        .select_related("model_version")
        .order_by("id")
    )
    at_alarm: dict[Any, float] = {}
    for look in EvidenceLook.objects.filter(
        evidence__in=[life.pk for life in lives if life.alarmed_at], at=F("evidence__alarmed_at")
    ).order_by("-number"):
        at_alarm[look.evidence_id] = look.log_e
    values = [at_alarm.get(life.pk, life.log_e) for life in lives]
    found = sorted(e_bh(values, rate), key=lambda i: -values[i])
    watches = list(
        Watch.objects.filter(
            baseline__model_version__in=versions, baseline__retired_at__isnull=True, looks__gt=0
        )
        .exclude(metric_key=FIRST)
        .select_related("baseline__model_version", "baseline__suite_revision__suite")
        .defer("state")
        .order_by("id")
    )
    metrics = [watches[i] for i in e_bh([w.log_e for w in watches], rate)]
    return Fleet(
        rate=rate,
        versions_tested=len(lives),
        versions=[(lives[i].model_version, values[i]) for i in found],
        metrics_tested=len(watches),
        metrics=sorted(metrics, key=lambda w: -w.log_e),
    )
