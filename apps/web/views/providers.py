"""Who serves the models, where, and under what terms."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.accounts.permissions import can, require
from apps.registry import selectors, services
from apps.registry.models import Endpoint, Provider
from apps.web.forms_inventory import (
    EndpointEditForm,
    EndpointForm,
    ModelForm,
    NewProviderForm,
    ProviderEditForm,
)
from apps.web.inventory import attempt, capital, chosen, count, found, link, paged, query, word

EDIT = "registry.edit_provider"
SORTS = {"name", "-name", "endpoints", "-endpoints", "models", "-models"}


@login_required
def provider_list(request: HttpRequest) -> HttpResponse:
    everything = selectors.providers(request.user)
    rows = everything.annotate(
        endpoints_n=Count("endpoints", distinct=True), models_n=Count("models", distinct=True)
    )
    if q := query(request):
        rows = rows.filter(Q(name__icontains=q) | Q(slug__icontains=q))
    sort = request.GET.get("sort", "name")
    key = sort if sort in SORTS else "name"
    order = key if key.endswith("name") else f"{key}_n"
    page = paged(request, rows.order_by(order, "name"))
    total = everything.count()
    lede = f"{capital(count(total, 'provider'))} {'serves' if total == 1 else 'serve'} models here."
    return render(
        request,
        "web/provider_list.html",
        {
            "lede": lede if total else "No provider is registered yet.",
            "page": page,
            "q": q,
            "total": total,
            "may_edit": can(request.user, EDIT),
        },
    )


@login_required
def provider_new(request: HttpRequest) -> HttpResponse:
    require(request.user, EDIT)
    form = NewProviderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = attempt(
            form,
            lambda: services.create_provider(actor=request.user, **form.cleaned_data),
        )
        if made:
            messages.success(request, f"{made} registered. Next: where it serves, and a model.")
            return redirect("web:provider", slug=made.slug)
    return render(
        request,
        "web/form.html",
        {
            "lede": "Who serves the model?",
            "form": form,
            "submit": "Register provider",
            "back": link("web:provider_list"),
            "crumbs": [
                {"label": "Providers", "href": link("web:provider_list")},
                {"label": "New"},
            ],
        },
    )


@login_required
def provider(request: HttpRequest, slug: str) -> HttpResponse:
    row = found(selectors.providers(request.user), slug=slug)
    user = request.user
    editing = request.GET.get("edit", "")
    endpoint = chosen(selectors.endpoints(user).filter(provider=row), editing)
    what = request.POST.get("form", "")
    forms = _forms(request, row, endpoint, what)
    if request.method == "POST":
        done = _act(request, row, endpoint, what, forms)
        if done:
            messages.success(request, done)
            return redirect("web:provider", slug=row.slug)
    endpoints = list(
        row.endpoints.annotate(versions_n=Count("versions")).order_by("-active", "name")
    )
    models = list(row.models.annotate(versions_n=Count("versions")).order_by("name"))
    active = sum(e.active for e in endpoints)
    return render(
        request,
        "web/provider.html",
        {
            "provider": row,
            "lede": f"{row} serves {count(len(models), 'model')} at "
            f"{word(active)} {'endpoint' if active == 1 else 'endpoints'} in use.",
            "endpoints": [{"row": e, "credential": _credential(e)} for e in endpoints],
            "models": models,
            "may_edit": can(user, EDIT),
            "may_model": can(user, "registry.edit_version"),
            "edit_provider": editing == "provider" and can(user, EDIT),
            "edit_endpoint": endpoint if can(user, EDIT) else None,
            "crumbs": [
                {"label": "Providers", "href": link("web:provider_list")},
                {"label": row.name},
            ],
            **forms,
        },
    )


def _credential(endpoint: Endpoint) -> str:
    """What may be said of it: a variable's name, or that there is one."""
    if endpoint.credential_ciphertext:
        return "stored encrypted"
    if endpoint.credential_ref.startswith("env:"):
        return endpoint.credential_ref
    return "from a file" if endpoint.credential_ref else "none"


def _forms(
    request: HttpRequest, row: Provider, endpoint: Endpoint | None, what: str
) -> dict[str, Any]:
    def data(name: str) -> Any:
        return request.POST if request.method == "POST" and what == name else None

    stored = {n: getattr(row, n) for n in ("name", "website", "terms", "row_version")}
    forms: dict[str, Any] = {
        "provider_form": ProviderEditForm(data("provider"), initial=stored, prefix="provider"),
        "new_endpoint": EndpointForm(data("new-endpoint"), prefix="endpoint"),
        "new_model": ModelForm(data("new-model"), prefix="model"),
        "posted": what,
    }
    if endpoint:
        names = [n for n in EndpointEditForm.base_fields if hasattr(endpoint, n)]
        forms["endpoint_form"] = EndpointEditForm(
            data("endpoint"), initial={n: getattr(endpoint, n) for n in names}, prefix="edit"
        )
    return forms


def _act(
    request: HttpRequest,
    row: Provider,
    endpoint: Endpoint | None,
    what: str,
    forms: dict[str, Any],
) -> str:
    """What was done, in a sentence; "" when a form must be shown again."""
    user = request.user
    require(user, "registry.edit_version" if what == "new-model" else EDIT)
    if what == "provider":
        form = forms["provider_form"]
        if form.is_valid() and attempt(
            form,
            lambda: services.update_provider(actor=user, provider=row, **form.cleaned_data),
        ):
            return "Provider saved."
    elif what == "new-endpoint":
        form = forms["new_endpoint"]
        if form.is_valid() and attempt(
            form, lambda: services.create_endpoint(actor=user, provider=row, **form.values())
        ):
            return "Endpoint added."
    elif what == "new-model":
        form = forms["new_model"]
        if form.is_valid() and attempt(
            form, lambda: services.create_model(actor=user, provider=row, **form.cleaned_data)
        ):
            return "Model added. Next: register a version of it."
    elif what == "endpoint" and endpoint:
        form = forms["endpoint_form"]
        if form.is_valid() and attempt(
            form, lambda: services.update_endpoint(actor=user, endpoint=endpoint, **form.values())
        ):
            return "Endpoint saved."
    return ""
