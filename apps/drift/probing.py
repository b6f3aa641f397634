"""Verbs of the probes: begin, pause, begin again; and the exactly-once round.

The database is the truth: a due probe is claimed with SKIP LOCKED under a lease with a fence, its
calls are made outside of any transaction, and the round is stored once for (probe, due time), with
the e-process moved in the same transaction. A worker that dies costs its calls, never a round.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, System, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.core.models import Outbox
from apps.drift import evidence
from apps.drift.models import Evidence, Probe, ProbeKind, ProbePhase, ProbeRound
from apps.drift.probes_prompts import PROMPTS_REVISION
from apps.drift.stats.ranks import recorded_uniform
from apps.evaluations.runner.client import client_version
from apps.registry.models import Approval, ApprovalState, ModelVersion

HOUR, DAY = 3600, 86_400
LEASE = dt.timedelta(minutes=6)
# kind: (seconds between rounds while watching, while collecting, rounds of the baseline)
PLANS = {
    ProbeKind.IDENTITY: (HOUR, HOUR, 5),
    ProbeKind.PASSIVE: (60, 60, 5),
    ProbeKind.LOGPROB: (DAY, 6 * HOUR, 26),
    # Flips are rare and coarse: more rounds, which are cheaper each.
    ProbeKind.BORDER: (DAY, 9000, 64),
    ProbeKind.SAMPLING: (DAY, 4 * HOUR, 40),
}
DAYS_WANTED = {ProbeKind.LOGPROB: 7.0, ProbeKind.BORDER: 7.0, ProbeKind.SAMPLING: 7.0}
# How the daily budget of tokens is parted while watching.
BUDGET_SHARES = {ProbeKind.LOGPROB: 0.7, ProbeKind.BORDER: 0.7, ProbeKind.SAMPLING: 0.3}
IN_FORCE = (ApprovalState.APPROVED, ApprovalState.CONDITIONAL, ApprovalState.ON_HOLD)


@dataclass(frozen=True)
class Claim:
    """A leased round: which probe, for which due time, under which fence."""

    probe: Probe
    due_at: dt.datetime
    owner: str
    fence: int


def alarm_line(probe: Probe) -> float:
    """Natural logarithm of the *version's* combined e-value at which there is an alarm; the probe
    is one of its sources (`evidence`), with a weight below 1."""
    return -math.log(probe.alpha)


def source_kind(probe: Probe) -> evidence.Kind:
    if probe.kind in (ProbeKind.IDENTITY, ProbeKind.PASSIVE):
        return evidence.Kind.IDENTITY
    return evidence.Kind.PROBE


def default_kinds(version: ModelVersion) -> list[str]:
    """Log-probabilities are tried first and give way to border inputs where there are none."""
    kinds = [ProbeKind.IDENTITY, ProbeKind.LOGPROB]
    temperature = version.parameters.get("temperature", 1.0)
    if isinstance(temperature, int | float) and temperature > 0:
        kinds.append(ProbeKind.SAMPLING)
    return [str(k) for k in kinds]


@transaction.atomic
def start_probes(
    *,
    actor: Any,
    model_version: ModelVersion,
    kinds: Sequence[str] = (),
    interval_seconds: int | None = None,
    collect_seconds: int | None = None,
    days_wanted: float | None = None,
) -> list[Probe]:
    """Begin probes of a version (default: identity, log-probabilities and, where it samples,
    sampling). A kind that runs already is left as it is.

    Raises NotAllowed, InvalidInput.
    """
    if not isinstance(actor, System):
        require(actor, "schedule.edit", model_version)
    chosen = list(kinds) or default_kinds(model_version)
    if unknown := [k for k in chosen if k not in ProbeKind.values or k == ProbeKind.PASSIVE]:
        raise InvalidInput(
            f"“{unknown[0]}” is no probe that can be started.",
            field="kinds",
            remedy="Choose from identity, logprob, border, sampling. Observed traffic begins by "
            "itself with the first observation.",
        )
    ModelVersion.objects.select_for_update(of=("self",), no_key=True).get(pk=model_version.pk)
    made = []
    for kind in dict.fromkeys(chosen):
        current = Probe.objects.filter(
            model_version=model_version, kind=kind, retired_at__isnull=True
        ).first()
        if current is not None:
            made.append(current)
            continue
        made.append(
            begin(
                actor,
                model_version,
                ProbeKind(kind),
                interval_seconds=interval_seconds,
                collect_seconds=collect_seconds,
                days_wanted=days_wanted,
            )
        )
    return made


def begin(
    actor: Actor,
    version: ModelVersion,
    kind: ProbeKind,
    *,
    interval_seconds: int | None = None,
    collect_seconds: int | None = None,
    days_wanted: float | None = None,
) -> Probe:
    """In the caller's transaction, which holds the version's lock."""
    interval, collect, rounds = PLANS[kind]
    now = clock.now()
    probe = Probe.objects.create(
        model_version=version,
        created_at=now,
        kind=kind,
        interval_seconds=interval_seconds or interval,
        collect_seconds=collect_seconds or min(collect, interval_seconds or collect),
        days_wanted=DAYS_WANTED.get(kind, 0.0) if days_wanted is None else days_wanted,
        rounds_wanted=rounds,
        next_due_at=None if kind == ProbeKind.PASSIVE else now,
        alpha=float(settings.GOVTRACK["ALPHA"]),
        created_by=None if isinstance(actor, System) else actor,  # type: ignore[misc]
    )
    # Now, so that its weight is dealt before anything bets.
    evidence.attach(model_version=version, kind=source_kind(probe), key=str(probe.pk))
    record(
        "drift.probe_started",
        actor=actor,
        obj=probe,
        summary=f"{actor.name} began the probe “{probe.get_kind_display()}” of {version}.",
        changes={"kind": kind, "interval_seconds": probe.interval_seconds, "alpha": probe.alpha},
    )
    return probe


@transaction.atomic
def set_enabled(
    *, actor: Any, probe: Probe, enabled: bool, row_version: int | None = None
) -> Probe:
    """Pause a probe, or let it go on. Raises NotAllowed, Conflict (it was retired)."""
    require(actor, "schedule.edit", probe.model_version)
    locked = Probe.objects.select_for_update(of=("self",)).get(pk=probe.pk)
    if locked.retired_at is not None:
        raise Conflict(
            "This probe has ended: a later baseline took its place.",
            remedy="Use the version's current probe.",
        )
    if row_version is not None:
        locked.row_version = row_version
    if locked.enabled == enabled:
        return locked
    locked.enabled = enabled
    if enabled and locked.next_due_at is not None:
        locked.next_due_at = max(locked.next_due_at, clock.now())
    locked.save_versioned("enabled", "next_due_at")
    word = "resumed" if enabled else "paused"
    record(
        f"drift.probe_{word}",
        actor=actor,
        obj=locked,
        summary=f"{actor.name} {word} the probe “{locked.get_kind_display()}” of "
        f"{locked.model_version}.",
    )
    return locked


@transaction.atomic
def restart_probes(
    *, actor: Actor, model_version: ModelVersion, kinds: Iterable[str] = ()
) -> list[Probe]:
    """After a decision to re-approve: the old watches end (and stay readable), new ones collect
    their baseline from the behaviour that was approved."""
    if not isinstance(actor, System):
        require(actor, "schedule.edit", model_version)
    now = clock.now()
    old = list(
        Probe.objects.select_for_update(of=("self",)).filter(
            model_version=model_version, retired_at__isnull=True
        )
    )
    wanted = set(kinds) or {p.kind for p in old}
    made = []
    for probe in old:
        if probe.kind not in wanted:
            continue
        probe.retired_at, probe.next_due_at = now, None
        probe.save_versioned("retired_at", "next_due_at")
        fresh = begin(
            actor,
            model_version,
            ProbeKind(probe.kind),
            interval_seconds=probe.interval_seconds,
            collect_seconds=probe.collect_seconds,
            days_wanted=probe.days_wanted,
        )
        if not probe.enabled:
            fresh.enabled = False
            fresh.save_versioned("enabled")
        made.append(fresh)
    return made


def ensure_probes(*, limit: int = 50) -> int:
    """Versions with an approval in force are probed by default. Returns how many began."""
    if not settings.GOVTRACK["PROBES"]:
        return 0
    versions = ModelVersion.objects.filter(
        pk__in=Approval.objects.filter(state__in=IN_FORCE).values("model_version"),
        endpoint__active=True,
    ).exclude(pk__in=Probe.objects.exclude(kind=ProbeKind.PASSIVE).values("model_version"))
    begun = 0
    for version in versions.select_related("endpoint")[:limit]:
        start_probes(actor=SYSTEM, model_version=version)
        begun += 1
    return begun


# The round


def claim(*, owner: str, limit: int = 1) -> list[Claim]:
    """Lease due probes, most overdue first. Leases of dead workers lapse."""
    now = clock.now()
    with transaction.atomic():
        due = list(
            Probe.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(
                Q(lease_until__isnull=True) | Q(lease_until__lte=now),
                enabled=True,
                retired_at__isnull=True,
                next_due_at__lte=now,
                model_version__endpoint__active=True,
            )
            .exclude(phase=ProbePhase.UNSUPPORTED)
            .select_related("model_version__endpoint")
            .order_by("next_due_at", "id")[:limit]
        )
        claims = []
        for probe in due:
            probe.lease_owner, probe.lease_until = owner, now + LEASE
            probe.fence += 1
            Probe.objects.filter(pk=probe.pk).update(
                lease_owner=owner, lease_until=probe.lease_until, fence=F("fence") + 1
            )
            assert probe.next_due_at is not None
            claims.append(Claim(probe, probe.next_due_at, owner, probe.fence))
    return claims


def lock(claimed: Claim) -> Probe | None:
    """The probe's locked row while the lease is still ours; None where somebody else's."""
    return (
        Probe.objects.select_for_update(of=("self",))
        .select_related("model_version__endpoint")
        .filter(
            pk=claimed.probe.pk,
            fence=claimed.fence,
            lease_owner=claimed.owner,
            next_due_at=claimed.due_at,
            retired_at__isnull=True,
        )
        .first()
    )


def store_round(
    probe: Probe,
    *,
    due_at: dt.datetime,
    phase: str,
    asked: int,
    answered: int,
    tokens: int,
    latency_ms: float | None,
    answers: Any,
    ranks: Any,
    started_at: dt.datetime,
    at_once: int = 1,
    problem: str = "",
) -> ProbeRound:
    """Write the round and the probe's new state, and tell of an alarm. In the caller's
    transaction, on a locked probe whose state, log_e and phase are set already."""
    now = clock.now()
    probe.rounds += 1
    probe.tokens += tokens
    row = ProbeRound.objects.create(
        probe=probe,
        number=probe.rounds,
        due_at=due_at,
        phase=phase,
        asked=asked,
        answered=answered,
        tokens=tokens,
        latency_ms=latency_ms,
        at_once=at_once,
        answers=answers,
        ranks=ranks,
        log_e=probe.log_e,
        max_log_e=probe.max_log_e,
        problem=problem[:2000],
        client_version=client_version(),
        started_at=started_at,
        finished_at=now,
    )
    if _alarms(probe, row):
        probe.alarmed_at = now
        record(
            "drift.probe_alarmed",
            actor=SYSTEM,
            obj=probe,
            summary=f"The probe “{probe.get_kind_display()}” of {probe.model_version} raised the "
            f"alarm; its own log e is {probe.max_log_e:.1f}.",
            changes={"round": str(row.pk), "log_e": probe.log_e, "alpha": probe.alpha},
        )
        Outbox.put("probe.alarmed", row.pk, round_id=str(row.pk))
    if probe.next_due_at is not None and probe.next_due_at == due_at:
        probe.next_due_at = next_due(probe, due_at, tokens)
    probe.lease_owner, probe.lease_until = "", None
    probe.save_versioned(
        "phase",
        "note",
        "state",
        "log_e",
        "max_log_e",
        "rounds",
        "tokens",
        "alarmed_at",
        "next_due_at",
        "lease_owner",
        "lease_until",
    )
    return row


def _alarms(probe: Probe, row: ProbeRound) -> bool:
    """Let the version's evidence move by this round. True when it passes the alarm line now, or
    had passed it before and this probe says the same by itself: once for a probe."""
    if outlived(probe) or row.phase in ("reference", "calibration", "screening", "failed"):
        return False
    source = evidence.attach(
        model_version=probe.model_version, kind=source_kind(probe), key=str(probe.pk)
    )
    before = evidence.alarmed(source.evidence)
    look = evidence.advance(source=source, log_e=probe.log_e, ref=str(row.pk), at=row.finished_at)
    if probe.alarmed_at is not None:
        return False
    own = probe.max_log_e >= alarm_line(probe)
    return own if before else look.max_log_e >= alarm_line(probe)


def outlived(probe: Probe) -> bool:
    """A decision has ended the life that this probe belongs to: `renew` begins another."""
    return Evidence.objects.filter(
        model_version=probe.model_version_id, ended_at__gt=probe.created_at
    ).exists()


def renew() -> int:
    """After a decision, or when the fixed texts changed, probes collect their baseline anew.
    Returns how many versions began."""
    ended = Evidence.objects.filter(
        model_version=OuterRef("model_version"), ended_at__gt=OuterRef("created_at")
    )
    other_texts = Q(kind=ProbeKind.LOGPROB, state__has_key="texts") & ~Q(
        state__texts=PROMPTS_REVISION
    )
    stale = Probe.objects.filter(Exists(ended) | other_texts, retired_at__isnull=True)
    versions = ModelVersion.objects.filter(pk__in=stale.values("model_version"))
    for version in versions:
        kinds = stale.filter(model_version=version).values_list("kind", flat=True)
        restart_probes(actor=SYSTEM, model_version=version, kinds=list(kinds))
    return len(versions)


def next_due(probe: Probe, due_at: dt.datetime, tokens: int) -> dt.datetime:
    """About an interval later, at a time that wanders over the day: a probe that always asked at
    four in the morning would learn nothing about the load at noon.

    While watching, the interval grows where a round would cost more than the day's share of tokens.
    """
    watching = probe.phase == ProbePhase.WATCHING
    seconds = float(probe.interval_seconds if watching else probe.collect_seconds)
    budget = float(settings.GOVTRACK["PROBE_TOKENS_A_DAY"]) * BUDGET_SHARES.get(
        ProbeKind(probe.kind), 0.0
    )
    if watching and budget > 0 and tokens:
        seconds = max(seconds, tokens / budget * DAY)
    drawn = recorded_uniform(str(probe.pk), "due", due_at.isoformat())
    wait = dt.timedelta(seconds=seconds * (0.75 + 0.5 * drawn))
    # Once for everything that was missed.
    return max(due_at + wait, clock.now() + wait / 4)
