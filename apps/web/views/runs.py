"""Runs: what is being asked now, what was answered, and whether it is still the same model."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.permissions import can, require, visible
from apps.core import clock
from apps.core.errors import GovTrackError, NotFound
from apps.drift import services as drift
from apps.drift.models import Comparison
from apps.evaluations import lifecycle, selectors, services
from apps.evaluations.models import Run, RunState, Sample, SampleStatus, Score, SuiteRevision
from apps.evaluations.scoring import FIRST_REVISION
from apps.registry.selectors import versions
from apps.web.forms_work import RunForm
from apps.web.lists import (
    Listing,
    add_error,
    as_uuid,
    chosen,
    listing,
    param,
    select,
    short,
    signed_in,
    sort_order,
)
from apps.web.rundata import answer_rows, metric_rows, pass_filter

UNFINISHED = (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED)
SORTS = {"asked": "created_at", "finished": "finished_at", "version": "model_version__label"}


def visible_runs(user: Any) -> QuerySet[Run]:
    rows = Run.objects.select_related(
        "model_version__model__provider", "suite_revision__suite", "requested_by", "schedule"
    )
    return visible(user, rows, team_path="model_version__team")


@login_required
@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    everything = visible_runs(user)
    state = chosen(request, "state", [*RunState.values, "unfinished"])
    purpose = chosen(request, "purpose", Run.Purpose.values)
    version = as_uuid(param(request, "version"))
    suite, words = param(request, "suite"), param(request, "q")
    rows = everything.order_by(*sort_order(request, SORTS, "-asked"))
    if state == "unfinished":
        rows = rows.filter(state__in=UNFINISHED)
    elif state:
        rows = rows.filter(state=state)
    if purpose:
        rows = rows.filter(purpose=purpose)
    if version:
        rows = rows.filter(model_version=version)
    if suite:
        rows = rows.filter(suite_revision__suite__slug=suite)
    if words:
        rows = rows.filter(
            Q(model_version__label__icontains=words)
            | Q(suite_revision__suite__name__icontains=words)
        )
    page = listing(
        request,
        rows.prefetch_related(Prefetch("comparisons", Comparison.objects.order_by("-created_at"))),
    )
    hidden = {"sort": param(request, "sort"), "suite": suite}
    hidden["version"] = str(version) if version else ""
    context = {
        "nav": "runs",
        "page": page,
        "rows": [{"run": r, "last": [*r.comparisons.all(), None][0]} for r in page.rows],
        "q": words,
        "filtered": bool(state or purpose or version or suite or words),
        "selects": [
            select(
                "state",
                "State",
                state,
                [("unfinished", "Not finished"), *RunState.choices],
                "Every state",
            ),
            select("purpose", "Purpose", purpose, Run.Purpose.choices, "Every purpose"),
        ],
        "hidden": {name: value for name, value in hidden.items() if value},
        "sentence": _list_sentence(everything),
        "may_start": can(user, "run.start"),
        "any": bool(page.count) or everything.exists(),
    }
    return render(request, "web/run_list.html", context)


def _list_sentence(rows: QuerySet[Run]) -> str:
    open_now = rows.filter(state__in=UNFINISHED).count()
    since = clock.now() - dt.timedelta(days=1)
    ended = rows.filter(finished_at__gte=since)
    done, failed = ended.count(), ended.filter(state=RunState.FAILED).count()
    if not open_now and not done:
        return "Nothing is running, and nothing ended in the last 24 hours."
    now = "Nothing is running"
    if open_now:
        now = f"{open_now} run{' is' if open_now == 1 else 's are'} on the way"
    tail = f"{done} ended in the last 24 hours"
    if failed:
        tail += f", {failed} of them failed"
    return f"{now}; {tail}."


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
    if request.method == "POST":
        form = RunForm(request.POST, **choices)
        if form.is_valid():
            given = form.cleaned_data
            try:
                run = services.start_run(
                    actor=user,
                    model_version=given["version"],
                    suite_revision=given["suite"],
                    purpose=given["purpose"],
                    replicates=given["replicates"],
                )
            except GovTrackError as error:
                add_error(form, error, model_version="version", suite_revision="suite")
            else:
                messages.success(request, "The run is queued. This page follows it.")
                return redirect("web:run", run.pk)
    else:
        form = RunForm(initial=_preselected(request, choices), **choices)
    context = {
        "nav": "runs",
        "form": form,
        "crumbs": [{"label": "Runs", "href": reverse("web:run_list")}, {"label": "New run"}],
        "no_versions": not choices["versions"].exists(),
        "no_suites": not choices["revisions"].exists(),
    }
    return render(request, "web/run_new.html", context, status=400 if form.errors else 200)


def _preselected(request: HttpRequest, choices: dict[str, Any]) -> dict[str, Any]:
    initial: dict[str, Any] = {"purpose": chosen(request, "purpose", Run.Purpose.values)}
    if not initial["purpose"]:
        initial["purpose"] = Run.Purpose.MANUAL
    if initial["purpose"] == Run.Purpose.BASELINE:
        initial["replicates"] = 3
    if version := as_uuid(param(request, "version")):
        initial["version"] = version
    suite = param(request, "suite")
    by = {"pk": as_uuid(suite)} if as_uuid(suite) else {"suite__slug": suite}
    if suite and (found := choices["revisions"].filter(**by).first()):
        initial["suite"] = found.pk
    return initial


def _run(request: HttpRequest, pk: uuid.UUID) -> Run:
    return get_object_or_404(visible_runs(signed_in(request)), pk=pk)


@login_required
@require_GET
def run(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    return _page(request, _run(request, pk))


def _page(
    request: HttpRequest, row: Run, error: GovTrackError | None = None, status: int = 200
) -> HttpResponse:
    user = signed_in(request)
    moves = {move.name for move in lifecycle.moves_for(user, row)}
    comparisons = list(row.comparisons.select_related("baseline").order_by("created_at"))
    finished = RunState(row.state) in lifecycle.FINISHED
    context = {
        "nav": "runs",
        "run": row,
        "crumbs": [
            {"label": "Runs", "href": reverse("web:run_list")},
            {"label": f"{short(row.model_version.label, 60)} on {row.suite_revision}"},
        ],
        "error": error,
        "moves": moves,
        "finished": finished,
        "comparisons": comparisons,
        "baselines": list(row.baselines.order_by("created_at")),
        "may_baseline": row.state == RunState.COMPLETE
        and can(user, "baseline.set", row.model_version),
        **_progress_context(request, row),
    }
    if finished:
        context |= _answers_context(request, row)
        context["metrics"] = metric_rows(row, comparisons)
    context["sentence"] = _sentence(row, context["progress"], comparisons)
    return render(request, "web/run.html", context, status=status)


def _sentence(row: Run, progress: selectors.RunProgress, comparisons: list[Comparison]) -> str:
    what = f"{short(row.model_version.label)} on {short(row.suite_revision.suite.name)}"
    count = f"{progress.done:,} of {progress.total:,} answers"
    if row.state == RunState.QUEUED:
        return f"{what} waits for a worker: {count} so far."
    if row.state == RunState.RUNNING:
        return f"{what} is on its way: {count} are in."
    if row.state == RunState.PAUSED:
        return f"{what} is paused: {count} are in, and no call is made."
    if row.state == RunState.FAILED:
        return f"{what} stopped with {count}."
    if row.state == RunState.CANCELLED:
        return f"{what} was cancelled with {count}."
    lost = progress.total - progress.answered
    said = f"All {progress.total:,} answers are in" if not lost else f"{progress.answered:,} of "
    if lost:
        said += f"{progress.total:,} slots have an answer"
    if comparisons:
        verdict = comparisons[-1].get_verdict_display().lower()
        return f"{said}, and against the baseline {what} is {verdict}."
    if row.purpose == Run.Purpose.BASELINE:
        return f"{said}: {what} can serve as a baseline."
    return f"{said}; {what} has no baseline to be compared with."


def _progress_context(request: HttpRequest, row: Run) -> dict[str, Any]:
    progress = selectors.progress(row)
    tenth = int(progress.share * 10) * 10
    eta = None
    if progress.eta_seconds is not None and row.state == RunState.RUNNING:
        eta = clock.now() + dt.timedelta(seconds=min(progress.eta_seconds, 3e7))
    tokens = progress.prompt_tokens + progress.completion_tokens
    context: dict[str, Any] = {
        "run": row,
        "progress": progress,
        "eta": eta,
        "rate": f"{progress.per_second:.1f} answers/s" if progress.per_second else "",
        "tokens": f"{tokens:,} tokens" if tokens else "",
        "failed": sum(progress.errors.values()),
        "errors": sorted(progress.errors.items(), key=lambda item: -item[1]),
        "tenth": tenth,
        # Said aloud at every tenth, not at every second.
        "say": request.GET.get("said") != f"{row.state}-{tenth}",
        "finished": RunState(row.state) in lifecycle.FINISHED,
    }
    if not context["finished"]:
        newest = (
            Sample.objects.filter(month=row.month, run=row)
            .select_related("case")
            .order_by("-answered_at", "-id")[:20]
        )
        context["latest"] = answer_rows(row, list(newest))
    return context


@login_required
@require_GET
def run_progress(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The part that htmx fetches while the run is on its way. At the end the page is reloaded."""
    row = _run(request, pk)
    context = _progress_context(request, row)
    response = render(request, "web/_run_progress.html", context)
    began = request.GET.get("state")
    if context["finished"] or (began and began != row.state):
        response["HX-Refresh"] = "true"
    response["Cache-Control"] = "no-store"
    return response


def _answers_context(request: HttpRequest, row: Run) -> dict[str, Any]:
    words, failed = param(request, "q"), request.GET.get("failed") == "1"
    samples = (
        Sample.objects.filter(month=row.month, run=row)
        .select_related("case")
        .order_by("case__position", "replicate")
    )
    lacking = samples.exclude(status=SampleStatus.ANSWERED)
    wrong = pass_filter(row.suite_revision)
    if wrong is not None:
        scores = Score.objects.filter(
            wrong,
            month=row.month,
            run=row,
            sample_id=OuterRef("id"),
            scoring_revision=FIRST_REVISION,
        )
        lacking = samples.filter(~Q(status=SampleStatus.ANSWERED) | Exists(scores))
    shown = lacking if failed else samples
    if words:
        shown = shown.filter(
            Q(case__case_id__icontains=words)
            | Q(text__icontains=words)
            | Q(error_message__icontains=words)
        )
    page: Listing = listing(request, shown)
    return {
        "page": page,
        "answers": answer_rows(row, page.rows),
        "q": words,
        "failed_only": failed,
        "selects": [
            select("failed", "Which answers", "1" if failed else "", [("1", "Failed only")], "All")
        ],
    }


@login_required
@require_POST
def run_act(request: HttpRequest, pk: uuid.UUID, act: str) -> HttpResponse:
    row = _run(request, pk)
    user = signed_in(request)
    reason = request.POST.get("reason", "").replace("\x00", "")
    try:
        if act == "pause":
            services.pause_run(actor=user, run=row, reason=reason)
            said = "Paused. Calls that were under way are kept."
        elif act == "resume":
            services.resume_run(actor=user, run=row, reason=reason)
            said = "Resumed where it was paused."
        elif act == "cancel":
            services.cancel_run(actor=user, run=row, reason=reason)
            said = "Cancelled. What was answered is kept."
        elif act == "retry":
            services.retry_failed(actor=user, run=row)
            said = "Queued again. Slots that have an answer keep it."
        elif act == "baseline":
            drift.create_baseline(
                actor=user,
                model_version=row.model_version,
                suite_revision=row.suite_revision,
                runs=[row],
            )
            said = "These answers are the baseline now: later reruns are compared with them."
        else:
            raise Http404
    except NotFound:
        raise Http404 from None
    except GovTrackError as error:
        row.refresh_from_db()
        return _page(request, row, error=error, status=error.status)
    messages.success(request, said)
    return redirect("web:run", row.pk)
