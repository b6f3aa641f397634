"""What the page of a version's probes shows: its first sentence, and a card for each probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from apps.drift.models import ChangeEvent, Probe, ProbeKind, ProbePhase, ProbeRound
from apps.drift.probes_selectors import (
    Coverage,
    Freshness,
    Spending,
    coverage,
    freshness,
    spending,
)
from apps.registry.models import ModelVersion
from apps.web.evidence import e_value
from apps.web.inventory import capital, count
from apps.web.layers import ProbeTower, tower
from apps.web.lists import short

LAST_ROUNDS = 10
EARLIER = 10
ABOUT = {
    ProbeKind.IDENTITY: "What the endpoint says about itself: names, fingerprints, limits, and how "
    "it counts the tokens of fixed texts.",
    ProbeKind.PASSIVE: "What production reports of its own calls: names, fingerprints, counts. No "
    "content, no tokens.",
    ProbeKind.LOGPROB: "Twenty fixed texts, one token each: how likely the model finds the next "
    "tokens.",
    ProbeKind.BORDER: "Twenty texts on which this model hesitates, one token each at temperature "
    "0: which way it decides.",
    ProbeKind.SAMPLING: "Short completions at the version's own temperature: whether tokens are "
    "drawn as they were.",
}
STARTABLE = (ProbeKind.LOGPROB, ProbeKind.BORDER, ProbeKind.SAMPLING, ProbeKind.IDENTITY)


@dataclass(frozen=True)
class Card:
    """One probe in use."""

    probe: Probe
    tower: ProbeTower
    coverage: Coverage | None
    freshness: Freshness | None
    spent: Spending
    last: list[ProbeRound]
    event: ChangeEvent | None

    @property
    def rounds(self) -> list[dict[str, Any]]:
        return [{"row": r, "e_value": e_value(r.log_e)} for r in self.last]

    @property
    def now_id(self) -> str:
        return f"now-{self.probe.kind}"

    @property
    def again_id(self) -> str:
        return f"again-{self.probe.kind}"

    @property
    def state(self) -> str:
        if self.tower.over:
            return "alarm"
        if not self.probe.enabled and self.probe.phase != ProbePhase.UNSUPPORTED:
            return "paused"
        return str(self.probe.phase)

    @property
    def about(self) -> str:
        return ABOUT[ProbeKind(self.probe.kind)]

    @property
    def latest(self) -> ProbeRound | None:
        return self.last[0] if self.last else None

    @property
    def asks(self) -> bool:
        """Has rounds of its own that a person may ask for."""
        return self.probe.kind != ProbeKind.PASSIVE and self.probe.phase != ProbePhase.UNSUPPORTED


def cards(probes: list[Probe]) -> list[Card]:
    return [
        Card(
            probe=probe,
            tower=tower(probe),
            coverage=coverage(probe),
            freshness=freshness(probe),
            spent=spending([probe]),
            last=list(probe.rounds_done.order_by("-number")[:LAST_ROUNDS]),
            event=ChangeEvent.objects.filter(probe_evidence__round__probe=probe)
            .order_by("-number")
            .first(),
        )
        for probe in probes
    ]


def earlier(version: ModelVersion) -> list[ProbeTower]:
    """Probes whose baseline was recorded again, or that a decision ended: still readable."""
    rows = Probe.objects.filter(model_version=version, retired_at__isnull=False)
    return [tower(p) for p in rows.order_by("-retired_at")[:EARLIER]]


def startable(version: ModelVersion, probes: list[Probe]) -> list[tuple[str, str]]:
    """Kinds that could be turned on beside those in use."""
    used = {p.kind for p in probes}
    temperature = version.parameters.get("temperature", 1.0)
    return [
        (k.value, k.label)
        for k in STARTABLE
        if k not in used and not (k == ProbeKind.SAMPLING and temperature == 0)
    ]


def sentence(version: ModelVersion, probes: list[Probe]) -> str:
    """Is a probe watch on, and is it quiet?"""
    name = short(version.label)
    if not probes:
        return f"{name} is not probed: only reruns of suites would notice a change."
    if alarmed := [_kind(p) for p in probes if p.alarmed_at is not None]:
        if len(alarmed) == 1:
            return f"The probe for {alarmed[0]} says that {name} changed."
        return (
            f"The probes for {', '.join(alarmed[:-1])} and {alarmed[-1]} say that {name} changed."
        )
    if not settings.GOVTRACK["PROBES"]:
        return f"{name} is not probed now: probes are switched off on this installation."
    on = [p for p in probes if p.enabled and p.phase != ProbePhase.UNSUPPORTED]
    if not on:
        return f"{name} is not probed now: no probe is both possible and turned on."
    watching = [p for p in on if p.phase == ProbePhase.WATCHING]
    waiting = len(on) - len(watching)
    if not watching:
        verb = "is" if waiting == 1 else "are"
        return (
            f"{capital(count(waiting, 'probe'))} of {name} {verb} still recording a baseline; "
            "nothing is claimed until then."
        )
    if len(watching) == 1:
        said = f"One probe watches {name}, and has not raised the alarm"
    else:
        said = f"{capital(count(len(watching), 'probe'))} watch {name}; none has raised the alarm"
    return f"{said}; {_more(waiting)} still recording a baseline." if waiting else f"{said}."


def _more(waiting: int) -> str:
    return "one more is" if waiting == 1 else f"{count(waiting, 'more', 'more')} are"


def _kind(probe: Probe) -> str:
    return {
        ProbeKind.IDENTITY.value: "identity",
        ProbeKind.PASSIVE.value: "observed traffic",
        ProbeKind.LOGPROB.value: "log-probabilities",
        ProbeKind.BORDER.value: "border inputs",
        ProbeKind.SAMPLING.value: "sampling",
    }[probe.kind]


def rhythm(probe: Probe) -> str:
    """ "every day", "every 6 hours"."""
    watching = probe.phase == ProbePhase.WATCHING
    seconds = probe.interval_seconds if watching else probe.collect_seconds
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            many = round(seconds / size, 1)
            return f"every {unit}" if many == 1 else f"every {many:g} {unit}s"
    return ""


def context(version: ModelVersion, probes: list[Probe]) -> dict[str, Any]:
    return {
        "cards": [{"card": c, "rhythm": rhythm(c.probe)} for c in cards(probes)],
        "earlier": earlier(version),
        "startable": startable(version, probes),
        "spent": spending(probes),
        "budget": settings.GOVTRACK["PROBE_TOKENS_A_DAY"],
        "installed": settings.GOVTRACK["PROBES"],
    }
