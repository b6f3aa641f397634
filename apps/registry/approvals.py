"""Verbs on approvals. Each reads the row again under a lock, asks `lifecycle.guard`, writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.core.inputs import moment, text
from apps.core.models import Outbox
from apps.registry import suite_metrics
from apps.registry.assumptions import parse, parse_changes, restated
from apps.registry.lifecycle import LIVE, PENDING, RULES, guard, not_independent
from apps.registry.models import (
    Approval,
    ApprovalState,
    Assumption,
    ModelVersion,
    UseCase,
)
from apps.registry.transitions import end, expire, lock_pair, locked, next_number, of_pair, write

S = ApprovalState


@transaction.atomic
def request_approval(
    *,
    actor: Any,
    use_case: UseCase,
    model_version: ModelVersion,
    rationale: str,
    assumptions: Sequence[Mapping[str, Any]],
    conditions: str = "",
    expires_at: dt.datetime | None = None,
) -> Approval:
    """Ask for a version to be approved for a use case, on assumptions that can be watched.

    Raises NotAllowed, NotFound, InvalidInput (an assumption, an expiry in the past), or Conflict
    when a request for the same pair is pending.
    """
    require(actor, "approval.request", use_case)
    require(actor, "view", model_version)
    rows = parse(assumptions)
    suite_metrics.check(rows)
    expiry = _future(expires_at)
    reasons = text(rationale, "rationale", least=10)
    limits = text(conditions, "conditions", required=False)
    lock_pair(use_case)
    pending = of_pair(use_case, model_version).filter(state__in=PENDING).first()
    if pending:
        raise Conflict(
            f"Approval {pending} of this pair is {pending.get_state_display().lower()} already.",
            field="model_version",
            remedy="Decide on that one, or have it withdrawn first.",
        )
    approval = Approval.objects.create(
        number=next_number(),
        use_case=use_case,
        model_version=model_version,
        state=S.REQUESTED,
        rationale=reasons,
        conditions=limits,
        expires_at=expiry,
        requested_by=actor,
    )
    Assumption.objects.bulk_create(Assumption(approval=approval, **row) for row in rows)
    record(
        "registry.approval_requested",
        actor=actor,
        obj=approval,
        summary=f"{actor.name} requested approval {approval}: {model_version} for {use_case}.",
        changes={
            "use_case": use_case,
            "model_version": model_version,
            "config_hash": model_version.config_hash,
            "rationale": reasons,
            "conditions": limits,
            "expires_at": expiry,
            "assumptions": rows,
        },
    )
    Outbox.put("approval.requested", approval.pk, approval_id=str(approval.pk))
    return approval


@transaction.atomic
def validate_approval(
    *, actor: Any, approval: Approval, row_version: int | None = None
) -> Approval:
    """The independent look. Raises NotAllowed (own request, not independent), Conflict, Stale."""
    row = locked(approval, row_version)
    guard(row, "validate", actor)
    row.validated_by, row.validated_at = actor, clock.now()
    return write(row, "validate", actor, "", S.VALIDATED, "validated_by", "validated_at")


@transaction.atomic
def approve_approval(
    *, actor: Any, approval: Approval, row_version: int | None = None, conditional: bool = False
) -> Approval:
    """Bring an approval into force; one that is in force for the pair is superseded with it.

    Conditional when asked so, and whenever the request carries conditions. Raises NotAllowed (own
    request, same person as the validator), Conflict (state, expiry over), StaleVersion.
    """
    lock_pair(approval.use_case)
    row = locked(approval, row_version)
    guard(row, "approve", actor)
    if conditional and not row.conditions:
        raise InvalidInput(
            "There are no conditions to approve it under.",
            field="conditional",
            remedy="Request it with conditions, or approve it without.",
        )
    now = clock.now()
    if row.expires_at and row.expires_at <= now:
        raise Conflict(
            f"The asked-for end of {row} has passed, so it would never be in force.",
            field="expires_at",
            remedy="Reject it and request it again with a later end.",
        )
    row.supersedes = _supersede_others(row, actor, now)
    row.approved_by, row.approved_at = actor, now
    row.in_force = DateTimeTZRange(now, row.expires_at)
    target = S.CONDITIONAL if row.conditions else S.APPROVED
    fields = ("approved_by", "approved_at", "in_force", "supersedes")
    return write(row, "approve", actor, "", target, *fields)


@transaction.atomic
def reject_approval(
    *, actor: Any, approval: Approval, reason: str, row_version: int | None = None
) -> Approval:
    """Refuse a request (or take back one's own). Raises NotAllowed, InvalidInput, Conflict."""
    return _simple("reject", actor, approval, reason, row_version)


@transaction.atomic
def suspend_approval(
    *, actor: Any, approval: Approval, reason: str, row_version: int | None = None
) -> Approval:
    """End its use until a new approval is given. Raises NotAllowed, InvalidInput, Conflict."""
    return _simple("suspend", actor, approval, reason, row_version)


@transaction.atomic
def revoke_approval(
    *, actor: Any, approval: Approval, reason: str, row_version: int | None = None
) -> Approval:
    """End its use for good. Raises NotAllowed, InvalidInput, Conflict, StaleVersion."""
    return _simple("revoke", actor, approval, reason, row_version)


@transaction.atomic
def hold_approval(*, actor: Any, approval: Approval, reason: str) -> Approval:
    """Stop its use for now; the state that it had is remembered. On hold already: nothing happens.

    Raises NotAllowed, InvalidInput (no reason), Conflict when it is not in force.
    """
    return _hold(actor, approval, reason)


@transaction.atomic
def release_approval(*, actor: Any, approval: Approval, reason: str) -> Approval:
    """Back to the state that it was held from. In force already: nothing happens.

    Raises NotAllowed, InvalidInput (no reason), Conflict when it ended in the meantime.
    """
    return _release(actor, approval, reason)


@transaction.atomic
def carry_out(
    *, actor: Any, approval: Approval, move: str, reason: str, conditions: str = ""
) -> Approval:
    """What two people decided elsewhere (a ticket): "release", "suspend" or "revoke".

    The caller has checked their roles, so the actor's role is not asked for again; the state is.
    With `conditions`, a release ends as conditional under exactly these. Raises Conflict.
    """
    if move == "release":
        return _release(actor, approval, reason, conditions=conditions, decided=True)
    return _simple(move, actor, approval, reason, None, decided=True)


@transaction.atomic
def supersede_approval(
    *,
    actor_requested: Any,
    actor_approved: Any,
    approval: Approval,
    assumption_changes: Iterable[Mapping[str, Any]],
    conditions: str,
    rationale: str,
) -> Approval:
    """A new approval in the old one's place, from now on, as two people decided on a ticket.

    `assumption_changes`: [{"code", "threshold"…} | {"code", "drop": true}]; what is not named is
    carried over. Raises NotAllowed (same person, role, not independent), InvalidInput, Conflict.
    """
    lock_pair(approval.use_case)
    row = locked(approval, None)
    require(actor_requested, "ticket.propose", row)
    require(actor_approved, "ticket.confirm", row)
    if actor_requested.pk == actor_approved.pk:
        raise NotAllowed("Two different people are needed.", remedy="Ask a colleague to confirm.")
    if sentence := not_independent(row, actor_approved):
        raise NotAllowed(sentence, remedy="Ask a colleague to confirm.")
    changes = [
        c for c in parse_changes(assumption_changes) if c.get("approval") in (None, str(row))
    ]
    rows = restated(list(row.assumptions.order_by("code")), changes)
    now = clock.now()
    limits = text(conditions, "conditions", required=False)
    new = Approval(
        number=next_number(),
        use_case=row.use_case,
        model_version=row.model_version,
        state=S.CONDITIONAL if limits else S.APPROVED,
        rationale=text(rationale, "rationale", least=10),
        conditions=limits,
        expires_at=row.expires_at,
        requested_by=actor_requested,
        approved_by=actor_approved,
        approved_at=now,
        supersedes=row,
    )
    if row.expires_at and row.expires_at <= now:
        raise Conflict(
            f"Approval {row} expired, so it cannot be renewed here.",
            field="state",
            remedy="Request a new approval for the pair.",
        )
    guard(row, "supersede", SYSTEM)
    end(row, "supersede", actor_approved, f"Superseded by A-{new.number}.", S.SUPERSEDED, now)
    new.in_force = DateTimeTZRange(now, new.expires_at)
    new.save(force_insert=True)
    Assumption.objects.bulk_create(Assumption(approval=new, **r) for r in rows)
    record(
        "registry.approval_superseded",
        actor=actor_approved,
        obj=new,
        summary=f"{actor_requested.name} and {actor_approved.name} re-approved "
        f"{new.model_version} for {new.use_case}: {new} supersedes {row}.",
        changes={
            "supersedes": row,
            "requested_by": actor_requested,
            "approved_by": actor_approved,
            "rationale": new.rationale,
            "conditions": limits,
            "assumptions": rows,
        },
    )
    Outbox.put("approval.requested", new.pk, approval_id=str(new.pk))
    return new


def expire_due() -> int:
    """End the approvals whose time is over. Returns how many; safe to run anywhere, any time."""
    ended = 0
    while True:
        with transaction.atomic():
            row = (
                Approval.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
                .select_related("use_case", "model_version")
                .filter(state__in=LIVE, expires_at__lte=clock.now())
                .order_by("expires_at")
                .first()
            )
            if row is None:
                return ended
            expire(row)
            ended += 1


def _simple(
    move: str,
    actor: Any,
    approval: Approval,
    reason: str,
    row_version: int | None,
    *,
    decided: bool = False,
) -> Approval:
    row = locked(approval, row_version)
    reason = guard(row, move, actor, reason=reason, decided=decided)
    target = RULES[move].target
    assert target is not None
    return end(row, move, actor, reason, target, clock.now())


def _hold(actor: Any, approval: Approval, reason: str) -> Approval:
    row = locked(approval, None)
    if row.state == S.ON_HOLD:
        _guard_role(row, "hold", actor)
        return row
    reason = guard(row, "hold", actor, reason=reason)
    row.held_from = row.state
    return write(row, "hold", actor, reason, S.ON_HOLD, "held_from")


def _release(
    actor: Any, approval: Approval, reason: str, *, conditions: str = "", decided: bool = False
) -> Approval:
    row = locked(approval, None)
    if row.state in (S.APPROVED, S.CONDITIONAL):
        if not decided:
            _guard_role(row, "release", actor)
        if not conditions:
            return row
        # A decision puts conditions on what was never held (its severity held nothing).
        row.conditions = text(conditions, "conditions")
        return write(
            row, "release", actor, reason, S.CONDITIONAL, "conditions", past="made conditional"
        )
    reason = guard(row, "release", actor, reason=reason, decided=decided)
    target = S(row.held_from or S.APPROVED)
    if conditions:
        row.conditions, target = text(conditions, "conditions"), S.CONDITIONAL
    row.held_from = ""
    return write(row, "release", actor, reason, target, "held_from", "conditions")


def _guard_role(approval: Approval, move: str, actor: Any) -> None:
    """Only who may, also for a move that has nothing left to do."""
    if actor is not SYSTEM:
        require(actor, RULES[move].actions[0], approval)


def _future(expires_at: dt.datetime | None) -> dt.datetime | None:
    expiry = moment(expires_at, "expires_at", optional=True)
    if expiry is not None and expiry <= clock.now():
        raise InvalidInput(
            "The approval would end in the past.",
            field="expires_at",
            remedy="Choose a later date, or leave it empty.",
        )
    return expiry


def _supersede_others(new: Approval, actor: Any, now: dt.datetime) -> Approval | None:
    """End what is live (or suspended) for the pair. Their ranges close first, so that the
    database's rule of one in force holds at every moment."""
    last = None
    others = of_pair(new.use_case, new.model_version).filter(state__in=(*LIVE, S.SUSPENDED))
    for other in others.exclude(pk=new.pk).order_by("number").values_list("pk", flat=True):
        row = locked(Approval(pk=other), None)
        if row.state in LIVE and row.expires_at and row.expires_at <= now:
            expire(row)
        else:
            end(row, "supersede", actor, f"Superseded by {new}.", S.SUPERSEDED, now)
        last = row
    return last
