"""Tickets: who must decide what by when, and the two people who decide."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from apps.accounts.models import User
from apps.accounts.permissions import can
from apps.core import clock
from apps.core.errors import GovTrackError
from apps.drift.models import BrokenAssumption
from apps.tickets import selectors
from apps.tickets.lifecycle import moves_for, proposal
from apps.tickets.models import Decision, Severity, Ticket, TicketState
from apps.web import ticketdata
from apps.web.forms_work import AnswerForm, AssignForm, CommentForm, DecisionForm, SendBackForm
from apps.web.inventory import capital
from apps.web.inventory import count as numbered
from apps.web.lists import chosen, listing, param, select, short, signed_in

DRAFT = "ticket-draft-{}"  # what was typed before a fresh sign-in was asked for


@login_required
@require_GET
def ticket_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    everything = selectors.tickets(user)
    state = chosen(request, "state", [*TicketState.values, "undecided", "overdue"])
    severity = chosen(request, "severity", Severity.values)
    mine, words = chosen(request, "owner", ("me", "nobody")), param(request, "q")
    rows = everything
    if state == "undecided":
        rows = selectors.undecided(user)
    elif state == "overdue":
        rows = selectors.overdue(user)
    elif state:
        rows = rows.filter(state=state)
    if severity:
        rows = rows.filter(severity=severity)
    if mine == "me":
        rows = rows.filter(assignee=user)
    elif mine == "nobody":
        rows = rows.filter(assignee__isnull=True)
    if words:
        number = words.upper().removeprefix("RT-")
        found = Q(change_event__model_version__label__icontains=words) | Q(
            change_event__sentence__icontains=words
        )
        if number.isascii() and number.isdigit() and len(number) <= 9:
            found |= Q(number=int(number))
        rows = rows.filter(found)
    sort = param(request, "sort")
    if sort in ("due", "-due"):
        rows = rows.order_by("due_at" if sort == "due" else "-due_at", "number")
    elif sort in ("number", "-number"):
        rows = rows.order_by(sort)
    page = listing(request, rows)
    now = clock.now()
    context = {
        "nav": "tickets",
        "page": page,
        "rows": [{"ticket": t, "overdue": ticketdata.is_overdue(t, now)} for t in page.rows],
        "q": words,
        "filtered": bool(state or severity or mine or words),
        "any": bool(page.count) or everything.exists(),
        "selects": [
            select(
                "state",
                "State",
                state,
                [("undecided", "Not decided"), ("overdue", "Overdue"), *TicketState.choices],
                "Every state",
            ),
            select("severity", "Severity", severity, Severity.choices, "Every severity"),
            select("owner", "Owner", mine, [("me", "Mine"), ("nobody", "Nobody's")], "Everybody's"),
        ],
        "hidden": {"sort": sort} if sort else {},
        "sentence": _list_sentence(user),
    }
    return render(request, "web/ticket_list.html", context)


def _mine(user: User) -> Q:
    """Their own to propose for, or proposed by somebody else: in one query, however many."""
    found = Q(pk__in=[])
    if can(user, "ticket.propose"):
        found |= Q(state=TicketState.OPEN, assignee=user)
    if can(user, "ticket.confirm"):
        proposed = Decision.objects.filter(state=Decision.State.PROPOSED)
        others = proposed.exclude(proposed_by=user)
        found |= Q(state=TicketState.PROPOSED, pk__in=others.values("ticket"))
    return found


def _list_sentence(user: User) -> str:
    waiting = selectors.undecided(user)
    count = waiting.count()
    if not count:
        return "No change waits for a decision."
    said = capital(f"{numbered(count, 'ticket waits', 'tickets wait')} for a decision")
    late = selectors.overdue(user).count()
    if late:
        said += f"; {numbered(late, 'is', 'are')} overdue"
    mine = waiting.filter(_mine(user)).distinct().count()
    if mine:
        said += f"; {numbered(mine, 'needs', 'need')} you"
    return f"{said}."


def find_ticket(request: HttpRequest, number: int) -> Ticket:
    return get_object_or_404(selectors.tickets(signed_in(request)), number=number)


@login_required
@require_GET
def ticket(request: HttpRequest, number: int) -> HttpResponse:
    return ticket_page(request, find_ticket(request, number))


def ticket_page(
    request: HttpRequest,
    row: Ticket,
    *,
    error: GovTrackError | None = None,
    forms: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    user = signed_in(request)
    event = row.change_event
    waiting = proposal(row)
    moves = {move.name for move in moves_for(row, user)}
    draft = request.session.get(DRAFT.format(row.pk), {})
    shown = forms or {}
    broken = ticketdata.broken_of(row)
    fresh = {"row_version": row.row_version}
    if "propose" in moves and "decide" not in shown:
        shown["decide"] = DecisionForm(initial={**draft.get("propose", {}), **fresh}, broken=broken)
    if moves & {"confirm", "send_back"} and waiting:
        told = {**draft.get("answer", {}), "decision": waiting.pk}
        shown.setdefault("answer", AnswerForm(initial=told, auto_id="answer_%s"))
        shown.setdefault("back", SendBackForm(initial=told, auto_id="back_%s"))
    if "comment" in moves:
        shown.setdefault("comment", CommentForm(auto_id="comment_%s"))
    if "assign" in moves:
        people = assignable_people(row)
        start = {**fresh, "assignee": row.assignee_id}
        shown.setdefault("assign", AssignForm(initial=start, people=people, auto_id="assign_%s"))
    context = {
        "nav": "tickets",
        "ticket": row,
        "event": event,
        "version": event.model_version,
        "crumbs": [{"label": "Tickets", "href": reverse("web:ticket_list")}, {"label": str(row)}],
        "sentence": _sentence(row, waiting),
        "story": ticketdata.story(row),
        "checklist": ticketdata.checklist(row),
        "gates": ticketdata.gates(user, event.model_version, row),
        "controls": ticketdata.control_rows(row),
        "may_reverse": can(user, "control.reverse", row),
        "deciders": ticketdata.deciders(event.model_version),
        "overdue": ticketdata.is_overdue(row, clock.now()),
        "broken": _all_broken(row),
        "waiting": waiting,
        "consequence": ticketdata.what_happens(row, waiting) if waiting else "",
        "restated": ticketdata.changes_text(waiting.assumption_changes)
        if waiting and waiting.assumption_changes
        else "",
        "decided": row.decisions.filter(state=Decision.State.CONFIRMED)
        .select_related("proposed_by", "answered_by")
        .first(),
        "moves": moves,
        "forms": shown,
        "kept": bool(draft) and not forms,
        "error": error,
        "why_not": _why_not(row, user, moves, waiting),
    }
    return render(request, "web/ticket.html", context, status=status)


def _sentence(row: Ticket, waiting: Decision | None) -> str:
    version = short(row.change_event.model_version.label)
    uses = sorted({short(a.use_case.name) for a in row.approvals.select_related("use_case")})
    named = ", ".join(uses[:3]) + (f" and {len(uses) - 3} more" if len(uses) > 3 else "")
    due = f"{row.due_at:%a %d %b %H:%M} UTC"
    if row.state == TicketState.DECIDED:
        done = row.decisions.filter(state=Decision.State.CONFIRMED).first()
        outcome = done.get_outcome_display().lower() if done else "decided"
        return f"Decided for {version} and {named}: {outcome}."
    if waiting:
        outcome = waiting.get_outcome_display().lower()
        return f"By {due}: does a second person agree to “{outcome}” for {version}?"
    return f"Decide by {due}: is {version} still fit for {named or 'its use'}?"


def _all_broken(row: Ticket) -> QuerySet[BrokenAssumption]:
    return row.change_event.broken_assumptions.select_related("assumption__approval").order_by(
        "assumption__approval__number", "assumption__code"
    )


def _why_not(row: Ticket, user: User, moves: set[str], waiting: Decision | None) -> str:
    """Why a person who looks for the button does not find one."""
    if row.state == TicketState.DECIDED or moves & {"propose", "confirm"}:
        return ""
    if waiting and waiting.proposed_by_id == user.pk:
        return "You proposed this decision; somebody else must answer it."
    if waiting and can(user, "ticket.confirm", row):
        return "This outcome needs a second person who owns neither the version nor the use case."
    if waiting:
        return "A second person with the role to confirm decides now."
    return "Your role may read this ticket, not decide it."


def assignable_people(row: Ticket) -> QuerySet[User]:
    keys = [user.pk for user in ticketdata.assignable(row)]
    return User.objects.filter(pk__in=keys).order_by("display_name", "email")
