"""Verbs of tickets: open or raise, talk, assign. Decisions live in `decisions`, named here too."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from apps.accounts.models import User
from apps.accounts.permissions import can
from apps.audit.services import SYSTEM, record
from apps.core import clock
from apps.core.errors import InvalidInput
from apps.core.inputs import text as clean_text
from apps.core.models import Outbox
from apps.drift.models import ChangeEvent, Verdict
from apps.registry.models import Approval
from apps.registry.rows import stale
from apps.registry.selectors import live_approvals
from apps.tickets import policy
from apps.tickets.decisions import (
    confirm_decision,
    propose_decision,
    send_back_decision,
    withdraw_decision,
)
from apps.tickets.lifecycle import guard
from apps.tickets.models import Comment, Severity, Ticket, TicketApproval, TicketState

__all__ = [
    "assign",
    "comment",
    "confirm_decision",
    "open_or_update_ticket",
    "propose_decision",
    "send_back_decision",
    "withdraw_decision",
]
NUMBER_LOCK = 0x6774_7274  # pg_advisory_xact_lock key


@transaction.atomic
def open_or_update_ticket(*, change_event: ChangeEvent) -> Ticket | None:
    """One ticket for a change event, as severe as the evidence asks for; it never gets milder.

    None when nobody has approved the version for anything, or when the policy asks for no ticket
    (an immaterial change in a low tier). Idempotent: without new evidence nothing is written.
    """
    event = (
        ChangeEvent.objects.select_for_update(no_key=True, of=("self",))
        .select_related("model_version__owner")
        .get(pk=change_event.pk)
    )
    ticket = (
        Ticket.objects.select_for_update(no_key=True, of=("self",))
        .select_related("policy")
        .filter(change_event=event)
        .first()
    )
    if event.state == ChangeEvent.State.CLOSED or (ticket and ticket.state == TicketState.DECIDED):
        return ticket
    touched = {a.pk: a for a in live_approvals(event.model_version)}
    if ticket:
        touched |= {a.pk: a for a in ticket.approvals.select_related("use_case")}
    if not touched:
        return None
    rules = ticket.policy if ticket else policy.current()
    severity, reason, wanted = _assess(event, list(touched.values()), rules.document)
    if ticket is None:
        return _open(event, touched, rules, severity, reason) if wanted else None
    return _update(ticket, touched, severity, reason)


def _assess(
    event: ChangeEvent, approvals: list[Approval], document: dict[str, Any]
) -> tuple[Severity, str, bool]:
    """The worst severity over the touched approvals, why, and whether a ticket is asked for."""
    material = event.verdict == Verdict.CHANGED_MATERIAL
    broken: dict[Any, list[Any]] = {}
    for row in event.broken_assumptions.select_related("assumption"):
        broken.setdefault(row.assumption.approval_id, []).append(row.assumption)
    worst: tuple[Severity, str] | None = None
    wanted = False
    for approval in sorted(approvals, key=lambda a: a.number):
        gone = broken.get(approval.pk, [])
        criticality = next(
            (c for c in policy.CRITICALITIES if any(a.criticality == c for a in gone)), "none"
        )
        tier = approval.use_case.risk_tier
        severity, why = policy.severity_of(
            document=document, risk_tier=tier, material=material, criticality=criticality
        )
        wanted |= policy.wants_ticket(
            document=document, risk_tier=tier, material=material, broken=bool(gone)
        )
        if worst is None or policy.RANK[severity] > policy.RANK[worst[0]]:
            codes = ", ".join(sorted(a.code for a in gone))
            named = f" ({codes} of {approval})" if codes else ""
            sentence = f"{severity.label}: {why}{named}; use: {approval.use_case}."
            worst = severity, sentence
    assert worst is not None
    return *worst, wanted


def _open(
    event: ChangeEvent, touched: dict[Any, Approval], rules: Any, severity: Severity, reason: str
) -> Ticket:
    hours = rules.document["actions"][severity]["due_hours"]
    owner = event.model_version.owner
    ticket = Ticket.objects.create(
        number=_next_number(),
        change_event=event,
        severity=severity,
        severity_reason=reason,
        policy=rules,
        due_at=clock.now() + dt.timedelta(hours=hours),
        assignee=owner if owner.is_active else None,
    )
    TicketApproval.objects.bulk_create(
        TicketApproval(ticket=ticket, approval=a) for a in touched.values()
    )
    record(
        "tickets.ticket_opened",
        actor=SYSTEM,
        obj=ticket,
        summary=f"Ticket {ticket} was opened for change {event} of {event.model_version}: {reason}",
        changes={
            "change_event": str(event),
            "severity": severity,
            "due_at": ticket.due_at,
            "policy": rules.number,
            "approvals": sorted(str(a) for a in touched.values()),
            "assignee": ticket.assignee,
        },
    )
    Outbox.put("ticket.opened", f"{ticket.pk}:{severity}", ticket_id=str(ticket.pk))
    return ticket


def _update(
    ticket: Ticket, touched: dict[Any, Approval], severity: Severity, reason: str
) -> Ticket:
    known = set(ticket.ticket_approvals.values_list("approval_id", flat=True))
    added = [a for a in touched.values() if a.pk not in known]
    raised = policy.RANK[severity] > policy.RANK[ticket.severity]
    if not raised and not added:
        return ticket
    TicketApproval.objects.bulk_create(TicketApproval(ticket=ticket, approval=a) for a in added)
    before = ticket.severity
    if raised:
        hours = ticket.policy.document["actions"][severity]["due_hours"]
        ticket.severity, ticket.severity_reason = severity, reason
        ticket.due_at = min(ticket.due_at, clock.now() + dt.timedelta(hours=hours))
    ticket.save_versioned("severity", "severity_reason", "due_at")
    named = ", ".join(str(a) for a in added)
    what = (
        f"was raised to {severity.label.lower()}: {reason}" if raised else f"also touches {named}."
    )
    record(
        "tickets.ticket_raised",
        actor=SYSTEM,
        obj=ticket,
        summary=f"Ticket {ticket} {what}",
        changes={
            "severity": [before, ticket.severity],
            "due_at": ticket.due_at,
            "approvals_added": [str(a) for a in added],
        },
    )
    # The number of approvals belongs to the key: a new one must be put on hold as well.
    key = f"{ticket.pk}:{ticket.severity}:{len(known) + len(added)}"
    Outbox.put("ticket.raised", key, ticket_id=str(ticket.pk))
    return ticket


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBER_LOCK])
    return int(Ticket.objects.aggregate(top=Max("number"))["top"] or 0) + 1


@transaction.atomic
def comment(*, actor: Any, ticket: Ticket, text: str) -> Comment:
    """Raises NotFound, NotAllowed, InvalidInput."""
    guard(ticket, "comment", actor)
    row = Comment.objects.create(
        ticket=ticket, author=actor, text=clean_text(text, "text", most=20_000)
    )
    record(
        "tickets.commented",
        actor=actor,
        obj=ticket,
        summary=f"{actor.name} commented on {ticket}.",
        changes={"comment": str(row.pk)},
    )
    return row


@transaction.atomic
def assign(
    *, actor: Any, ticket: Ticket, assignee: User | None, row_version: int | None = None
) -> Ticket:
    """Give it to somebody who can work on it, or to nobody.

    Raises NotFound, NotAllowed, InvalidInput (the assignee), Conflict (decided), StaleVersion.
    """
    row = Ticket.objects.select_for_update(no_key=True, of=("self",)).get(pk=ticket.pk)
    guard(row, "assign", actor)
    if row_version is not None and row.row_version != row_version:
        raise stale("this ticket")
    if assignee is not None and not can(assignee, "ticket.propose", row):
        raise InvalidInput(
            f"{assignee.name} could not work on this ticket.",
            field="assignee",
            remedy="Choose an active owner, validator or governance lead.",
        )
    if row.assignee_id == (assignee.pk if assignee else None):
        return row
    before, row.assignee = row.assignee, assignee
    row.save_versioned("assignee")
    record(
        "tickets.assigned",
        actor=actor,
        obj=row,
        summary=f"{actor.name} assigned {row} to {assignee.name if assignee else 'nobody'}.",
        changes={"assignee": [before, assignee]},
    )
    return row
