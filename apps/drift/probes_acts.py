"""What a person asks of one probe: a round now, or a baseline recorded again."""

from __future__ import annotations

import structlog
from celery import current_app
from django.conf import settings
from django.db import transaction

from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.audit.services import record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.drift import evidence, probing
from apps.drift.models import Probe, ProbeKind, ProbePhase
from apps.drift.probing_tasks import WORK

log = structlog.get_logger(__name__)
REASON = 500


@transaction.atomic
def ask_now(*, actor: User, probe: Probe, reason: str) -> Probe:
    """Make the probe's next round due at once. It is a round like every other: the error rate
    holds however often somebody looks. Raises NotAllowed, InvalidInput, Conflict."""
    require(actor, "run.start", probe.model_version)
    reason = _reason(reason, "Say why it should look now: the history shows it.")
    locked = _current(probe)
    if locked.kind == ProbeKind.PASSIVE:
        raise Conflict(
            "Observed traffic asks nothing by itself.",
            remedy="It looks whenever production reports a batch of observations.",
        )
    if locked.phase == ProbePhase.UNSUPPORTED:
        raise Conflict(f"It cannot ask: {locked.note}", remedy="Start another kind of probe.")
    if not locked.enabled:
        raise Conflict("This probe is paused.", remedy="Resume it first.")
    if not settings.GOVTRACK["PROBES"]:
        raise Conflict(
            "Probes are switched off on this installation, so no round would be asked.",
            remedy="An operator sets GOVTRACK_PROBES=1.",
        )
    now = clock.now()
    if locked.lease_until is not None and locked.lease_until > now:
        raise Conflict("A round is being asked just now.", remedy="Look again in a minute.")
    locked.next_due_at = now
    locked.save_versioned("next_due_at")
    record(
        "drift.probe_asked_now",
        actor=actor,
        obj=locked,
        summary=f"{actor.name} asked for a round of the probe “{locked.get_kind_display()}” of "
        f"{locked.model_version} at once: {reason}",
    )
    transaction.on_commit(wake)
    return locked


@transaction.atomic
def record_again(*, actor: User, probe: Probe, reason: str) -> Probe:
    """End this probe and collect a new baseline. What it found stays on record, and so does an
    open change: only a decision ends that. Raises NotAllowed, InvalidInput, Conflict."""
    require(actor, "schedule.edit", probe.model_version)
    reason = _reason(reason, "Say why its baseline no longer serves: the history shows it.")
    locked = _current(probe)
    if locked.kind == ProbeKind.PASSIVE:
        raise Conflict(
            "Observed traffic has no baseline that could be recorded: it is what was reported.",
            remedy="After a decision it begins anew by itself.",
        )
    # What it has staked stays; a share that it never bet goes back to the reserve.
    evidence.close_source(key=str(locked.pk))
    [fresh] = probing.restart_probes(
        actor=actor, model_version=locked.model_version, kinds=[locked.kind]
    )
    record(
        "drift.probe_recorded_again",
        actor=actor,
        obj=locked,
        summary=f"{actor.name} had the baseline of the probe “{locked.get_kind_display()}” of "
        f"{locked.model_version} recorded again: {reason}",
        changes={"next": str(fresh.pk), "rounds": locked.rounds, "max_log_e": locked.max_log_e},
    )
    return fresh


def _reason(text: str, remedy: str) -> str:
    text = text.strip()
    if not text:
        raise InvalidInput("A reason is needed.", field="reason", remedy=remedy)
    if len(text) > REASON:
        raise InvalidInput(
            f"The reason has {len(text)} characters.",
            field="reason",
            remedy=f"Use at most {REASON}.",
        )
    return text


def _current(probe: Probe) -> Probe:
    locked = (
        Probe.objects.select_for_update(of=("self",))
        .select_related("model_version")
        .get(pk=probe.pk)
    )
    if locked.retired_at is not None:
        raise Conflict(
            "This probe has ended: a later baseline took its place.",
            remedy="Use the version's current probe.",
        )
    return locked


def wake() -> None:
    """Never raises: the tick comes within seconds."""
    try:
        current_app.send_task(WORK, expires=60.0, retry=False, ignore_result=True)
    except Exception as error:  # the broker is down: nothing is lost but time
        log.warning("wake_up_not_sent", error=type(error).__name__)
