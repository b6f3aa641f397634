"""What the ticket and change pages tell: the story in order, the checklist, the gate, the acts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.permissions import ACTIONS, approvers, can
from apps.audit.models import AuditEvent
from apps.audit.selectors import history_for
from apps.drift.models import BrokenAssumption, ChangeEvent
from apps.evaluations.models import Run, RunState
from apps.registry import gate
from apps.registry.lifecycle import LIVE
from apps.registry.models import Assumption, ModelVersion, UseCase
from apps.registry.selectors import live_approvals
from apps.registry.selectors import use_cases as visible_use_cases
from apps.tickets.models import ControlAction, Decision, Outcome, Ticket, TicketState


@dataclass(frozen=True)
class Step:
    """One line of the story."""

    at: dt.datetime
    shape: str
    tone: str
    who: str
    what: str
    text: str = ""
    href: str = ""


_TONES = {"changed_material": "bad", "changed_immaterial": "warn"}


def story(ticket: Ticket) -> list[Step]:
    """Everything that happened, oldest first: findings, comments, decisions, acts of the policy."""
    event = ticket.change_event
    steps = [
        Step(
            event.window_start,
            "ring",
            "mute",
            event.model_version.label,
            "last seen answering as approved.",
        ),
        Step(
            ticket.created_at,
            "triangle",
            "bad",
            "GovTrack",
            f"opened {ticket} by policy {ticket.policy.number}.",
            ticket.severity_reason,
        ),
    ]
    for look in event.comparisons.select_related("baseline__suite_revision__suite"):
        suite = look.baseline.suite_revision.suite.name
        tone = _TONES.get(look.verdict, "mute")
        said = f"found it {look.get_verdict_display().lower()}."
        steps.append(
            Step(
                look.created_at,
                "triangle-line" if tone == "warn" else "triangle",
                tone,
                f"Look {look.look} on {suite}",
                said,
                look.reason,
                reverse("web:comparison", args=[look.pk]),
            )
        )
    steps += [
        Step(c.created_at, "dot", "", c.author.name, "commented.", c.text)
        for c in ticket.comments.select_related("author")
    ]
    for action in ticket.control_actions.select_related("reversed_by"):
        steps += _control_steps(action)
    for decision in ticket.decisions.select_related("proposed_by", "answered_by"):
        steps += _decision_steps(decision)
    wanted = ("tickets.ticket_raised", "tickets.assigned", "vendors.change_classified")
    for entry in history_for(ticket, event).filter(action__in=wanted):
        steps.append(_entry_step(entry))
    if event.state == ChangeEvent.State.CLOSED and ticket.decided_at:
        steps.append(Step(ticket.decided_at, "check", "ok", f"Change {event}", "was closed."))
    return sorted(steps, key=lambda step: step.at)


def _control_steps(action: ControlAction) -> list[Step]:
    shape = "pause" if action.kind == ControlAction.Kind.HOLD_APPROVAL else "clock"
    what = f"{action.get_kind_display().lower()}: {action.target_name}."
    steps = [Step(action.created_at, shape, "warn", "The policy", what)]
    if action.reversed_at and action.reversed_by:
        steps.append(
            Step(
                action.reversed_at,
                "dash",
                "",
                action.reversed_by.name,
                f"reversed it: {what}",
                action.reverse_reason,
            )
        )
    return steps


def _decision_steps(decision: Decision) -> list[Step]:
    outcome = decision.get_outcome_display().lower()
    text = decision.rationale
    if decision.conditions:
        text += f"\nConditions: {decision.conditions}"
    if decision.assumption_changes:
        text += f"\n{changes_text(decision.assumption_changes)}"
    steps = [
        Step(
            decision.created_at,
            "half",
            "info",
            decision.proposed_by.name,
            f"proposed: {outcome}.",
            text,
        )
    ]
    if decision.answered_at:
        who = decision.answered_by.name if decision.answered_by else decision.proposed_by.name
        verb, shape, tone = {
            Decision.State.CONFIRMED: ("confirmed", "check", "ok"),
            Decision.State.REJECTED: ("sent back", "cross", "bad"),
            Decision.State.WITHDRAWN: ("withdrew", "dash", "mute"),
        }.get(Decision.State(decision.state), ("answered", "dot", ""))
        what = f"{verb} the proposal: {outcome}."
        steps.append(Step(decision.answered_at, shape, tone, who, what, decision.answer_reason))
    return steps


def _entry_step(entry: AuditEvent) -> Step:
    what = entry.summary
    if what.startswith(f"{entry.actor_name} "):
        what = what.removeprefix(f"{entry.actor_name} ")
    else:
        what = f"· {what}"
    raised = entry.action == "tickets.ticket_raised"
    shape, tone = ("triangle", "bad") if raised else ("dot", "")
    return Step(entry.occurred_at, shape, tone, entry.actor_name, what)


def changes_text(changes: list[dict[str, Any]]) -> str:
    parts = [
        f"{c.get('code')} dropped" if c.get("drop") else f"{c.get('code')} → {c.get('threshold')}"
        for c in changes
    ]
    return "Assumptions: " + ", ".join(parts)


@dataclass(frozen=True)
class Check:
    done: bool
    text: str
    help: str = ""


def checklist(ticket: Ticket) -> list[Check]:
    """What has to happen before this is over, each line read from the data."""
    event = ticket.change_event
    decisions = list(ticket.decisions.select_related("proposed_by", "answered_by"))
    confirmed = next((d for d in decisions if d.state == Decision.State.CONFIRMED), None)
    proposed = next((d for d in decisions if d.state == Decision.State.PROPOSED), confirmed)
    fresh = Run.objects.filter(
        model_version=event.model_version_id,
        purpose=Run.Purpose.BASELINE,
        state=RunState.COMPLETE,
        finished_at__gte=event.window_end,
    ).exists()
    who = f" by {proposed.proposed_by.name}" if proposed else ""
    second = f" by {confirmed.answered_by.name}" if confirmed and confirmed.answered_by else ""
    return [
        Check(bool(ticket.assignee_id), "Somebody owns it"),
        Check(ticket.comments.exists(), "The change was discussed", "A comment counts."),
        Check(
            fresh,
            "Baseline run on the changed model",
            "Wanted for a re-approval; without it the reruns since the change serve.",
        ),
        Check(proposed is not None, f"A decision was proposed{who}"),
        Check(confirmed is not None, f"A second person confirmed it{second}"),
    ]


def gates(user: Any, version: ModelVersion, ticket: Ticket | None) -> list[gate.GateAnswer]:
    """The gate now, for each use case that the change touches and the person may see."""
    approvals = ticket.approvals.all() if ticket else live_approvals(version)
    touched = UseCase.objects.filter(pk__in=approvals.values("use_case"))
    seen = visible_use_cases(user).filter(pk__in=touched)
    return [gate.check(use_case=u, model_version=version) for u in seen]


@dataclass(frozen=True)
class ControlRow:
    action: ControlAction
    consequence: str
    standing: bool  # may still be reversed: a hold ends with the decision

    @property
    def id(self) -> str:
        return f"reverse-{self.action.pk.hex}"


def control_rows(ticket: Ticket | None) -> list[ControlRow]:
    if ticket is None:
        return []
    rows = ticket.control_actions.select_related("reversed_by").order_by("kind", "target_name")
    decided = ticket.state == TicketState.DECIDED
    return [
        ControlRow(
            action=action,
            consequence=_consequence(action),
            standing=not action.reversed_at
            and not (decided and action.kind == ControlAction.Kind.HOLD_APPROVAL),
        )
        for action in rows
    ]


def _consequence(action: ControlAction) -> str:
    if action.kind == ControlAction.Kind.HOLD_APPROVAL:
        return (
            f"{action.target_name} is released from hold at once, and the gate answers as before "
            "the ticket. The policy will not put it on hold again for this ticket."
        )
    return (
        f"{action.target_name} may decide without a fresh sign-in. The policy will not ask again "
        "for this ticket."
    )


def deciders(version: ModelVersion) -> list[User]:
    return list(approvers(version.team_id).order_by("display_name", "email")[:30])


def assignable(ticket: Ticket) -> list[User]:
    """Who could work on it."""
    people = User.objects.filter(
        is_active=True, role_assignments__role__in=ACTIONS["ticket.propose"]
    ).distinct()
    return [u for u in people.order_by("display_name", "email") if can(u, "ticket.propose", ticket)]


def broken_of(ticket: Ticket) -> list[tuple[Assumption, float | None]]:
    """Assumptions of approvals in force or on hold that no longer hold, with their value now."""
    rows = BrokenAssumption.objects.filter(
        change_event=ticket.change_event_id,
        assumption__approval__in=ticket.approvals.filter(state__in=LIVE),
    ).select_related("assumption__approval__use_case")
    rows = rows.order_by("assumption__approval__number", "assumption__code")
    return [(row.assumption, row.value_now) for row in rows]


def what_happens(ticket: Ticket, decision: Decision) -> str:
    """What a confirmation does, and to whom."""
    uses = sorted({str(a.use_case) for a in ticket.approvals.select_related("use_case")})
    named = ", ".join(uses) or "no use case"
    version = ticket.change_event.model_version
    return {
        Outcome.REAPPROVE: f"New approvals take the place of the present ones for {named}; the "
        f"answers since the change become the baseline, and the gate opens for {version}.",
        Outcome.CONDITIONS: f"The approvals for {named} become conditional, the answers since the "
        "change become the baseline, and the gate says “conditional”.",
        Outcome.SUSPEND: f"From this moment the gate denies {version} to {named}. Only a new "
        "approval by two people lifts it.",
        Outcome.RETIRE: f"The approvals of {version} for {named} are revoked for good, and it is "
        "no longer watched.",
        Outcome.FALSE_ALARM: f"The approvals for {named} are released, and the watch begins again "
        "on the old answers.",
    }[Outcome(decision.outcome)]


def is_overdue(ticket: Ticket, now: dt.datetime) -> bool:
    return ticket.state != TicketState.DECIDED and ticket.due_at < now
