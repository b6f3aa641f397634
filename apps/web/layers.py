"""The cheap layers as the pages show them: probes with their evidence, and what endpoints say."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from apps.drift.identity import sentence_of
from apps.drift.models import (
    ChangeEvent,
    EvidenceSource,
    IdentityFinding,
    Probe,
    ProbePhase,
    ProbeRound,
)
from apps.drift.probing import alarm_line
from apps.registry.models import ModelVersion
from apps.web.evidence import e_value

ROUNDS = 2000


@dataclass(frozen=True)
class ProbeTower:
    """One probe and its rounds, for the chart."""

    probe: Probe
    looks: list[dict[str, Any]]
    weight: float | None = None

    @property
    def alarm(self) -> float:
        """The own e-value at which this probe alone carries the version's over its line."""
        return own_line(alarm_line(self.probe), self.weight)

    @property
    def greatest(self) -> float:
        return e_value(self.probe.max_log_e)

    @property
    def watching(self) -> bool:
        return self.probe.phase == ProbePhase.WATCHING

    @property
    def over(self) -> bool:
        return self.probe.alarmed_at is not None


def own_line(log_line: float, weight: float | None) -> float:
    """With the other sources at 1, where they start: E = weight * e + (1 - weight)."""
    line = e_value(log_line)
    return (line - 1.0 + weight) / weight if weight else line


def tower(probe: Probe, since: dt.datetime | None = None) -> ProbeTower:
    rows = ProbeRound.objects.filter(probe=probe, problem="")
    if since:
        rows = rows.filter(finished_at__gte=since)
    newest = rows.order_by("-number").values_list("finished_at", "log_e")[:ROUNDS]
    looks = [{"at": at, "e_value": e_value(log_e)} for at, log_e in reversed(newest)]
    source = EvidenceSource.objects.filter(key=str(probe.pk)).order_by("created_at").first()
    return ProbeTower(probe, looks, source.weight if source else None)


def towers(version: ModelVersion) -> list[ProbeTower]:
    """The probes in use, those with an alarm first."""
    rows = Probe.objects.filter(model_version=version, retired_at__isnull=True)
    return [tower(p) for p in rows.exclude(phase=ProbePhase.UNSUPPORTED).order_by("-max_log_e")]


@dataclass(frozen=True)
class ProbeCase:
    """Why a change event was opened by a cheap layer."""

    sentence: str
    round: ProbeRound
    tower: ProbeTower


def cases(event: ChangeEvent) -> list[ProbeCase]:
    rows = event.probe_evidence.select_related("round__probe").order_by("created_at")
    return [ProbeCase(e.sentence, e.round, tower(e.round.probe)) for e in rows]


@dataclass(frozen=True)
class Finding:
    row: IdentityFinding

    @property
    def sentence(self) -> str:
        return sentence_of(self.row)

    @property
    def state(self) -> str:
        return "telling" if self.row.telling else "routine"


def findings(
    version: ModelVersion, start: dt.datetime | None = None, end: dt.datetime | None = None
) -> list[Finding]:
    """What the endpoint said for the first time, newest first."""
    rows = IdentityFinding.objects.filter(model_version=version)
    if start:
        rows = rows.filter(seen_at__gte=start)
    if end:
        rows = rows.filter(seen_at__lte=end)
    rows = rows.select_related("probe").order_by("-seen_at", "-id")
    return [Finding(row) for row in rows[:100]]


def worth_telling(found: list[Finding]) -> list[Finding]:
    """Where every round brings something new, one of it says so."""
    return [f for f in found if f.row.telling] or found[:1]


def lanes(
    version: ModelVersion, start: dt.datetime, end: dt.datetime | None = None
) -> list[dict[str, Any]]:
    """Lanes of a timeline: each probe's e-value as a line, and what was new about the identity."""
    found: list[dict[str, Any]] = []
    rows = Probe.objects.filter(model_version=version, retired_at__isnull=True)
    for probe in rows.order_by("kind"):
        one = tower(probe, start)
        points = [(x["at"], x["e_value"]) for x in one.looks if end is None or x["at"] <= end]
        if points:
            label = f"probe, {probe.get_kind_display().lower()}"
            found.append({"label": label, "points": points, "alarm": one.alarm})
    news = worth_telling(findings(version, start, end))
    if news:
        found.append(
            {
                "label": "endpoint says",
                "names": False,
                "items": [
                    {
                        "kind": "finding",
                        "value": f.state,
                        "label": f.row.facet.replace("_", " "),
                        "at": f.row.seen_at,
                    }
                    for f in reversed(news)
                ],
            }
        )
    return found
