"""What a version's watch can see, and what it cannot, as a user is told.

The figures are those of docs/probes.md (`make bench-probes`): one small real model under four
loads. They say what to expect, not what is promised; the error rate is promised, power is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from apps.drift.models import Probe, ProbeKind, ProbePhase
from apps.drift.planning import Support, power_of_approval
from apps.drift.probes_selectors import current_probes
from apps.drift.probing import IN_FORCE
from apps.drift.selectors import current_baselines
from apps.evaluations.models import Schedule
from apps.registry.models import Approval, ModelVersion

YEAR = 300  # rounds of a watch that count as a long history


class Sight(StrEnum):
    UNSEEN = "unseen"
    LATE = "late"
    SEEN = "seen"


@dataclass(frozen=True)
class Spot:
    """change: what somebody may do to the model. said: what this watch makes of it, or why it does
    not; remedy: what would help, where something would."""

    change: str
    sight: Sight
    said: str
    remedy: str = ""


@dataclass(frozen=True)
class Watching:
    """Which layers look at this version now."""

    logprob: bool
    border: bool
    border_rounds: int
    sampling: bool
    sampling_there: bool
    suites: int
    waiting: tuple[str, ...]
    no_logprobs: bool
    temperature: float
    may_probe: bool

    @property
    def numerics(self) -> bool:
        return self.logprob or self.border


# Change; log-probabilities; border inputs in the first weeks (with what); after a year.
_FIRST = "in its first round"
NUMERICS: tuple[tuple[str, str, Sight, str, Sight, str], ...] = (
    ("A hidden system prompt", _FIRST, Sight.SEEN, _FIRST, Sight.SEEN, _FIRST),
    ("Weights at four bits (q4_0)", _FIRST, Sight.SEEN, _FIRST, Sight.SEEN, _FIRST),
    (
        "A key-value cache at four bits (q4_0)",
        _FIRST,
        Sight.LATE,
        "in 21 of 30 tries, after a median of three rounds",
        Sight.SEEN,
        "in two rounds",
    ),
    (
        "A key-value cache at eight bits (q8_0)",
        "in one or two rounds",
        Sight.UNSEEN,
        "in 2 of 30 tries within 30 rounds",
        Sight.LATE,
        "after a median of twelve rounds",
    ),
    (
        "One edited layer, or weights packed anew",
        "in one or two rounds, and takes the one for the other",
        Sight.UNSEEN,
        "in 1 of 30 tries within 30 rounds",
        Sight.UNSEEN,
        "in fewer than half of the tries within 30 rounds",
    ),
    (
        "Weights moved by up to 1.6 % (2⁻¹⁰ to 2⁻⁶)",
        "in one to three rounds",
        Sight.UNSEEN,
        "in 4 to 10 of 30 tries within 30 rounds",
        Sight.LATE,
        "in most tries, after three to six rounds",
    ),
)


def watching(version: ModelVersion, probes: Iterable[Probe] | None = None) -> Watching:
    rows = {p.kind: p for p in (current_probes(version) if probes is None else probes)}

    def on(kind: str) -> bool:
        probe = rows.get(kind)
        return bool(probe and probe.enabled and probe.phase == ProbePhase.WATCHING)

    border = rows.get(ProbeKind.BORDER)
    temperature = version.parameters.get("temperature", 1.0)
    planned = Schedule.objects.filter(model_version=version, enabled=True)
    baselines = current_baselines(version).filter(
        suite_revision__in=planned.values("suite_revision")
    )
    logprob = rows.get(ProbeKind.LOGPROB)
    return Watching(
        logprob=on(ProbeKind.LOGPROB),
        border=on(ProbeKind.BORDER),
        border_rounds=border.rounds if border else 0,
        sampling=on(ProbeKind.SAMPLING),
        sampling_there=ProbeKind.SAMPLING in rows,
        suites=baselines.count(),
        waiting=tuple(
            p.get_kind_display()
            for p in rows.values()
            if p.phase == ProbePhase.COLLECTING
            and p.kind in (ProbeKind.LOGPROB, ProbeKind.BORDER, ProbeKind.SAMPLING)
        ),
        no_logprobs=bool(logprob and logprob.phase == ProbePhase.UNSUPPORTED),
        temperature=float(temperature) if isinstance(temperature, int | float) else 1.0,
        may_probe=bool(rows),
    )


def spots(version: ModelVersion, probes: Iterable[Probe] | None = None) -> list[Spot]:
    """Every kind of change, what is unseen first."""
    now = watching(version, probes)
    found = [*_numerics(now), _sampling(now), *_suites(version, now), *_always(now)]
    order = list(Sight)
    return sorted(found, key=lambda spot: order.index(spot.sight))


def _numerics(now: Watching) -> Iterable[Spot]:
    if not now.numerics:
        yield Spot(
            "A hidden system prompt, weights or caches of fewer bits, an edited layer",
            Sight.UNSEEN,
            "No probe looks at the numbers: seen only once a suite's answers change."
            if now.suites
            else "No probe looks at the numbers, and no suite is rerun.",
            _until_probes(now),
        )
        return
    for change, fast, early, early_said, later, later_said in NUMERICS:
        if now.logprob:
            yield Spot(change, Sight.SEEN, f"Log-probabilities saw it {fast}.")
        elif now.border_rounds >= YEAR:
            yield Spot(change, later, f"Border inputs with a year's history saw it {later_said}.")
        else:
            yield Spot(
                change,
                early,
                f"Border inputs saw it {early_said}.",
                ""
                if early == Sight.SEEN
                else "An endpoint that gives log-probabilities, or time: a history of a year finds "
                "most of these within twelve rounds.",
            )


def _until_probes(now: Watching) -> str:
    if now.waiting:
        return f"Wait for the baseline of: {', '.join(now.waiting).lower()}."
    return "Resume the probes." if now.may_probe else "Turn the probes on."


def _sampling(now: Watching) -> Spot:
    change = "Another temperature, top-p or penalty"
    if now.sampling:
        return Spot(
            change,
            Sight.LATE,
            "The sampling watch saw temperature 0.8 in place of 0.7 after 70 completions, a "
            "penalty after 75: weeks at the budget of a day. In 300 it saw no top-p 0.9, no bias "
            "against one token; suites may see these first.",
            "A larger GOVTRACK_PROBE_TOKENS_A_DAY shortens it in proportion.",
        )
    if now.temperature == 0.0:
        why, remedy = "This version asks at temperature 0: nothing is drawn that could tell.", ""
    elif now.no_logprobs:
        why = "The endpoint gives no log-probabilities, so drawn tokens cannot be judged."
        remedy = "A suite with several answers a case: their spread is watched."
    else:
        why = "No sampling watch looks."
        remedy = _until_probes(now) if now.sampling_there else "Turn the sampling probe on."
    return Spot(change, Sight.UNSEEN, why, remedy)


def _suites(version: ModelVersion, now: Watching) -> Iterable[Spot]:
    if not now.suites:
        yield Spot(
            "What a change means for your use",
            Sight.UNSEEN,
            "No suite is rerun against a baseline, so an alarm says that something moved, not what."
            if now.numerics
            else "No suite is rerun against a baseline.",
            "Record a baseline and plan reruns.",
        )
    approvals = Approval.objects.filter(model_version=version, state__in=IN_FORCE)
    for approval in approvals.select_related("use_case").order_by("number"):
        for power in power_of_approval(approval):
            named = f"{approval} {power.assumption.code}: {power.assumption.sentence}"
            if power.support == Support.YES:
                yield Spot(f"A break of {named}", Sight.SEEN, power.sentence)
            elif power.support == Support.NO:
                yield Spot(
                    f"A break of {named}",
                    Sight.LATE if power.reruns else Sight.UNSEEN,
                    power.sentence,
                    "More cases, or more answers a case.",
                )
            else:
                yield Spot(f"A break of {named}", Sight.UNSEEN, power.sentence)


def _always(now: Watching) -> Iterable[Spot]:
    yield Spot(
        "A retraining so small that neither 20 fixed texts nor a suite moves",
        Sight.UNSEEN,
        "No budget of this size sees it.",
        "Cases in your suites that are close to your real inputs.",
    )
    yield Spot(
        "Something that only long inputs, tools or images meet",
        Sight.UNSEEN,
        "Probes ask short texts alone: only a suite with such cases can see it.",
        "Put such cases into a suite.",
    )
    yield Spot(
        "A change that is taken back between two rounds, or reaches only few requests",
        Sight.UNSEEN,
        "Nothing asks then. How small a share of changed requests is seen was not measured.",
        "Let production report what it sees: name and fingerprint of every call, for no tokens.",
    )


def may_alarm_falsely(probes: Iterable[Probe]) -> list[str]:
    """What may raise an alarm although nobody changed the model."""
    said = []
    for probe in probes:
        if probe.kind in (ProbeKind.LOGPROB, ProbeKind.BORDER):
            said.append(
                f"{probe.get_kind_display()}: a load far beyond anything that the baseline saw. "
                "Compare the latency of the round with that of the baseline."
            )
            if probe.days_wanted < 7:
                said.append(
                    f"{probe.get_kind_display()}: its baseline was collected over "
                    f"{_days(probe.days_wanted)} where a week is recommended."
                )
    return said


def _days(days: Any) -> str:
    if days < 1:
        return "less than a day"
    return "one day" if days == 1 else f"{days:g} days"
