"""Reads of tickets."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When

from apps.accounts.permissions import can, visible
from apps.core import clock
from apps.tickets.lifecycle import UNDECIDED, moves_for
from apps.tickets.models import ControlAction, Ticket, TicketState
from apps.tickets.policy import RANK

TEAM = "change_event__model_version__team"


def tickets(user: Any) -> QuerySet[Ticket]:
    """All that the user may see: undecided first, then by severity and due date."""
    worst_first = Case(
        *(When(severity=s, then=Value(-rank)) for s, rank in RANK.items()),
        default=Value(0),
        output_field=IntegerField(),
    )
    decided_last = Case(
        When(state=TicketState.DECIDED, then=Value(1)),
        default=Value(0),
        output_field=IntegerField(),
    )
    rows = Ticket.objects.select_related(
        "change_event__model_version__model__provider", "assignee", "policy"
    )
    return visible(user, rows, team_path=TEAM).order_by(
        decided_last, worst_first, "due_at", "number"
    )


def undecided(user: Any) -> QuerySet[Ticket]:
    return tickets(user).filter(state__in=UNDECIDED)


def overdue(user: Any) -> QuerySet[Ticket]:
    return undecided(user).filter(due_at__lt=clock.now())


def waiting_for(user: Any) -> list[Ticket]:
    """What needs this person now: a proposal to confirm, or a ticket of theirs to propose for."""
    if not can(user, "ticket.propose") and not can(user, "ticket.confirm"):
        return []
    rows = undecided(user).filter(Q(state=TicketState.PROPOSED) | Q(assignee=user))
    return [t for t in rows if {m.name for m in moves_for(t, user)} & {"confirm", "propose"}]


def standing_actions(ticket: Ticket) -> QuerySet[ControlAction]:
    """What the policy did and nobody undid."""
    return ticket.control_actions.filter(reversed_at__isnull=True).order_by("kind", "target_name")
