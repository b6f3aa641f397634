"""Which version should answer which suite, and what will that take?"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from apps.accounts.permissions import can, require
from apps.core.errors import GovTrackError
from apps.evaluations import budgets, estimating, services
from apps.evaluations.models import Run, SuiteRevision
from apps.registry.selectors import versions
from apps.web.forms_work import RunForm
from apps.web.lists import add_error, as_uuid, chosen, param, signed_in


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def run_new(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    require(user, "run.start")
    teams = [v.pk for v in versions(user) if can(user, "run.start", v)]
    newest = (
        SuiteRevision.objects.filter(suite__archived=False)
        .order_by("suite_id", "-number")
        .distinct("suite_id")
    )
    choices = {
        "versions": versions(user).filter(pk__in=teams),
        "revisions": SuiteRevision.objects.filter(pk__in=newest.values("pk"))
        .select_related("suite")
        .order_by("suite__name"),
    }
    estimate = None
    if request.method == "POST":
        form = RunForm(request.POST, **choices)
        if form.is_valid():
            given = form.cleaned_data
            asked = {
                "model_version": given["version"],
                "suite_revision": given["suite"],
                "replicates": given["replicates"],
                **form.limits(),
            }
            estimate = _estimate(asked)
            if "estimate" in request.POST:
                return _form(request, form, choices, estimate)
            try:
                run = services.start_run(
                    actor=user,
                    purpose=given["purpose"],
                    urgency=Run.Urgency.URGENT if given["urgent"] else Run.Urgency.NORMAL,
                    reason=given["reason"],
                    **asked,
                )
            except GovTrackError as error:
                add_error(form, error, model_version="version", suite_revision="suite")
            else:
                messages.success(request, "The run is queued. This page follows it.")
                return redirect("web:run", run.pk)
    else:
        form = RunForm(initial=_preselected(request, choices), **choices)
    return _form(request, form, choices, estimate)


def _form(
    request: HttpRequest, form: RunForm, choices: dict[str, Any], estimate: dict[str, Any] | None
) -> HttpResponse:
    context = {
        "nav": "runs",
        "form": form,
        "estimate": estimate,
        "crumbs": [{"label": "Runs", "href": reverse("web:run_list")}, {"label": "New run"}],
        "no_versions": not choices["versions"].exists(),
        "no_suites": not choices["revisions"].exists(),
    }
    return render(request, "web/run_new.html", context, status=400 if form.errors else 200)


def _estimate(asked: dict[str, Any]) -> dict[str, Any]:
    """The estimate in words."""
    found = estimating.estimate(**asked)
    cost = "no price is known" if found.cost is None else budgets.money(found.cost, found.currency)
    return {
        "sentence": f"About {found.calls:,} calls, {found.prompt_tokens:,} tokens of prompts and "
        f"{found.completion_tokens:,} of answers; {cost}.",
        "basis": found.basis,
        "exceeds": found.exceeds,
    }


def _preselected(request: HttpRequest, choices: dict[str, Any]) -> dict[str, Any]:
    initial: dict[str, Any] = {"purpose": chosen(request, "purpose", Run.Purpose.values)}
    if not initial["purpose"]:
        initial["purpose"] = Run.Purpose.MANUAL
    if initial["purpose"] == Run.Purpose.BASELINE:
        initial["replicates"] = 3
    initial["version"] = as_uuid(param(request, "version")) or _only(choices["versions"])
    suite = param(request, "suite")
    by = {"pk": as_uuid(suite)} if as_uuid(suite) else {"suite__slug": suite}
    if suite and (found := choices["revisions"].filter(**by).first()):
        initial["suite"] = found.pk
    else:
        initial["suite"] = _only(choices["revisions"])
    return initial


def _only(rows: QuerySet[Any]) -> uuid.UUID | None:
    """What there is nothing to choose from is chosen."""
    found = list(rows.values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else None
