"""The acts on a ticket: decisions of two people, comments, its owner, what the policy did."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from apps.access.auth import of_request
from apps.accounts.models import User
from apps.accounts.permissions import can
from apps.core.errors import Conflict, GovTrackError, NotFound, StaleVersion
from apps.core.errors import ReauthenticationRequired as Reauthenticate
from apps.tickets import controls, services
from apps.tickets.lifecycle import moves_for, proposal
from apps.tickets.models import ControlAction, Decision, Ticket
from apps.web import ticketdata
from apps.web.forms_work import AnswerForm, AssignForm, CommentForm, DecisionForm, SendBackForm
from apps.web.lists import add_error, signed_in
from apps.web.views.tickets import DRAFT, assignable_people, find_ticket, ticket_page

DRAFT_MOST = 20_000
# The forms of the page, and the move of the lifecycle that each makes.
MOVE_OF = {
    "decide": "propose",
    "answer": "confirm",
    "back": "send_back",
    "comment": "comment",
    "assign": "assign",
}


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
        row = find_ticket(request, row.number)
        if form is None:
            return ticket_page(request, row, error=error, status=error.status)
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
            return ticket_page(request, row, error=error, status=error.status)
        return ticket_page(request, row, forms={name: form}, status=error.status)
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
    return ticket_page(request, row, forms={name: form}, status=400)


@login_required
@require_POST
def ticket_propose(request: HttpRequest, number: int) -> HttpResponse:
    row = find_ticket(request, number)
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
    row = find_ticket(request, number)
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
    row = find_ticket(request, number)

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
    row = find_ticket(request, number)
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
    row = find_ticket(request, number)
    form = AssignForm(request.POST, people=assignable_people(row), auto_id="assign_%s")
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
    row = find_ticket(request, number)
    action = get_object_or_404(ControlAction, pk=pk, ticket=row)

    def act() -> str:
        controls.reverse_action(
            actor=signed_in(request), action=action, reason=request.POST.get("reason", "")
        )
        return f"Reversed: {action.get_kind_display().lower()} ({action.target_name})."

    return _act(request, row, act)
