"""Reads of the cheap layers: what a probe's baseline covers, what it costs, how fresh it is."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncDate

from apps.accounts.permissions import visible
from apps.core import clock
from apps.drift.models import (
    Baseline,
    ChangeEvent,
    Comparison,
    ControlArm,
    ControlFinding,
    Probe,
    ProbeKind,
    ProbePhase,
    ProbeRound,
)
from apps.drift.probing import BUDGET_SHARES, DAY
from apps.drift.stats.probes import coverage_gaps
from apps.evaluations.models import Schedule
from apps.registry.models import ModelVersion

LOADS = (1, 2, 4)
QUARTERS = ("00–06", "06–12", "12–18", "18–24")
BASELINE_PHASES = ("reference", "calibration")
LAST_ROUNDS = 20  # by which the freshness of border inputs is judged
DAYS = 7


def probes(user: Any) -> QuerySet[Probe]:
    return visible(
        user,
        Probe.objects.select_related("model_version__endpoint"),
        team_path="model_version__team",
    )


def current_probes(version: ModelVersion) -> list[Probe]:
    """In the order of the layers: what is cheapest first."""
    order = list(ProbeKind.values)
    rows = Probe.objects.filter(model_version=version, retired_at__isnull=True)
    return sorted(rows.select_related("model_version"), key=lambda p: order.index(p.kind))


@dataclass(frozen=True)
class Coverage:
    """What a probe's baseline was recorded under. gaps: why it is not trusted yet."""

    rounds: int
    rounds_wanted: int
    days: float
    days_wanted: float
    quarters: dict[str, int]
    loads: dict[int, int]
    latency: tuple[float, float, float] | None
    gaps: list[str]

    @property
    def seconds(self) -> float:
        return self.days * DAY

    @property
    def warning(self) -> str:
        """What the baseline did not see, once it is in use; "" where it saw enough."""
        missing = [f"{name} h" for name, n in self.quarters.items() if not n]
        said = f"nothing was asked between {', '.join(missing)} UTC" if missing else ""
        if sum(bool(n) for n in self.loads.values()) < 2:
            said += " and " if said else ""
            said += "only one number of requests at once was tried"
        return f"{said[:1].upper()}{said[1:]}: it may raise the alarm there." if said else ""


def coverage(probe: Probe) -> Coverage | None:
    """None for probes without a baseline of their own making (identity, traffic)."""
    if probe.kind in (ProbeKind.IDENTITY, ProbeKind.PASSIVE):
        return None
    rows = list(
        probe.rounds_done.filter(phase__in=BASELINE_PHASES)
        .order_by("number")
        .values_list("started_at", "at_once", "latency_ms")
    )
    hours = [at.timestamp() / 3600 for at, _, _ in rows]
    quarters = Counter(int(h % 24 // 6) for h in hours)
    loads = Counter(at_once for _, at_once, _ in rows)
    latencies = sorted(ms for _, _, ms in rows if ms is not None)
    watching = probe.phase == ProbePhase.WATCHING
    return Coverage(
        rounds=len(rows),
        rounds_wanted=max(probe.rounds_wanted, len(rows)) if watching else probe.rounds_wanted,
        days=(max(hours) - min(hours)) / 24.0 if hours else 0.0,
        days_wanted=probe.days_wanted,
        quarters={name: quarters.get(i, 0) for i, name in enumerate(QUARTERS)},
        loads={n: loads.get(n, 0) for n in LOADS},
        latency=(latencies[0], latencies[len(latencies) // 2], latencies[-1])
        if latencies
        else None,
        gaps=[]
        if watching
        else coverage_gaps(hours, rounds_wanted=probe.rounds_wanted, days_wanted=probe.days_wanted),
    )


@dataclass(frozen=True)
class Spending:
    """Tokens of some probes: today so far, a day of late, in all. `budget`: what a day may cost
    while they watch."""

    today: int
    a_day: float
    total: int
    budget: float


def spending(rows: Sequence[Probe]) -> Spending:
    """Over the last seven days, or as many as there were since the first of these probes."""
    now = clock.now()
    since = now - dt.timedelta(days=DAYS)
    by_day = {
        row["day"]: int(row["spent"])
        for row in ProbeRound.objects.filter(probe__in=rows, finished_at__gte=since)
        .annotate(day=TruncDate("finished_at", tzinfo=dt.UTC))
        .values("day")
        .annotate(spent=Sum("tokens"))
    }
    first = min((p.created_at for p in rows), default=now)
    days = min(float(DAYS), max(1.0, (now - first).total_seconds() / DAY))
    share = sum(BUDGET_SHARES.get(ProbeKind(p.kind), 0.0) for p in rows if p.enabled)
    return Spending(
        today=by_day.get(now.astimezone(dt.UTC).date(), 0),
        a_day=sum(by_day.values()) / days,
        total=sum(p.tokens for p in rows),
        budget=share * float(settings.GOVTRACK["PROBE_TOKENS_A_DAY"]),
    )


@dataclass(frozen=True)
class Freshness:
    """Border inputs serve while the model still hesitates on them."""

    inputs: int
    undecided: int
    rounds: int
    since: dt.datetime | None


def freshness(probe: Probe) -> Freshness | None:
    """On how many border inputs more than one answer was given in the last rounds. None for other
    kinds, and before the screening has chosen any."""
    prompts = list(probe.state.get("prompts", []))
    if probe.kind != ProbeKind.BORDER or not prompts:
        return None
    last = list(
        probe.rounds_done.exclude(phase__in=("screening", "failed"))
        .order_by("-number")
        .values_list("answers", "started_at")[:LAST_ROUNDS]
    )
    undecided = sum(
        len({json.dumps(answers.get(text)) for answers, _ in last if text in answers}) > 1
        for text in prompts
    )
    chosen = probe.rounds_done.filter(phase="screening").order_by("-number").first()
    return Freshness(len(prompts), undecided, len(last), chosen.finished_at if chosen else None)


@dataclass(frozen=True)
class ArmView:
    """A control beside the version under watch. missing: suites on which it could not speak."""

    arm: ControlArm
    control: ModelVersion
    shared: list[str]
    missing: list[str]
    last: Comparison | None
    findings: list[ControlFinding]

    @property
    def dialog(self) -> str:
        return f"remove-{self.arm.pk}"

    @property
    def verdict(self) -> str:
        """us, vendor, waiting (a change is open, and it has not answered), quiet, useless."""
        if self.findings:
            return "us" if self.findings[0].together else "vendor"
        if not self.shared:
            return "useless"
        open_now = ChangeEvent.objects.filter(
            model_version=self.arm.model_version_id, state=ChangeEvent.State.OPEN
        )
        return "waiting" if open_now.exists() else "quiet"


def arms_of(version: ModelVersion) -> list[ArmView]:
    arms = version.controls.select_related(  # type: ignore[attr-defined]
        "control_version__model__provider", "model_version", "created_by"
    ).order_by("created_at")
    mine = _watched_suites(version)
    made = []
    for arm in arms:
        theirs = _watched_suites(arm.control_version)
        made.append(
            ArmView(
                arm=arm,
                control=arm.control_version,
                shared=sorted(mine[r] for r in mine.keys() & theirs.keys()),
                missing=sorted(mine[r] for r in mine.keys() - theirs.keys()),
                last=Comparison.objects.filter(baseline__model_version=arm.control_version)
                .select_related("run", "baseline__suite_revision__suite")
                .order_by("-created_at")
                .first(),
                findings=list(
                    ControlFinding.objects.filter(
                        change_event__model_version=version, control_version=arm.control_version
                    )
                    .select_related("change_event", "comparison")
                    .order_by("-created_at")[:5]
                ),
            )
        )
    return made


def _watched_suites(version: ModelVersion) -> dict[Any, str]:
    """Suite revisions that are rerun (on an alarm at least) against a baseline in use."""
    planned = Schedule.objects.filter(model_version=version, enabled=True)
    return {
        row.suite_revision_id: row.suite_revision.suite.name
        for row in Baseline.objects.filter(
            model_version=version,
            retired_at__isnull=True,
            suite_revision__in=planned.values("suite_revision"),
        ).select_related("suite_revision__suite")
    }
