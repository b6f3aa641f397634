"""Who may do what here? For administrators."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.accounts import selectors, services
from apps.accounts.models import Role
from apps.accounts.permissions import require
from apps.web.forms_inventory import PersonForm
from apps.web.inventory import attempt, capital, count, options, paged, person, query, word


@login_required
def people(request: HttpRequest) -> HttpResponse:
    require(request.user, "accounts.manage")
    form = PersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = attempt(
            form, lambda: services.create_user(actor=person(request), **form.cleaned_data)
        )
        if made:
            messages.success(request, f"{made.name} may sign in as {made.email} now.")
            return redirect("web:people")
    everybody = selectors.people()
    rows = everybody
    if q := query(request):
        rows = rows.filter(Q(display_name__icontains=q) | Q(email__icontains=q))
    role = request.GET.get("role", "")
    if role == "none":
        rows = rows.filter(role_assignments__isnull=True)
    elif role in Role.values:
        rows = rows.filter(role_assignments__role=role).distinct()
    page = paged(request, rows)
    page.rows[:] = [
        {
            "person": p,
            "roles": ", ".join(
                Role(a.role).label + (f" ({a.team})" if a.team else "")
                for a in p.role_assignments.all()
            ),
        }
        for p in page.rows
    ]
    total = everybody.filter(is_active=True, is_service=False).count()
    admins = selectors.administrators().count()
    return render(
        request,
        "web/people.html",
        {
            "lede": f"{capital(count(total, 'person', 'people'))} may sign in, "
            f"{word(admins)} of them as administrator.",
            "page": page,
            "q": q,
            "filtered": bool(q or role),
            "selects": [
                {
                    "name": "role",
                    "label": "Role",
                    "value": role,
                    "options": options([*Role.choices, ("none", "No role")], "Every role"),
                }
            ],
            "form": form,
        },
    )
