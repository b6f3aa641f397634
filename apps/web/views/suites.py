"""Suites: what each measures and what not, its cases, and how to bring one in."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.db.models import Max, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.permissions import can, require, roles_of
from apps.core.errors import GovTrackError, InvalidInput
from apps.evaluations import imports, suitefile, suites
from apps.evaluations.imports.converting import Converted, convert
from apps.evaluations.models import Suite, SuiteRevision
from apps.evaluations.quality import WORDS
from apps.evaluations.revisions import difference, same_cases
from apps.evaluations.suites_api import exported
from apps.web.forms_suites import SuiteImportForm
from apps.web.inventory import capital
from apps.web.inventory import count as numbered
from apps.web.lists import add_error, chosen, listing, param, select, signed_in
from apps.web.suitedata import (
    case_stats,
    main_metric,
    over_revisions,
    quality,
    recent_runs,
)
from apps.web.views.runs import visible_runs

PREVIEW_SECONDS = 3600
LOOKS = {
    "flagged": "Worth a look",
    "flaky": "Flaky",
    "always": "Always right",
    "never": "Never right",
}


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
    ask = capital(numbered(count, "suite asks", "suites ask"))
    return f"{ask} {numbered(cases, 'stored question')}, the same ones each time."


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
    """A suite is stored at once; another tool's file is first shown as what it would become."""
    user = signed_in(request)
    require(user, "suite.edit")
    problems: list[suitefile.Problem] = []
    left_out = 0
    preview: Converted | None = None
    token = ""
    if request.method == "POST" and request.POST.get("token"):
        return _store_previewed(request)
    if request.method == "POST":
        form = SuiteImportForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                given = _read(form.cleaned_data)
                if isinstance(given, Converted):
                    preview, token = given, _keep(user, given)
                else:
                    revision, created = suites.import_suite(actor=user, suite=given)
                    return _stored(request, revision, created)
            except suitefile.SuiteError as error:
                problems, left_out = error.problems, error.left_out
            except imports.ImportRefused as error:
                form.add_error("file", str(error))
            except GovTrackError as error:
                add_error(form, error)
    else:
        form = SuiteImportForm(initial={"shipped": param(request, "shipped")})
    context = {
        "nav": "suites",
        "form": form,
        "problems": problems,
        "left_out": left_out,
        "problem_count": len(problems) + left_out,
        "crumbs": [{"label": "Suites", "href": reverse("web:suite_list")}, {"label": "Import"}],
        "preview": preview,
        "token": token,
    }
    if preview is not None:
        context["first_cases"] = [
            {"case": c, "asks": suitefile.render_case(preview.suite, c)}
            for c in preview.suite.cases[:5]
        ]
        return render(request, "web/suite_preview.html", context)
    status = 400 if problems or form.errors else 200
    return render(request, "web/suite_import.html", context, status=status)


def _stored(request: HttpRequest, revision: SuiteRevision, created: bool) -> HttpResponse:
    said = f"Stored as revision {revision.number}: {revision.case_count} cases."
    if not created:
        said = f"Exactly this suite is stored already, as revision {revision.number}."
    messages.success(request, said)
    return redirect(f"{reverse('web:suite', args=[revision.suite.slug])}")


def _read(given: dict[str, Any]) -> suitefile.Suite | Converted:
    """Raises SuiteError with every problem and its place, and ImportRefused."""
    if given["shipped"]:
        return suitefile.load_suite_dir(Path(settings.EVALS_DIR) / given["shipped"])
    cases = given["cases"].read() if given["cases"] else None
    data, filename = given["file"].read(), given["file"].name[:120]
    kind = given["format"] or imports.guess(filename, data)
    if kind and kind != "govtrack" and cases is None:
        names = ("slug", "name", "license", "source", "personal_data")
        return convert(
            kind,
            data,
            filename=filename,
            head=imports.Head(**{name: given[name] for name in names}),
            options=imports.Options(given["scorer"], given["prompt"]),
        )
    return suitefile.parse_suite_bytes(data, filename=filename, cases=cases)


def _keep(user: Any, given: Converted) -> str:
    """Hold what was read until the person has looked at it; a browser keeps no chosen file."""
    token = secrets.token_urlsafe(24)
    kept = {
        "user": str(user.pk),
        "suite": suitefile.pack_suite(given.suite),
        "origin": given.origin,
    }
    cache.set(f"suite-import:{token}", kept, PREVIEW_SECONDS)
    return token


def _store_previewed(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    kept = cache.get(f"suite-import:{request.POST['token'][:64]}")
    if kept is None or kept["user"] != str(user.pk):
        messages.error(request, "That preview is no longer kept. Choose the file again.")
        return redirect("web:suite_import")
    frame, cases = kept["suite"]
    suite = suitefile.parse_suite_bytes(frame, filename="suite.json", cases=cases)
    reason = request.POST.get("reason", "").replace("\x00", "")
    revision, created = suites.import_suite(
        actor=user, suite=suite, reason=reason, origin=kept["origin"]
    )
    return _stored(request, revision, created)


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
    stats = quality(revision, runs)
    words, tag = param(request, "q"), param(request, "tag")
    look = chosen(request, "look", LOOKS)
    cases = revision.cases.order_by("position")
    tags = _tags(revision)
    if words:
        cases = cases.annotate(written=Cast("document", TextField())).filter(
            Q(case_id__icontains=words) | Q(written__icontains=words)
        )
    if tag:
        cases = cases.filter(document__tags__contains=[tag])
    if look:
        cases = cases.filter(pk__in=[pk for pk, one in stats.items() if _looks(one, look)])
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
        "cases": [_case_row(case, stats.get(case.pk)) for case in page.rows],
        "has_stats": bool(stats),
        "flaky": sum(s.flaky for s in stats.values()),
        "runs": runs[:5],
        "q": words,
        "hidden": {"revision": revision.number} if revision != newest else {},
        "flagged": sum(bool(s.flags) for s in stats.values()),
        "legend": [WORDS[f] for f in WORDS if any(f in s.flags for s in stats.values())],
        "filtered": bool(words or tag or look),
        "selects": [
            *([select("tag", "Tag", tag, [(t, t) for t in tags], "Every tag")] if tags else []),
            *([select("look", "Quality", look, LOOKS.items(), "Every case")] if stats else []),
        ],
        "diff": difference(older, revision) if older else None,
        "forms": [f for f in imports.FORMATS.values() if f.write],
        "older": older,
        "may_run": can(user, "run.start") and not row.archived,
        "may_edit": can(user, "suite.edit"),
        "crumbs": [{"label": "Suites", "href": reverse("web:suite_list")}, {"label": row.name}],
    }
    return render(request, "web/suite.html", context)


def _looks(one: Any, look: str) -> bool:
    if look == "flagged":
        return bool(one.flags)
    return one.flaky if look == "flaky" else look in one.flags


def _case_row(case: Any, stats: Any) -> dict[str, Any]:
    flags = [WORDS[flag] for flag in stats.flags] if stats else []
    return {"row": case, "stats": stats, "flags": flags}


def _tags(revision: SuiteRevision) -> list[str]:
    found: set[str] = set()
    for tags in revision.cases.values_list("document__tags", flat=True):
        found.update(str(t) for t in tags or [])
    return sorted(found)[:100]


@login_required
@require_GET
def suite_export(request: HttpRequest, slug: str) -> HttpResponse:
    row = get_object_or_404(visible_suites(signed_in(request)), slug=slug)
    try:
        return exported(_revision(request, row), param(request, "as"))
    except InvalidInput:
        raise Http404 from None


@login_required
@require_GET
def suite_compare(request: HttpRequest, slug: str) -> HttpResponse:
    """Two revisions: what changed, and what the answers to the cases that stayed say."""
    user = signed_in(request)
    row = get_object_or_404(visible_suites(user), slug=slug)
    second = _revision(request, row)
    rows = list(row.revisions.order_by("-number"))
    wanted = param(request, "against")
    earlier = [r for r in rows if r.number != second.number]
    first = next((r for r in earlier if str(r.number) == wanted), None)
    first = first or next((r for r in earlier if r.number < second.number), None)
    if first is None:
        raise Http404
    if first.number > second.number:
        first, second = second, first
    diff, same = difference(first, second), same_cases(first, second)
    context = {
        "nav": "suites",
        "suite": row,
        "first": first,
        "second": second,
        "diff": diff,
        "same": same,
        "items": [
            (title, group)
            for title, group in (
                ("Cases", diff.cases),
                ("Scorers", diff.scorers),
                ("Metrics", diff.metrics),
            )
            if group
        ],
        "rest": [*diff.facts, *diff.prompt, *diff.asking],
        "over": over_revisions(first, second, same, visible_runs(user)),
        "numbers": [r.number for r in rows],
        "crumbs": [
            {"label": "Suites", "href": reverse("web:suite_list")},
            {"label": row.name, "href": reverse("web:suite", args=[row.slug])},
            {"label": f"Revision {first.number} and {second.number}"},
        ],
    }
    return render(request, "web/suite_compare.html", context)
