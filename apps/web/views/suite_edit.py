"""Editing a suite in the page: one case, what holds for all cases, and trying a case."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.permissions import can, require
from apps.core.errors import GovTrackError
from apps.evaluations import stored, suites, trying
from apps.evaluations.models import SuiteRevision
from apps.evaluations.suitefile import Suite, SuiteError
from apps.registry.selectors import versions
from apps.web.forms_suites import CaseForm, SuiteForm
from apps.web.lists import add_error, param, signed_in
from apps.web.views.suites import visible_suites


def _newest(request: HttpRequest, slug: str) -> SuiteRevision:
    user = signed_in(request)
    row = get_object_or_404(visible_suites(user), slug=slug)
    require(user, "suite.edit", row)
    newest = row.revisions.select_related("suite").order_by("-number").first()
    if newest is None:
        raise Http404
    return newest


def _crumbs(revision: SuiteRevision, last: str) -> list[dict[str, str]]:
    return [
        {"label": "Suites", "href": reverse("web:suite_list")},
        {
            "label": revision.suite.name,
            "href": reverse("web:suite", args=[revision.suite.slug]),
        },
        {"label": last},
    ]


def _versions(user: Any) -> Any:
    allowed = [v.pk for v in versions(user) if can(user, "run.start", v)]
    return versions(user).filter(pk__in=allowed)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def case(request: HttpRequest, slug: str) -> HttpResponse:
    """`?case=` names the case; without it a new one is written."""
    revision = _newest(request, slug)
    suite = stored.frame_of(revision.pk)
    name = param(request, "case")
    row = revision.cases.filter(case_id=name).first()
    if name and row is None:
        raise Http404
    before = stored.case_of(row).canonical() if row else {}
    choices = {"suite": suite, "versions": _versions(signed_in(request))}
    context: dict[str, Any] = {"problems": [], "tried": None, "fresh": row is None}
    if request.method == "POST":
        form = CaseForm(request.POST, **choices)
        stale = request.POST.get("revision") != str(revision.number)
        if stale:
            form.add_error(None, f"Somebody saved revision {revision.number} meanwhile.")
        elif form.is_valid():
            written = form.case(before)
            if "try" in request.POST:
                context |= _tried(request, revision, form, written)
            elif (
                saved := _save_case(request, revision, form, before, written, context)
            ) is not None:
                return saved
    else:
        form = CaseForm(initial=CaseForm.initial_of(before) if before else {}, **choices)
    context |= {
        "nav": "suites",
        "form": form,
        "revision": revision,
        "case_id": name,
        "remove_fields": {"case": name},
        "own_messages": "messages" in before or suite.prompt is None,
        "crumbs": _crumbs(revision, name or "New case"),
    }
    status = 400 if form.errors or context["problems"] else 200
    return render(request, "web/suite_case.html", context, status=status)


def _save_case(
    request: HttpRequest,
    revision: SuiteRevision,
    form: CaseForm,
    before: dict[str, Any],
    written: dict[str, Any],
    context: dict[str, Any],
) -> HttpResponse | None:
    moved = bool(before) and before["id"] != written["id"]
    if not before and revision.cases.filter(case_id=written["id"]).exists():
        form.add_error("case_id", "There is a case with this id. Choose another.")
        return None
    try:
        saved, created = suites.revise(
            actor=signed_in(request),
            revision=revision,
            reason=form.cleaned_data["reason"],
            set_cases=[written],
            remove_cases=[before["id"]] if moved else [],
        )
    except SuiteError as error:
        context["problems"] = error.problems
        return None
    except GovTrackError as error:
        add_error(form, error)
        return None
    said = f"Saved as revision {saved.number}." if created else "Nothing changed."
    messages.success(request, said)
    return redirect("web:suite", revision.suite.slug)


def _tried(
    request: HttpRequest, revision: SuiteRevision, form: CaseForm, written: dict[str, Any]
) -> dict[str, Any]:
    version = form.cleaned_data["version"]
    if version is None:
        form.add_error("version", "Choose the version that is asked.")
        return {}
    try:
        suite: Suite = suites.changed(revision, set_cases=[written], changes={})
        case = next(c for c in suite.cases if c.id == written["id"])
        tried = trying.try_case(
            actor=signed_in(request),
            model_version=version,
            revision=revision,
            suite=suite,
            case=case,
        )
    except SuiteError as error:
        return {"problems": error.problems}
    except GovTrackError as error:
        add_error(form, error)
        return {}
    labels = {m.scorer: m.label for m in suite.metrics}
    scores = [
        {"label": labels.get(key, key), "value": r.value, "why": r.explanation}
        for key, r in tried.scores.items()
    ]
    return {"tried": tried, "tried_scores": scores, "tried_version": version}


@login_required
@require_POST
def case_remove(request: HttpRequest, slug: str) -> HttpResponse:
    revision = _newest(request, slug)
    name = request.POST.get("case", "").replace("\x00", "")[:120]
    try:
        saved, _ = suites.revise(
            actor=signed_in(request),
            revision=revision,
            reason=request.POST.get("reason", "").replace("\x00", ""),
            remove_cases=[name],
        )
    except SuiteError as error:
        messages.error(request, error.problems[0].message)
    except GovTrackError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Removed {name}: saved as revision {saved.number}.")
    return redirect("web:suite", revision.suite.slug)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def suite_edit(request: HttpRequest, slug: str) -> HttpResponse:
    revision = _newest(request, slug)
    document = stored.document_of(stored.frame_of(revision.pk))
    problems: list[Any] = []
    if request.method == "POST":
        form = SuiteForm(request.POST)
        if request.POST.get("revision") != str(revision.number):
            form.add_error(None, f"Somebody saved revision {revision.number} meanwhile.")
        elif form.is_valid():
            try:
                saved, created = suites.revise(
                    actor=signed_in(request),
                    revision=revision,
                    reason=form.cleaned_data["reason"],
                    changes=form.changes(document),
                )
            except SuiteError as error:
                problems = error.problems
            except GovTrackError as error:
                add_error(form, error)
            else:
                said = f"Saved as revision {saved.number}." if created else "Nothing changed."
                messages.success(request, said)
                return redirect("web:suite", revision.suite.slug)
    else:
        form = SuiteForm(initial=SuiteForm.initial_of(document))
    context = {
        "nav": "suites",
        "form": form,
        "revision": revision,
        "problems": problems,
        "crumbs": _crumbs(revision, "Edit"),
    }
    status = 400 if form.errors or problems else 200
    return render(request, "web/suite_edit.html", context, status=status)
