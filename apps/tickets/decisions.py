"""What becomes of a changed model: one person proposes, another confirms, then it takes effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.access import services as access
from apps.audit.services import record
from apps.core import clock
from apps.core.errors import Conflict
from apps.core.inputs import choice
from apps.core.inputs import text as clean_text
from apps.drift import services as drift
from apps.drift.models import ChangeEvent
from apps.registry.assumptions import parse_changes
from apps.registry.lifecycle import LIVE
from apps.registry.models import Approval, ApprovalState, ModelVersion
from apps.registry.rows import stale
from apps.registry.services import carry_out, supersede_approval
from apps.tickets.lifecycle import guard, require_role
from apps.tickets.models import ControlAction, Decision, Outcome, Ticket, TicketState
from apps.tickets.restating import changes_for, check_restated

if TYPE_CHECKING:
    from apps.access.auth import AuthContext

D = Decision.State


@transaction.atomic
def propose_decision(
    *,
    auth: AuthContext,
    ticket: Ticket,
    outcome: str,
    rationale: str,
    conditions: str = "",
    assumption_changes: Iterable[Mapping[str, Any]] = (),
    row_version: int | None = None,
) -> Decision:
    """Propose what becomes of the touched approvals. `assumption_changes` count for a
    re-approval only, `conditions` for “conditions” and for a re-approval.

    Raises NotFound, NotAllowed, ReauthenticationRequired, InvalidInput (also: a broken assumption
    that a re-approval neither restates nor drops), Conflict (state), StaleVersion.
    """
    actor = auth.user
    require_role(ticket, "propose", actor)
    access.require_fresh(auth)
    event, row = _lock(ticket)
    if row_version is not None and row.row_version != row_version:
        raise stale("this ticket")
    guard(row, "propose", actor)
    chosen = Outcome(choice(outcome, "outcome", Outcome))
    limits = _conditions(chosen, conditions)
    why = clean_text(rationale, "rationale", least=10)
    changes = parse_changes(assumption_changes) if chosen == Outcome.REAPPROVE else []
    if chosen == Outcome.REAPPROVE:
        check_restated(event, _live(row), changes)
    decision = Decision.objects.create(
        ticket=row,
        outcome=chosen,
        rationale=why,
        conditions=limits,
        assumption_changes=changes,
        proposed_by=actor,
    )
    _set_state(row, TicketState.PROPOSED)
    record(
        "tickets.decision_proposed",
        actor=actor,
        obj=row,
        summary=f"{actor.name} proposed for {row}: {chosen.label.lower()}. {why}",
        changes={
            "decision": str(decision.pk),
            "outcome": chosen,
            "conditions": limits,
            "assumption_changes": changes,
        },
    )
    return decision


@transaction.atomic
def confirm_decision(*, auth: AuthContext, decision: Decision, reason: str = "") -> Decision:
    """The second person agrees, and the outcome takes effect: decision, ticket, approvals, change
    event and baselines in one transaction, or nothing at all.

    Raises NotFound, NotAllowed (role, proposer, not independent), ReauthenticationRequired,
    Conflict (answered already, new evidence, nothing run since the change), InvalidInput.
    """
    actor = auth.user
    require_role(decision.ticket, "confirm", actor)
    access.require_fresh(auth)
    event, ticket, row = _lock_decision(decision)
    guard(ticket, "confirm", actor, row)
    note = clean_text(reason, "reason", required=False, most=2_000)
    _refuse_new_evidence(event, row)
    _answer(row, D.CONFIRMED, actor, note)
    ticket.decided_at = clock.now()
    _set_state(ticket, TicketState.DECIDED, "decided_at")
    record(
        "tickets.decision_confirmed",
        actor=actor,
        obj=ticket,
        summary=f"{actor.name} confirmed for {ticket} what {row.proposed_by.name} proposed: "
        f"{row.get_outcome_display().lower()}.{f' {note}' if note else ''}",
        changes={
            "decision": str(row.pk),
            "outcome": row.outcome,
            "proposed_by": row.proposed_by,
            "conditions": row.conditions,
            "assumption_changes": row.assumption_changes,
        },
    )
    because = f"{ticket}: {row.get_outcome_display().lower()}"
    watches = _take_effect(event, ticket, row, actor, because)
    if event.state == ChangeEvent.State.OPEN:
        drift.close_change_event(
            actor=actor, change_event=event, reason=f"{because}. {row.rationale}", watches=watches
        )
    return row


@transaction.atomic
def send_back_decision(*, auth: AuthContext, decision: Decision, reason: str) -> Decision:
    """The second person disagrees; the ticket is open again.

    Raises NotFound, NotAllowed, InvalidInput (no reason), Conflict (answered already).
    """
    require_role(decision.ticket, "send_back", auth.user)
    _, ticket, row = _lock_decision(decision)
    guard(ticket, "send_back", auth.user, row)
    return _reopen(ticket, row, D.REJECTED, auth.user, clean_text(reason, "reason", most=2_000))


@transaction.atomic
def withdraw_decision(*, auth: AuthContext, decision: Decision) -> Decision:
    """The proposer takes it back. Raises NotFound, NotAllowed, Conflict (answered already)."""
    require_role(decision.ticket, "withdraw", auth.user)
    _, ticket, row = _lock_decision(decision)
    guard(ticket, "withdraw", auth.user, row)
    return _reopen(ticket, row, D.WITHDRAWN, auth.user, "")


def _take_effect(
    event: ChangeEvent, ticket: Ticket, decision: Decision, actor: Any, because: str
) -> str:
    """Move the touched approvals. Returns what becomes of the watches (see drift)."""
    outcome = Outcome(decision.outcome)
    live = _live(ticket)
    if outcome in (Outcome.REAPPROVE, Outcome.CONDITIONS) and not live:
        raise Conflict(
            f"None of the approvals that {ticket} touches is in force or on hold any more.",
            field="outcome",
            remedy="Send the proposal back; request a new approval, or decide to retire.",
        )
    if outcome == Outcome.REAPPROVE:
        _reapprove(event, ticket, decision, actor, live)
        return "keep"
    if outcome == Outcome.CONDITIONS:
        # The changed behaviour is accepted, so it is what later reruns are compared with;
        # against the old answers the next rerun would raise the same alarm again.
        drift.rebaseline(actor=actor, change_event=event)
        for approval in live:
            carry_out(
                actor=actor,
                approval=approval,
                move="release",
                reason=because,
                conditions=decision.conditions,
            )
            drift.attach_baselines(approval=approval, actor=actor)
        return "keep"
    if outcome == Outcome.FALSE_ALARM:
        held = set(
            ticket.control_actions.filter(
                kind=ControlAction.Kind.HOLD_APPROVAL, reversed_at__isnull=True
            ).values_list("target_id", flat=True)
        )
        for approval in live:
            # What a person put on hold for a reason of their own stays so.
            if approval.pk in held and approval.state == ApprovalState.ON_HOLD:
                carry_out(actor=actor, approval=approval, move="release", reason=because)
        return "restart"
    move = "suspend" if outcome == Outcome.SUSPEND else "revoke"
    for approval in live:
        carry_out(actor=actor, approval=approval, move=move, reason=because)
    return "end"


def _reapprove(
    event: ChangeEvent, ticket: Ticket, decision: Decision, actor: Any, live: list[Approval]
) -> None:
    changes = parse_changes(decision.assumption_changes)
    check_restated(event, live, changes)
    drift.rebaseline(actor=actor, change_event=event)
    for approval in live:
        new = supersede_approval(
            actor_requested=decision.proposed_by,
            actor_approved=actor,
            approval=approval,
            assumption_changes=changes_for(approval, changes),
            conditions=decision.conditions or approval.conditions,
            rationale=f"{ticket}: {decision.rationale}",
        )
        drift.attach_baselines(approval=new, actor=actor)


def _lock(ticket: Ticket) -> tuple[ChangeEvent, Ticket]:
    """Locks in the order in which drift and the pipeline take them: version, event, ticket."""
    event_id = Ticket.objects.values_list("change_event_id", flat=True).get(pk=ticket.pk)
    version_id = ChangeEvent.objects.values_list("model_version_id", flat=True).get(pk=event_id)
    ModelVersion.objects.select_for_update(of=("self",)).only("pk").get(pk=version_id)
    event = (
        ChangeEvent.objects.select_for_update(no_key=True, of=("self",))
        .select_related("model_version")
        .get(pk=event_id)
    )
    row = Ticket.objects.select_for_update(no_key=True, of=("self",)).get(pk=ticket.pk)
    row.change_event = event
    return event, row


def _lock_decision(decision: Decision) -> tuple[ChangeEvent, Ticket, Decision]:
    event, ticket = _lock(decision.ticket)
    row = (
        Decision.objects.select_for_update(no_key=True, of=("self",))
        .select_related("proposed_by")
        .get(pk=decision.pk)
    )
    row.ticket = ticket
    if row.state != D.PROPOSED:
        raise Conflict(
            f"This proposal is {row.get_state_display().lower()} already.",
            field="state",
            remedy="Reload to see what happened to it.",
        )
    return event, ticket, row


def _live(ticket: Ticket) -> list[Approval]:
    rows = ticket.approvals.filter(state__in=LIVE).select_related("use_case", "model_version")
    return list(rows.order_by("number"))


def _conditions(outcome: Outcome, conditions: str) -> str:
    if outcome == Outcome.CONDITIONS:
        return clean_text(conditions, "conditions", least=3)
    if outcome == Outcome.REAPPROVE:
        return clean_text(conditions, "conditions", required=False)
    return ""


def _refuse_new_evidence(event: ChangeEvent, decision: Decision) -> None:
    """What would go back into use was proposed without knowing of it."""
    if decision.outcome not in (Outcome.CONDITIONS, Outcome.FALSE_ALARM):
        return
    later = event.broken_assumptions.filter(created_at__gt=decision.created_at)
    codes = sorted(later.values_list("assumption__code", flat=True))
    if codes:
        raise Conflict(
            f"After the proposal another assumption broke: {', '.join(codes)}.",
            field="outcome",
            remedy="Send the proposal back, so that it is made with all that is known.",
        )


def _answer(decision: Decision, state: Decision.State, actor: Any, reason: str) -> None:
    decision.state, decision.answered_by = state, actor
    decision.answered_at, decision.answer_reason = clock.now(), reason
    decision.save_versioned("state", "answered_by", "answered_at", "answer_reason")


def _set_state(ticket: Ticket, state: TicketState, *fields: str) -> None:
    ticket.state = state
    ticket.save_versioned("state", *fields)


def _reopen(
    ticket: Ticket, decision: Decision, state: Decision.State, actor: Any, reason: str
) -> Decision:
    _answer(decision, state, actor, reason)
    _set_state(ticket, TicketState.OPEN)
    verb = "sent back" if state == D.REJECTED else "withdrew"
    record(
        f"tickets.decision_{'sent_back' if state == D.REJECTED else 'withdrawn'}",
        actor=actor,
        obj=ticket,
        summary=f"{actor.name} {verb} the proposal for {ticket} "
        f"({decision.get_outcome_display().lower()}){f': {reason}' if reason else '.'}",
        changes={"decision": str(decision.pk), "outcome": decision.outcome},
    )
    return decision
