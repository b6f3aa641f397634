"""Runs: what is being asked now, what was answered, and whether it is still the same model."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.permissions import can, visible
from apps.core import clock
from apps.core.errors import GovTrackError, InvalidInput, NotFound
from apps.drift import services as drift
from apps.drift.models import Comparison
from apps.drift.selectors import why_not_compared
from apps.evaluations import lifecycle, selectors, services
from apps.evaluations.models import Run, RunState, Sample, SampleStatus, Score
from apps.web import replicates, runprogress, scorings
from apps.web.forms_work import ExtendForm, LimitsForm, RetryForm
from apps.web.inventory import capital, word
from apps.web.inventory import count as numbered
from apps.web.lists import (
    Listing,
    as_uuid,
    chosen,
    listing,
    param,
    select,
    short,
    signed_in,
    sort_order,
)
from apps.web.rundata import answer_rows, metrics_of, pass_filter

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
        now = capital(numbered(open_now, "run is", "runs are")) + " on the way"
    tail = f"{word(done) if done else 'none'} ended in the last 24 hours"
    if failed:
        tail += f", {word(failed)} of them failed"
    return f"{now}; {tail}."


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
    failed = selectors.open_errors(row) if "retry" in moves and row.totals.get("error") else {}
    if row.state == RunState.COMPLETE and not failed:
        moves.discard("retry")  # every slot has an answer
    comparisons = list(row.comparisons.select_related("baseline", "top_up").order_by("created_at"))
    topped_up = Comparison.objects.filter(top_up__run=row).first()
    finished = RunState(row.state) in lifecycle.FINISHED
    baselines = list(row.baselines.annotate(size=Count("runs")).order_by("created_at"))
    alone = any(b.retired_at is None and b.size == 1 for b in baselines)
    context = {
        "nav": "runs",
        "run": row,
        "crumbs": [
            {"label": "Runs", "href": reverse("web:run_list")},
            {"label": f"{short(row.model_version.label, 60)} on {row.suite_revision}"},
        ],
        "error": error,
        "moves": moves,
        "limits_form": _limits_form(user, row),
        "retry_form": _retry_form(failed),
        "extend_form": ExtendForm() if "extend" in moves else None,
        "finished": finished,
        "comparisons": comparisons,
        "topped_up": topped_up,
        "why_not": "" if comparisons or not finished else why_not_compared(row),
        "baselines": baselines,
        "may_baseline": row.state == RunState.COMPLETE
        and not alone
        and can(user, "baseline.set", row.model_version),
        **runprogress.context(row, request.GET.get("said", "")),
    }
    if finished:
        context |= _answers_context(request, row)
        context["metrics"] = metrics_of(row, comparisons)
        context["hidden"] = {"scoring": context["chosen"].number} if context["chosen"] else {}
    context["sentence"] = _sentence(row, context["progress"], comparisons, baselines)
    return render(request, "web/run.html", context, status=status)


def _retry_form(failed: dict[str, int]) -> RetryForm | None:
    """For the dialog in which classes of error are chosen; None where there is no choice."""
    names = {
        kind: f"{capital(runprogress.class_name(kind))} ({numbered(n, 'slot', 'slots')})"
        for kind, n in failed.items()
    }
    return RetryForm(counts=names) if len(names) > 1 else None


def _limits_form(user: Any, row: Run) -> LimitsForm | None:
    """For the dialog in which a run's own budget is changed; None where it cannot be."""
    if row.state not in (*UNFINISHED, RunState.PARTIAL) or not can(
        user, "run.start", row.model_version
    ):
        return None
    return LimitsForm(initial={name: getattr(row, name) for name in LimitsForm.base_fields})


def _sentence(
    row: Run,
    progress: selectors.RunProgress,
    comparisons: list[Comparison],
    baselines: Sequence[Any] = (),
) -> str:
    what = f"{short(row.model_version.label)} on {short(row.suite_revision.suite.name)}"
    count = f"{progress.done:,} of {progress.total:,} answers"
    if row.state == RunState.QUEUED:
        return f"{what} waits for a worker: {count} so far."
    if row.state == RunState.RUNNING:
        return f"{what} is on its way: {count} are in."
    if row.state == RunState.PAUSED and row.budget_stop:
        return f"{what} has used up a budget: its last calls are coming in."
    if row.state == RunState.PARTIAL:
        return f"{what} is partial: a budget ended it with {count}."
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
    if baseline := next((b for b in baselines if b.retired_at is None), None):
        part = "part of " if baseline.size > 1 else ""
        return f"{said}: they are {part}the baseline of {what}."
    if comparisons:
        verdict = comparisons[-1].get_verdict_display().lower()
        return f"{said}, and against the baseline {what} is {verdict}."
    if baselines:
        return f"{said}: they were a baseline of {what}, which is retired."
    if row.purpose == Run.Purpose.BASELINE:
        return f"{said}: {what} can serve as a baseline."
    return f"{said}; {what} has no baseline to be compared with."


@login_required
@require_GET
def run_progress(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The part that htmx fetches while the run is on its way. At the end the page is reloaded."""
    row = _run(request, pk)
    context = runprogress.context(row, request.GET.get("said", ""))
    context["sentence"] = _sentence(row, context["progress"], [])
    response = render(request, "web/_run_progress.html", context)
    began = request.GET.get("state")
    if context["finished"] or (began and began != row.state):
        response["HX-Refresh"] = "true"
    response["Cache-Control"] = "no-store"
    return response


def _answers_context(request: HttpRequest, row: Run) -> dict[str, Any]:
    words, failed = param(request, "q"), request.GET.get("failed") == "1"
    scored = scorings.context(request, row)
    revision = scored["shown_revision"]
    grouped = replicates.context(request, row, words, revision) if row.replicates > 1 else {}
    if grouped:
        return {**grouped, **scored}
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
            scoring_revision=revision,
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
        "answers": answer_rows(row, page.rows, revision),
        **scored,
        "q": words,
        "failed_only": failed,
        "selects": [
            select("failed", "Which answers", "1" if failed else "", [("1", "Failed only")], "All"),
            *([replicates.view_select(param(request, "show"))] if row.replicates > 1 else []),
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
            kinds = request.POST.getlist("error_kinds") if "by_class" in request.POST else None
            services.retry_failed(actor=user, run=row, error_kinds=kinds)
            said = "Queued again. Slots that have an answer keep it."
        elif act == "extend":
            more = request.POST.get("replicates", "")
            number = int(more) if more.isdecimal() and len(more) < 5 else 0
            services.extend_run(actor=user, run=row, replicates=number)
            said = f"{number} more for every case: they are queued beside those that are there."
        elif act == "budget":
            limits = LimitsForm(request.POST)
            if not limits.is_valid():
                raise InvalidInput(
                    "The budget was not changed: " + " ".join(limits.errors.as_text().split())
                )
            services.change_budget(actor=user, run=row, **limits.limits())
            said = "The budget is changed."
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
