"""Tickets: who must decide what by when, and the two people who decide."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from apps.access.auth import of_request
from apps.accounts.models import User
from apps.accounts.permissions import can
from apps.core import clock
from apps.core.errors import Conflict, GovTrackError, NotFound, StaleVersion
from apps.core.errors import ReauthenticationRequired as Reauthenticate
from apps.drift.models import BrokenAssumption
from apps.tickets import controls, selectors, services
from apps.tickets.lifecycle import moves_for, proposal
from apps.tickets.models import ControlAction, Decision, Severity, Ticket, TicketState
from apps.web import ticketdata
from apps.web.forms_work import AnswerForm, AssignForm, CommentForm, DecisionForm, SendBackForm
from apps.web.lists import add_error, chosen, listing, param, select, short, signed_in

DRAFT = "ticket-draft-{}"  # what was typed before a fresh sign-in was asked for
DRAFT_MOST = 20_000
# The forms of the page, and the move of the lifecycle that each makes.
MOVE_OF = {
    "decide": "propose",
    "answer": "confirm",
    "back": "send_back",
    "comment": "comment",
    "assign": "assign",
}


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
    said = f"{count:,} ticket{' waits' if count == 1 else 's wait'} for a decision"
    late = selectors.overdue(user).count()
    if late:
        said += f"; {late:,} {'is' if late == 1 else 'are'} overdue"
    mine = waiting.filter(_mine(user)).distinct().count()
    if mine:
        said += f"; {mine:,} need{'s' if mine == 1 else ''} you"
    return f"{said}."


def _ticket(request: HttpRequest, number: int) -> Ticket:
    return get_object_or_404(selectors.tickets(signed_in(request)), number=number)


@login_required
@require_GET
def ticket(request: HttpRequest, number: int) -> HttpResponse:
    return _page(request, _ticket(request, number))


def _page(
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
        people = _people(row)
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


def _people(row: Ticket) -> QuerySet[User]:
    keys = [user.pk for user in ticketdata.assignable(row)]
    return User.objects.filter(pk__in=keys).order_by("display_name", "email")


def _to(row: Ticket) -> str:
    return reverse("web:ticket", args=[row.number])


Act = Callable[[], str]


def _act(
    request: HttpRequest,
    row: Ticket,
    act: Act,
    *,
    form: Any = None,
    name: str = "",
    draft: dict[str, Any] | None = None,
) -> HttpResponse:
    """Do it and go back to the ticket; every error is shown there, with what was typed."""
    key = DRAFT.format(row.pk)
    try:
        said = act()
    except NotFound:
        raise Http404 from None
    except Reauthenticate as error:
        request.session[key] = {**request.session.get(key, {}), **(draft or {})}
        messages.warning(request, f"{error.message} What you typed is kept.")
        there = reverse("account_reauthenticate")
        return redirect(f"{there}?{urlencode({'next': _to(row)})}")
    except GovTrackError as error:
        row = _ticket(request, row.number)
        if form is None:
            return _page(request, row, error=error, status=error.status)
        if isinstance(error, StaleVersion):
            form = _renewed(form, row)
            sentence = (
                "Somebody else changed this ticket since you opened it. What you see now is its "
                "present state, and what you typed is still here: read, then send it again."
            )
            form.add_error(None, sentence)
        elif not (isinstance(form, DecisionForm) and form.add_problems(error.problems)):
            add_error(form, error)
        if MOVE_OF[name] not in {m.name for m in moves_for(row, signed_in(request))}:
            # The page no longer shows this form: its error must not vanish with it.
            return _page(request, row, error=error, status=error.status)
        return _page(request, row, forms={name: form}, status=error.status)
    request.session.pop(key, None)
    messages.success(request, said)
    return redirect(_to(row))


def _renewed(form: Any, row: Ticket) -> Any:
    """The same form with the ticket's present version number, still holding what was typed."""
    data = form.data.copy()
    data["row_version"] = str(row.row_version)
    form.data = data
    return form


def _invalid(request: HttpRequest, row: Ticket, name: str, form: Any) -> HttpResponse:
    return _page(request, row, forms={name: form}, status=400)


@login_required
@require_POST
def ticket_propose(request: HttpRequest, number: int) -> HttpResponse:
    row = _ticket(request, number)
    form = DecisionForm(request.POST, broken=ticketdata.broken_of(row))
    if not form.is_valid():
        if "propose" not in {m.name for m in moves_for(row, signed_in(request))}:
            return _act(request, row, lambda: _propose(request, row, {}))
        return _invalid(request, row, "decide", form)
    given = form.cleaned_data
    changes = form.assumption_changes()
    draft = {n: v for n, v in given.items() if v not in (None, "") and n != "row_version"}
    draft = {n: v[:DRAFT_MOST] if isinstance(v, str) else v for n, v in draft.items()}
    return _act(
        request,
        row,
        lambda: _propose(request, row, {**given, "assumption_changes": changes}),
        form=form,
        name="decide",
        draft={"propose": draft},
    )


def _propose(request: HttpRequest, row: Ticket, given: dict[str, Any]) -> str:
    decision = services.propose_decision(
        auth=of_request(request),
        ticket=row,
        outcome=given.get("outcome", ""),
        rationale=given.get("rationale", ""),
        conditions=given.get("conditions", ""),
        assumption_changes=given.get("assumption_changes", ()),
        row_version=given.get("row_version"),
    )
    outcome = decision.get_outcome_display().lower()
    return f"Proposed: {outcome}. A second person must confirm it before it takes effect."


def _waiting(row: Ticket, form: AnswerForm) -> Decision:
    """The proposal that the form was about. Raises Conflict when it is not there any more."""
    waiting = proposal(row)
    read = form.cleaned_data.get("decision")
    if waiting is None or (read and read != waiting.pk):
        raise Conflict(
            "The proposal that you read is no longer waiting.",
            field="state",
            remedy="Read what is there now, then answer.",
        )
    return waiting


def _answer(
    request: HttpRequest, number: int, name: str, act: Callable[[Decision, str], str]
) -> HttpResponse:
    row = _ticket(request, number)
    kind = SendBackForm if name == "back" else AnswerForm
    form = kind(request.POST, auto_id=f"{name}_%s")
    if not form.is_valid():
        return _invalid(request, row, name, form)
    reason = form.cleaned_data["reason"]
    return _act(
        request,
        row,
        lambda: act(_waiting(row, form), reason),
        form=form,
        name=name,
        draft={"answer": {"reason": reason[:DRAFT_MOST]}},
    )


@login_required
@require_POST
def ticket_confirm(request: HttpRequest, number: int) -> HttpResponse:
    def act(decision: Decision, reason: str) -> str:
        services.confirm_decision(auth=of_request(request), decision=decision, reason=reason)
        return f"Confirmed: {decision.get_outcome_display().lower()}. The gate follows it now."

    return _answer(request, number, "answer", act)


@login_required
@require_POST
def ticket_send_back(request: HttpRequest, number: int) -> HttpResponse:
    def act(decision: Decision, reason: str) -> str:
        services.send_back_decision(auth=of_request(request), decision=decision, reason=reason)
        return f"Sent back to {decision.proposed_by.name}."

    return _answer(request, number, "back", act)


@login_required
@require_POST
def ticket_withdraw(request: HttpRequest, number: int) -> HttpResponse:
    row = _ticket(request, number)

    def act() -> str:
        waiting = proposal(row)
        if waiting is None:
            raise Conflict(
                "There is no proposal to withdraw.", field="state", remedy="Reload to see why."
            )
        services.withdraw_decision(auth=of_request(request), decision=waiting)
        return "Withdrawn. The ticket is open again."

    return _act(request, row, act)


@login_required
@require_POST
def ticket_comment(request: HttpRequest, number: int) -> HttpResponse:
    row = _ticket(request, number)
    form = CommentForm(request.POST, auto_id="comment_%s")
    text = request.POST.get("text", "")

    def act() -> str:
        services.comment(actor=signed_in(request), ticket=row, text=text)
        return "Comment added."

    if not form.is_valid() and can(signed_in(request), "ticket.comment", row):
        return _invalid(request, row, "comment", form)
    return _act(request, row, act, form=form, name="comment")


@login_required
@require_POST
def ticket_assign(request: HttpRequest, number: int) -> HttpResponse:
    row = _ticket(request, number)
    form = AssignForm(request.POST, people=_people(row), auto_id="assign_%s")
    may = can(signed_in(request), "ticket.assign", row)
    if not form.is_valid() and may:
        return _invalid(request, row, "assign", form)
    given = form.cleaned_data if may else {}

    def act() -> str:
        found = services.assign(
            actor=signed_in(request),
            ticket=row,
            assignee=cast("User | None", given.get("assignee")),
            row_version=given.get("row_version"),
        )
        return f"{row} belongs to {found.assignee.name if found.assignee else 'nobody'} now."

    return _act(request, row, act, form=form if may else None, name="assign")


@login_required
@require_POST
def ticket_reverse(request: HttpRequest, number: int, pk: uuid.UUID) -> HttpResponse:
    row = _ticket(request, number)
    action = get_object_or_404(ControlAction, pk=pk, ticket=row)

    def act() -> str:
        controls.reverse_action(
            actor=signed_in(request), action=action, reason=request.POST.get("reason", "")
        )
        return f"Reversed: {action.get_kind_display().lower()} ({action.target_name})."

    return _act(request, row, act)
