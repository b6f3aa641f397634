"""What the policy does by itself for a ticket, and how a named person undoes it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import transaction

from apps.access import services as access
from apps.access.models import ReauthDemand
from apps.accounts.models import User
from apps.accounts.permissions import approvers, require
from apps.audit.services import SYSTEM, record
from apps.core import clock
from apps.core.errors import Conflict, NotAllowed
from apps.core.inputs import text
from apps.registry.lifecycle import IN_USE
from apps.registry.models import Approval, ApprovalState
from apps.registry.services import hold_approval, release_approval
from apps.tickets.models import ControlAction, Ticket, TicketState

Kind = ControlAction.Kind


@transaction.atomic
def apply_policy(*, ticket: Ticket) -> list[ControlAction]:
    """Put the touched approvals on hold and demand fresh sign-ins, as the severity asks for.

    Idempotent, and what a person reversed is not done again. Returns the actions made now.
    """
    row = (
        Ticket.objects.select_for_update(no_key=True, of=("self",))
        .select_related("policy", "change_event__model_version")
        .get(pk=ticket.pk)
    )
    if row.state == TicketState.DECIDED:
        return []
    rules = row.policy.document["actions"][row.severity]
    made = []
    if rules["hold_approvals"]:
        made += _hold(row)
    if rules["require_reauth"]["enabled"]:
        made += _demand_reauth(row, rules["require_reauth"]["max_session_age_minutes"])
    return made


def _hold(ticket: Ticket) -> list[ControlAction]:
    done = set(
        ticket.control_actions.filter(kind=Kind.HOLD_APPROVAL).values_list("target_id", flat=True)
    )
    made = []
    for approval in ticket.approvals.filter(state__in=IN_USE).order_by("number"):
        if approval.pk in done:
            continue
        hold_approval(
            actor=SYSTEM,
            approval=approval,
            reason=f"{ticket} ({ticket.get_severity_display().lower()}) is open: the model changed "
            f"({ticket.change_event}).",
        )
        made.append(_note(ticket, Kind.HOLD_APPROVAL, approval, str(approval)))
    return made


def _demand_reauth(ticket: Ticket, minutes: int) -> list[ControlAction]:
    known = {a.target_id: a for a in ticket.control_actions.filter(kind=Kind.REQUIRE_REAUTH)}
    since = clock.now() - dt.timedelta(minutes=minutes)
    made = []
    for user in approvers(ticket.change_event.model_version.team_id).order_by("pk"):
        action = known.get(user.pk)
        if action and action.reversed_at:
            continue
        # The severity belongs to the source: a raised ticket may ask for a younger sign-in.
        access.demand_reauth(
            user=user,
            since=since,
            reason=f"{ticket} ({ticket.get_severity_display().lower()}) is to be decided.",
            source=_source(ticket, ticket.severity),
        )
        if action is None:
            made.append(_note(ticket, Kind.REQUIRE_REAUTH, user, user.name))
    return made


def _source(ticket: Ticket, severity: str) -> str:
    return f"ticket:{ticket.pk}:{severity}"


def _note(ticket: Ticket, kind: Kind, target: Approval | User, name: str) -> ControlAction:
    action = ControlAction.objects.create(
        ticket=ticket,
        kind=kind,
        target_type=target._meta.label_lower,
        target_id=target.pk,
        target_name=name[:300],
    )
    record(
        "tickets.control_applied",
        actor=SYSTEM,
        obj=ticket,
        summary=f"By policy {ticket.policy.number}, for {ticket}: {kind.label.lower()} ({name}).",
        changes={"action": str(action.pk), "kind": kind, "target": str(target.pk)},
    )
    return action


@transaction.atomic
def reverse_action(*, actor: Any, action: ControlAction, reason: str) -> None:
    """Undo one act of the policy. The policy does not do it again for this ticket.

    Raises NotFound, NotAllowed (role; a demand on oneself), InvalidInput (no reason), Conflict
    (reversed already, or the approval is no longer on hold).
    """
    ticket = Ticket.objects.select_for_update(no_key=True, of=("self",)).get(pk=action.ticket_id)
    require(actor, "control.reverse", ticket)
    why = text(reason, "reason", least=3, most=2_000)
    row = ControlAction.objects.select_for_update(no_key=True, of=("self",)).get(pk=action.pk)
    if row.reversed_at:
        raise Conflict("This was reversed already.", field="state", remedy="Reload to see by whom.")
    if row.kind == Kind.HOLD_APPROVAL:
        _release(actor, row, why)
    else:
        _lift(actor, ticket, row, why)
    row.reversed_at, row.reversed_by, row.reverse_reason = clock.now(), actor, why
    row.save(update_fields=["reversed_at", "reversed_by", "reverse_reason"])
    record(
        "tickets.control_reversed",
        actor=actor,
        obj=ticket,
        summary=f"{actor.name} reversed for {ticket}: {row.get_kind_display().lower()} "
        f"({row.target_name}). {why}",
        changes={"action": str(row.pk), "kind": row.kind, "target": str(row.target_id)},
    )


def _release(actor: Any, action: ControlAction, reason: str) -> None:
    approval = Approval.objects.get(pk=action.target_id)
    if approval.state != ApprovalState.ON_HOLD:
        raise Conflict(
            f"{approval} is {approval.get_state_display().lower()}, no longer on hold.",
            field="state",
            remedy="There is nothing to undo any more.",
        )
    release_approval(actor=actor, approval=approval, reason=reason)


def _lift(actor: Any, ticket: Ticket, action: ControlAction, reason: str) -> None:
    if action.target_id == actor.pk:
        raise NotAllowed(
            "Nobody lifts a demand on themselves.",
            remedy="Sign in afresh (that satisfies it), or ask a colleague.",
        )
    demands = ReauthDemand.objects.filter(
        user_id=action.target_id, source__startswith=_source(ticket, ""), lifted_at__isnull=True
    )
    for demand in demands:
        access.lift_reauth(actor=actor, demand=demand, reason=reason)
