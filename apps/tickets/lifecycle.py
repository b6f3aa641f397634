"""The life of a ticket, as a table. It guards the services and draws the buttons.

open ─propose→ decision proposed ─confirm (another person)→ decided
  ↑────────── send back, withdraw ──────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.accounts.models import User
from apps.accounts.permissions import can, require
from apps.core.errors import Conflict, NotAllowed
from apps.registry.lifecycle import Move, not_independent
from apps.tickets.models import Decision, Outcome, Ticket, TicketState

T = TicketState
UNDECIDED = (T.OPEN, T.PROPOSED)
# Outcomes after which the version may be used (again): these need an independent second person.
BACK_IN_USE = (Outcome.REAPPROVE, Outcome.CONDITIONS, Outcome.FALSE_ALARM)
Block = Callable[[Ticket, "Decision | None", Any], str]


def _proposer(ticket: Ticket, decision: Decision | None, actor: Any) -> str:
    if decision and decision.proposed_by_id == actor.pk:
        return "You proposed this decision; somebody else must answer it."
    return ""


def _not_proposer(ticket: Ticket, decision: Decision | None, actor: Any) -> str:
    if decision and decision.proposed_by_id != actor.pk:
        return "Only the person who proposed a decision can withdraw it."
    return ""


def _dependent(ticket: Ticket, decision: Decision | None, actor: Any) -> str:
    if decision is None or decision.outcome not in BACK_IN_USE:
        return ""
    for approval in ticket.approvals.select_related("use_case", "model_version"):
        if sentence := not_independent(approval, actor):
            return sentence
    return ""


@dataclass(frozen=True)
class Rule:
    move: str
    label: str
    sources: tuple[TicketState, ...]
    action: str
    blocks: tuple[Block, ...] = ()
    danger: bool = False
    needs_reason: bool = False


RULES: dict[str, Rule] = {
    rule.move: rule
    for rule in (
        Rule("propose", "Propose a decision", (T.OPEN,), "ticket.propose", needs_reason=True),
        Rule(
            "confirm",
            "Confirm the decision",
            (T.PROPOSED,),
            "ticket.confirm",
            (_proposer, _dependent),
            danger=True,
        ),
        Rule(
            "send_back",
            "Send back",
            (T.PROPOSED,),
            "ticket.confirm",
            (_proposer,),
            needs_reason=True,
        ),
        Rule("withdraw", "Withdraw", (T.PROPOSED,), "ticket.propose", (_not_proposer,)),
        Rule("assign", "Assign", UNDECIDED, "ticket.assign"),
        Rule("comment", "Comment", (*UNDECIDED, T.DECIDED), "ticket.comment", needs_reason=True),
    )
}


def proposal(ticket: Ticket) -> Decision | None:
    """The decision that waits for a second person."""
    return ticket.decisions.filter(state=Decision.State.PROPOSED).first()


def moves_for(ticket: Ticket, user: User) -> list[Move]:
    """The buttons that this person gets, in the table's order."""
    waiting = proposal(ticket) if ticket.state == T.PROPOSED else None
    return [
        Move(rule.move, rule.label, rule.danger, rule.needs_reason)
        for rule in RULES.values()
        if ticket.state in rule.sources
        and can(user, rule.action, ticket)
        and not any(block(ticket, waiting, user) for block in rule.blocks)
    ]


def require_role(ticket: Ticket, move: str, actor: Any) -> None:
    """Raises NotFound or NotAllowed."""
    require(actor, RULES[move].action, ticket)


def guard(ticket: Ticket, move: str, actor: Any, decision: Decision | None = None) -> None:
    """Raise unless `actor` may make `move` now: NotFound, NotAllowed, or Conflict (state)."""
    rule = RULES[move]
    require_role(ticket, move, actor)
    if ticket.state not in rule.sources:
        states = " or ".join(T(s).label.lower() for s in rule.sources)
        raise Conflict(
            f"{ticket} is in the state “{ticket.get_state_display().lower()}”; for “{rule.label}” "
            f"it would have to be {states}.",
            field="state",
            remedy="Reload to see what happened to it.",
        )
    for block in rule.blocks:
        if sentence := block(ticket, decision, actor):
            raise NotAllowed(sentence, remedy="Ask a colleague with the role to do it.")
