"""Scorings of a run's stored answers: ask for one, follow it, go on with one that stopped."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.permissions import require
from apps.core.errors import GovTrackError
from apps.evaluations import rescoring, scoring
from apps.evaluations.models import Run, Scoring
from apps.registry.models import ModelVersion
from apps.registry.selectors import versions
from apps.web import scorings
from apps.web.forms_scoring import ScoringForm
from apps.web.lists import add_error, short, signed_in
from apps.web.views.runs import visible_runs


def _run(request: HttpRequest, pk: uuid.UUID) -> Run:
    return get_object_or_404(visible_runs(signed_in(request)), pk=pk)


@login_required
@require_GET
def run_scorings(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The part that htmx fetches while a scoring is on its way."""
    row = _run(request, pk)
    context = {"run": row, **scorings.context(request, row)}
    response = render(request, "web/_scorings.html", context)
    response["Cache-Control"] = "no-store"
    return response


@login_required
@require_POST
def run_rescore(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The button: the suite's rules again, with no call."""
    row = _run(request, pk)
    reason = request.POST.get("reason", "").replace("\x00", "")
    try:
        made = rescoring.rescore(actor=signed_in(request), run=row, reason=reason)
    except GovTrackError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, f"Scoring revision {made.number} is on its way. The old scores stay."
        )
    return redirect(reverse("web:run", args=[row.pk]) + "#scorings")


@login_required
@require_POST
def scoring_resume(request: HttpRequest, pk: uuid.UUID, scoring_id: uuid.UUID) -> HttpResponse:
    row = _run(request, pk)
    found = get_object_or_404(Scoring.objects.select_related("run"), run=row, pk=scoring_id)
    try:
        rescoring.resume(actor=signed_in(request), scoring=found)
    except GovTrackError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It goes on. What is scored stays.")
    return redirect(reverse("web:run", args=[row.pk]) + "#scorings")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def scoring_new(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    row, user = _run(request, pk), signed_in(request)
    require(user, "run.control", row)
    plan = scoring.plan_of(row.suite_revision)
    ways = {
        kind: bool(plan.metric_keys(deferred))
        for kind, deferred in (("rules", ""), ("embedding", "embedding"), ("judge", "judge"))
    }
    others = versions(user).exclude(pk=row.model_version_id)
    form = ScoringForm(request.POST or None, ways=ways, versions=others)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        by: ModelVersion | None = given["by_version"]
        try:
            made = rescoring.begin(
                actor=user, run=row, kind=given["kind"], by_version=by, reason=given["reason"]
            )
        except GovTrackError as error:
            add_error(form, error, judge="by_version")
        else:
            messages.success(
                request, f"Scoring revision {made.number} is on its way. The old scores stay."
            )
            return redirect(reverse("web:run", args=[row.pk]) + "#scorings")
    to = reverse("web:run", args=[row.pk])
    context = {
        "nav": "runs",
        "form": form,
        "lede": "Score these answers again?",
        "sublede": "No answer is asked for, and no stored score changes: the new values are a "
        "scoring revision of their own. What watches the version goes on reading revision 1.",
        "submit": "Score",
        "back": to,
        "crumbs": [
            {"label": "Runs", "href": reverse("web:run_list")},
            {"label": short(row.model_version.label, 60), "href": to},
            {"label": "Score again"},
        ],
    }
    return render(request, "web/form.html", context, status=400 if form.errors else 200)
