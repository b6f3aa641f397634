"""What may this person do, and should it stay so? For administrators."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.access.services import lock_out
from apps.accounts import services
from apps.accounts.models import Role, RoleAssignment, Team, User
from apps.accounts.permissions import require
from apps.audit.selectors import history_for
from apps.core.errors import GovTrackError, NotFound
from apps.web.forms_inventory import GrantForm
from apps.web.inventory import attempt, link, word
from apps.web.inventory import person as asker

# What each role is for, in a line, where somebody gives it.
MEANS = {
    Role.ADMINISTRATOR: "people, endpoints, policies",
    Role.GOVERNANCE_LEAD: "approves and decides",
    Role.MODEL_OWNER: "registers, runs, requests approvals",
    Role.VALIDATOR: "validates and confirms",
    Role.AUDITOR: "reads everything, changes nothing",
    Role.SERVICE: "a machine: runs and the gate",
}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def person(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """GET shows; POST gives a role."""
    require(request.user, "accounts.manage")
    row = get_object_or_404(User, pk=pk)
    form = GrantForm(request.POST or None, is_service=row.is_service)
    if request.method == "POST" and form.is_valid():
        given = attempt(
            form,
            lambda: services.grant_role(actor=asker(request), user=row, **form.cleaned_data),
            {"roles": "role"},
        )
        if given:
            messages.success(request, f"{row.name} is {Role(given.role).label.lower()} now.")
            return redirect("web:person", pk=row.pk)
    return _page(request, row, form)


@login_required
@require_POST
def person_revoke(request: HttpRequest, pk: uuid.UUID, assignment: uuid.UUID) -> HttpResponse:
    require(request.user, "accounts.manage")
    row = get_object_or_404(User, pk=pk)
    held = get_object_or_404(RoleAssignment.objects.select_related("team"), pk=assignment, user=row)
    label = Role(held.role).label.lower()
    try:
        reason = _said(request)
        services.revoke_role(actor=asker(request), assignment=held, reason=reason)
    except NotFound:
        raise
    except GovTrackError as error:
        return _page(request, row, error=error)
    messages.success(request, f"{row.name} is no longer {label}.")
    return redirect("web:person", pk=row.pk)


@login_required
@require_POST
def person_deactivate(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    require(request.user, "accounts.manage")
    row = get_object_or_404(User, pk=pk)
    try:
        lock_out(actor=asker(request), user=row, reason=_said(request))
    except NotFound:
        raise
    except GovTrackError as error:
        return _page(request, row, error=error)
    messages.success(request, f"{row.name} may not sign in any more; sessions and tokens ended.")
    return redirect("web:person", pk=row.pk)


def _said(request: HttpRequest) -> str:
    """The reason, which the page always asks for."""
    return services.clean_text(
        request.POST.get("reason", ""), field="reason", label="The reason", longest=200
    )


def _page(
    request: HttpRequest,
    row: User,
    form: GrantForm | None = None,
    *,
    error: GovTrackError | None = None,
) -> HttpResponse:
    held = row.role_assignments.select_related("team", "granted_by").order_by("role", "granted_at")
    return render(
        request,
        "web/person.html",
        {
            "nav": "people",
            "person": row,
            "lede": _sentence(row, list(held)),
            "held": [
                {
                    "row": a,
                    "label": Role(a.role).label,
                    "means": MEANS[Role(a.role)],
                    "href": link("web:person_revoke", row.pk, a.pk),
                    "id": f"revoke-{a.pk.hex}",
                    "title": f"Take “{Role(a.role).label}” from {row.name}?",
                }
                for a in held
            ],
            "form": form or GrantForm(is_service=row.is_service),
            "teams": Team.objects.exists(),
            "mine": row.pk == asker(request).pk,
            "error": error,
            "entries": history_for(row).order_by("-occurred_at", "-id")[:8],
            "history": link("web:history", object=f"accounts.user:{row.pk}"),
            "crumbs": [
                {"label": "People", "href": link("web:people")},
                {"label": row.name},
            ],
        },
        status=error.status if error else 200,
    )


def _sentence(row: User, held: list[RoleAssignment]) -> str:
    if not row.is_active:
        return f"{row.name} is deactivated, and may not sign in."
    if not held:
        return f"{row.name} may sign in, and sees nothing: no role was given yet."
    names = [Role(a.role).label.lower() + (f" ({a.team})" if a.team else "") for a in held]
    if len(names) > 3:
        return f"{row.name} has {word(len(names))} roles."
    listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
    return f"{row.name} acts as {listed}."
