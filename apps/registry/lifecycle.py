"""The life of an approval, as a table. It guards the services, draws the buttons, fills the docs.

requested ─validate→ validated ─approve→ approved | conditional ─hold→ on hold ─release→ (back)
    └────────reject────────┘                 └──── suspend, revoke, expire, supersede ────┘
Tiers 1 and 2 need the validator; tiers 3 and 4 may be approved from requested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.accounts.models import User
from apps.accounts.permissions import can, require
from apps.audit.services import System
from apps.core.errors import Conflict, NotAllowed
from apps.core.inputs import text
from apps.registry.models import Approval, ApprovalState

S = ApprovalState
IN_USE = (S.APPROVED, S.CONDITIONAL)
LIVE = (S.APPROVED, S.CONDITIONAL, S.ON_HOLD)
PENDING = (S.REQUESTED, S.VALIDATED)
VALIDATED_TIERS = (1, 2)


@dataclass(frozen=True)
class Move:
    """A button: `name` is the verb, `danger` asks for a confirmation, `needs_reason` for a text."""

    name: str
    label: str
    danger: bool = False
    needs_reason: bool = False


@dataclass(frozen=True)
class Rule:
    """One line of the table. `actions`: any one of them suffices. `blocks` give a sentence why a
    person with the right role may still not ("" for may)."""

    move: str
    label: str
    sources: tuple[ApprovalState, ...]
    target: ApprovalState | None  # None: the state that it was held from
    actions: tuple[str, ...]
    blocks: tuple[Callable[[Approval, Any], str], ...] = ()
    danger: bool = False
    needs_reason: bool = False
    past: str = ""


def _own_request(approval: Approval, actor: Any) -> str:
    if approval.requested_by_id == actor.pk:
        return "Nobody decides on their own request."
    return ""


def _already_validated(approval: Approval, actor: Any) -> str:
    if approval.validated_by_id == actor.pk:
        return "You validated this approval; somebody else must approve it."
    return ""


def not_independent(approval: Approval, actor: Any) -> str:
    """Why a person may not judge a tier 1 or 2 use; "" when they may."""
    if approval.use_case.risk_tier not in VALIDATED_TIERS:
        return ""
    if actor.pk in (approval.use_case.owner_id, approval.model_version.owner_id):
        return (
            f"Tier {approval.use_case.risk_tier} needs somebody independent of the owners, "
            "and you own this use case or this model version."
        )
    return ""


def _needs_validation(approval: Approval, actor: Any) -> str:
    tier = approval.use_case.risk_tier
    if approval.state == S.REQUESTED and tier in VALIDATED_TIERS:
        return f"Tier {tier} must be validated before it can be approved."
    return ""


def _no_assumption(approval: Approval, actor: Any) -> str:
    if not approval.assumptions.exists():
        return "The approval rests on no assumption, so nothing could tell when it goes stale."
    return ""


RULES: dict[str, Rule] = {
    rule.move: rule
    for rule in (
        Rule(
            "validate",
            "Validate",
            (S.REQUESTED,),
            S.VALIDATED,
            ("approval.validate",),
            (_own_request, not_independent, _no_assumption),
            past="validated",
        ),
        Rule(
            "approve",
            "Approve",
            PENDING,
            S.APPROVED,
            ("approval.approve",),
            (_own_request, _already_validated, _needs_validation, _no_assumption),
            past="approved",
        ),
        Rule(
            "reject",
            "Reject",
            PENDING,
            S.REJECTED,
            ("approval.validate", "approval.approve"),
            danger=True,
            needs_reason=True,
            past="rejected",
        ),
        Rule(
            "hold",
            "Put on hold",
            IN_USE,
            S.ON_HOLD,
            ("approval.suspend",),
            danger=True,
            needs_reason=True,
            past="put on hold",
        ),
        Rule(
            "release",
            "Release from hold",
            (S.ON_HOLD,),
            None,
            ("approval.suspend",),
            danger=True,
            needs_reason=True,
            past="released from hold",
        ),
        Rule(
            "suspend",
            "Suspend",
            LIVE,
            S.SUSPENDED,
            ("approval.suspend",),
            danger=True,
            needs_reason=True,
            past="suspended",
        ),
        Rule(
            "revoke",
            "Revoke",
            (*LIVE, S.SUSPENDED),
            S.REVOKED,
            ("approval.suspend",),
            danger=True,
            needs_reason=True,
            past="revoked",
        ),
        # The product's own moves: no person may make them, so no button is drawn.
        Rule("expire", "Expire", LIVE, S.EXPIRED, (), past="expired"),
        Rule("supersede", "Supersede", (*LIVE, S.SUSPENDED), S.SUPERSEDED, (), past="superseded"),
    )
}


def _withdraws(rule: Rule, approval: Approval, actor: Any) -> bool:
    """Whoever asked may take the request back."""
    return rule.move == "reject" and approval.requested_by_id == actor.pk


def _may(rule: Rule, approval: Approval, actor: Any) -> bool:
    if _withdraws(rule, approval, actor):
        return can(actor, "view", approval)
    return any(can(actor, action, approval) for action in rule.actions)


def moves_for(approval: Approval, user: User) -> list[Move]:
    """The buttons that this person gets, in the table's order."""
    moves = []
    for rule in RULES.values():
        if approval.state not in rule.sources or not _may(rule, approval, user):
            continue
        if any(block(approval, user) for block in rule.blocks):
            continue
        label = rule.label
        if _withdraws(rule, approval, user):
            label = "Withdraw request"
        elif rule.move == "approve" and approval.conditions:
            label = "Approve with conditions"
        moves.append(Move(rule.move, label, rule.danger, rule.needs_reason))
    return moves


def guard(
    approval: Approval, move: str, actor: Any, *, reason: str = "", decided: bool = False
) -> str:
    """Raise unless `actor` may make `move` now; returns the cleaned reason.

    `decided`: two people decided elsewhere (a ticket), so the actor's role is not asked again.
    Raises NotFound, NotAllowed (role, or same person), Conflict (state), InvalidInput (reason).
    """
    rule = RULES[move]
    if not decided and not isinstance(actor, System) and not _may(rule, approval, actor):
        for action in rule.actions[-1:] or ("view",):
            require(actor, action, approval)
        raise NotAllowed("The product makes this move by itself.")
    if approval.state not in rule.sources:
        states = " or ".join(S(s).label.lower() for s in rule.sources)
        raise Conflict(
            f"Approval {approval} is {approval.get_state_display().lower()}, so it cannot be "
            f"{rule.past}: it would have to be {states}.",
            field="state",
            remedy="Reload to see what happened to it.",
        )
    for block in rule.blocks:
        if sentence := block(approval, actor):
            kind = Conflict if block in (_needs_validation, _no_assumption) else NotAllowed
            raise kind(sentence, field="state", remedy="Ask a colleague with the role to do it.")
    return text(reason, "reason", required=rule.needs_reason, most=2_000)
