"""What models are used for, and which version may be used there now."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.accounts.permissions import can, require
from apps.registry import gate, selectors, services
from apps.registry.models import ModelVersion, UseCase
from apps.web.forms_inventory import TIERS, NewUseCaseForm, UseCaseEditForm
from apps.web.inventory import (
    GATE_RANK,
    attempt,
    capital,
    count,
    found,
    link,
    options,
    paged,
    query,
    word,
)

EDIT = "registry.edit_use_case"
SORTS = {"name": "name", "tier": "risk_tier", "process": "process"}


@login_required
def use_case_list(request: HttpRequest) -> HttpResponse:
    everything = selectors.use_cases(request.user)
    rows = everything
    if q := query(request):
        rows = rows.filter(Q(name__icontains=q) | Q(slug__icontains=q) | Q(process__icontains=q))
    tier = request.GET.get("tier", "")
    if tier in {"1", "2", "3", "4"}:
        rows = rows.filter(risk_tier=int(tier))
    sort = request.GET.get("sort", "tier")
    field = SORTS.get(sort.removeprefix("-"), "risk_tier")
    sign = "-" if sort.startswith("-") else ""
    page = paged(request, rows.order_by(f"{sign}{field}", "name"))
    versions = ModelVersion.objects.filter(approvals__use_case__in=[u.pk for u in page.rows])
    answers: dict[object, list[gate.GateAnswer]] = {}
    for found_answers in gate.check_many(
        selectors.versions(request.user).filter(pk__in=versions.values("pk"))
    ).values():
        for answer in found_answers:
            answers.setdefault(answer.use_case.pk, []).append(answer)
    page.rows[:] = [
        {
            "use_case": u,
            "gates": sorted(
                answers.get(u.pk, []), key=lambda a: (GATE_RANK[a.answer], a.model_version.label)
            ),
        }
        for u in page.rows
    ]
    total = everything.count()
    lede = "No use case is registered yet."
    if total:
        high = everything.filter(risk_tier=1).count()
        lede = f"Models serve {count(total, 'use case')}, {word(high)} of them in tier 1."
    return render(
        request,
        "web/use_case_list.html",
        {
            "lede": lede,
            "page": page,
            "q": q,
            "total": total,
            "filtered": bool(q or tier),
            "selects": [
                {
                    "name": "tier",
                    "label": "Risk tier",
                    "value": tier,
                    "options": options([(str(n), f"Tier {n}") for n, _ in TIERS], "Every tier"),
                }
            ],
            "may_edit": can(request.user, EDIT),
        },
    )


@login_required
def use_case_new(request: HttpRequest) -> HttpResponse:
    require(request.user, EDIT)
    form = NewUseCaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: services.create_use_case(actor=request.user, **form.values()))
        if made:
            messages.success(request, f"{made} registered. Next: ask for an approval.")
            return redirect("web:use_case", slug=made.slug)
    return render(
        request,
        "web/form.html",
        {
            "lede": "What is the model used for?",
            "sublede": "The tier decides how many people must agree, and how fast a change is "
            "looked at. Lowering it later needs a governance lead.",
            "form": form,
            "submit": "Register use case",
            "back": link("web:use_case_list"),
            "crumbs": [
                {"label": "Use cases", "href": link("web:use_case_list")},
                {"label": "New"},
            ],
        },
    )


@login_required
def use_case(request: HttpRequest, slug: str) -> HttpResponse:
    row = found(selectors.use_cases(request.user), slug=slug)
    may_edit = can(request.user, EDIT, row)
    form = UseCaseEditForm(request.POST or None, initial=_stored(row))
    if request.method == "POST":
        require(request.user, EDIT, row)
        saved = None
        if form.is_valid():
            saved = attempt(
                form,
                lambda: services.update_use_case(actor=request.user, use_case=row, **form.values()),
            )
        if saved:
            messages.success(request, "Use case saved.")
            return redirect("web:use_case", slug=row.slug)
    approvals = selectors.approvals(request.user).filter(use_case=row)
    asked_for = {a.model_version_id for a in approvals}
    versions = selectors.versions(request.user).filter(pk__in=asked_for)
    gates = [gate.check(use_case=row, model_version=v) for v in versions[:50]]
    gates.sort(key=lambda a: (not a.open, GATE_RANK[a.answer], a.model_version.label))
    return render(
        request,
        "web/use_case.html",
        {
            "use_case": row,
            "lede": _sentence(row, gates),
            "gates": gates,
            "page": paged(request, approvals),
            "may_edit": may_edit,
            "may_request": can(request.user, "approval.request", row),
            "editing": may_edit and (request.method == "POST" or "edit" in request.GET),
            "form": form,
            "crumbs": [
                {"label": "Use cases", "href": link("web:use_case_list")},
                {"label": row.name},
            ],
        },
    )


def _stored(row: UseCase) -> dict[str, object]:
    names = ("name", "risk_tier", "model_role", "description", "process", "gate_fails_open")
    stored: dict[str, object] = {n: getattr(row, n) for n in (*names, "row_version")}
    return stored | {"regulations": ", ".join(row.regulations)}


def _sentence(row: UseCase, gates: list[gate.GateAnswer]) -> str:
    open_gates = [g for g in gates if g.open]
    held = [g for g in gates if g.answer == "hold"]
    if len(open_gates) == 1:
        answer = open_gates[0]
        under = " under conditions" if answer.answer == "conditional" else ""
        said = f"{row} may use {answer.model_version}{under}"
    elif open_gates:
        said = f"{row} may use {count(len(open_gates), 'version')}"
    else:
        said = f"{row} may use no version now"
    if held:
        names = held[0].model_version if len(held) == 1 else capital(count(len(held), "version"))
        said += f"; {names} {'is' if len(held) == 1 else 'are'} on hold"
    return f"{said}."
