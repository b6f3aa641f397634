"""Suites: what each measures and what not, its cases, and how to bring one in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Max, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.permissions import can, require, roles_of
from apps.core.errors import GovTrackError
from apps.evaluations import services, suitefile
from apps.evaluations.models import Suite, SuiteRevision
from apps.evaluations.suites_api import as_yaml
from apps.web.forms_work import SuiteImportForm
from apps.web.lists import add_error, chosen, listing, param, select, signed_in
from apps.web.suitedata import case_stats, main_metric, recent_runs, revision_diff
from apps.web.views.runs import visible_runs


def visible_suites(user: Any) -> QuerySet[Suite]:
    """Suites belong to the organisation: any role may see them."""
    return Suite.objects.all() if roles_of(user) else Suite.objects.none()


@login_required
@require_GET
def suite_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    suites = visible_suites(user)
    words = param(request, "q")
    sort = chosen(request, "sort", ("name", "newest")) or "name"
    rows = suites.annotate(newest=Max("revisions__created_at"))
    rows = rows.order_by("name", "id") if sort == "name" else rows.order_by("-newest", "id")
    if words:
        rows = rows.filter(
            Q(name__icontains=words) | Q(summary__icontains=words) | Q(slug__icontains=words)
        )
    page = listing(request, rows, size=24)
    count = suites.count()
    may_edit = can(user, "suite.edit")
    context = {
        "nav": "suites",
        "page": page,
        "cards": [_card(user, suite) for suite in page.rows],
        "q": words,
        "selects": [
            select(
                "sort",
                "Order",
                "" if sort == "name" else sort,
                [("newest", "Newest first")],
                "By name",
            )
        ],
        "count": count,
        "may_edit": may_edit,
        "sentence": _list_sentence(user, count),
    }
    return render(request, "web/suite_list.html", context)


def _list_sentence(user: Any, count: int) -> str:
    if not count:
        return "No suite is stored yet, so nothing can be measured."
    cases = sum(
        SuiteRevision.objects.order_by("suite_id", "-number")
        .distinct("suite_id")
        .values_list("case_count", flat=True)
    )
    return (
        f"{count:,} suite{' asks' if count == 1 else 's ask'} {cases:,} stored "
        f"question{'' if cases == 1 else 's'}, the same ones each time."
    )


def _card(user: Any, suite: Suite) -> dict[str, Any]:
    revision = suite.revisions.order_by("-number").first()
    if revision is None:
        return {"suite": suite, "revision": None}
    runs = recent_runs(visible_runs(user), revision)
    spec, last = main_metric(revision), runs[0] if runs else None
    flaky = sum(stats.flaky for stats in case_stats(revision, runs[:3]).values())
    return {
        "suite": suite,
        "revision": revision,
        "not_measures": revision.document.get("not_measured", ""),
        "pass_rate": last.totals.get("metrics", {}).get(spec["key"]) if last and spec else None,
        "flaky": flaky,
        "last_run": last.finished_at if last else None,
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def suite_import(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    require(user, "suite.edit")
    problems: list[suitefile.Problem] = []
    left_out = 0
    if request.method == "POST":
        form = SuiteImportForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                suite = _read(form.cleaned_data)
                revision, created = services.import_suite(actor=user, suite=suite)
            except suitefile.SuiteError as error:
                problems, left_out = error.problems, error.left_out
            except GovTrackError as error:
                add_error(form, error)
            else:
                said = f"Stored as revision {revision.number}: {revision.case_count} cases."
                if not created:
                    said = f"Exactly this suite is stored already, as revision {revision.number}."
                messages.success(request, said)
                return redirect(f"{reverse('web:suite', args=[revision.suite.slug])}")
    else:
        form = SuiteImportForm(initial={"shipped": param(request, "shipped")})
    context = {
        "nav": "suites",
        "form": form,
        "problems": problems,
        "left_out": left_out,
        "problem_count": len(problems) + left_out,
        "crumbs": [{"label": "Suites", "href": reverse("web:suite_list")}, {"label": "Import"}],
    }
    status = 400 if problems or form.errors else 200
    return render(request, "web/suite_import.html", context, status=status)


def _read(given: dict[str, Any]) -> suitefile.Suite:
    """Raises SuiteError with every problem and its place."""
    if given["shipped"]:
        return suitefile.load_suite_dir(Path(settings.EVALS_DIR) / given["shipped"])
    cases = given["cases"].read() if given["cases"] else None
    return suitefile.parse_suite_bytes(
        given["file"].read(), filename=given["file"].name[:120], cases=cases
    )


def _revision(request: HttpRequest, suite: Suite) -> SuiteRevision:
    wanted = param(request, "revision")
    rows = suite.revisions.select_related("suite", "imported_by").order_by("-number")
    if not wanted:
        if (newest := rows.first()) is None:
            raise Http404
        return newest
    if not (wanted.isascii() and wanted.isdigit()) or len(wanted) > 9:
        raise Http404
    return get_object_or_404(rows, number=int(wanted))


@login_required
@require_GET
def suite(request: HttpRequest, slug: str) -> HttpResponse:
    user = signed_in(request)
    row = get_object_or_404(visible_suites(user), slug=slug)
    revision = _revision(request, row)
    revisions = list(row.revisions.select_related("imported_by").order_by("-number"))
    runs = recent_runs(visible_runs(user), revision)
    stats = case_stats(revision, runs)
    words, tag = param(request, "q"), param(request, "tag")
    cases = revision.cases.order_by("position")
    tags = _tags(revision)
    if words:
        cases = cases.annotate(written=Cast("document", TextField())).filter(
            Q(case_id__icontains=words) | Q(written__icontains=words)
        )
    if tag:
        cases = cases.filter(document__tags__contains=[tag])
    page = listing(request, cases, size=50)
    older = next((r for r in revisions if r.number == revision.number - 1), None)
    document = revision.document
    newest = revisions[0]
    context = {
        "nav": "suites",
        "suite": row,
        "revision": revision,
        "revisions": revisions,
        "newest": newest,
        "document": document,
        "page": page,
        "cases": [{"row": case, "stats": stats.get(case.pk)} for case in page.rows],
        "has_stats": bool(stats),
        "flaky": sum(s.flaky for s in stats.values()),
        "runs": runs[:5],
        "q": words,
        "hidden": {"revision": revision.number} if revision != newest else {},
        "filtered": bool(words or tag),
        "selects": [select("tag", "Tag", tag, [(t, t) for t in tags], "Every tag")] if tags else [],
        "diff": revision_diff(older, revision) if older else None,
        "older": older,
        "may_run": can(user, "run.start") and not row.archived,
        "may_edit": can(user, "suite.edit"),
        "crumbs": [{"label": "Suites", "href": reverse("web:suite_list")}, {"label": row.name}],
    }
    return render(request, "web/suite.html", context)


def _tags(revision: SuiteRevision) -> list[str]:
    found: set[str] = set()
    for tags in revision.cases.values_list("document__tags", flat=True):
        found.update(str(t) for t in tags or [])
    return sorted(found)[:100]


@login_required
@require_GET
def suite_export(request: HttpRequest, slug: str) -> HttpResponse:
    row = get_object_or_404(visible_suites(signed_in(request)), slug=slug)
    return as_yaml(_revision(request, row))
