"""People rate answers, blind. While a queue is open its pages do not say whose answers they are."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.permissions import can, require, visible
from apps.core.errors import GovTrackError
from apps.evaluations import reviews
from apps.evaluations.lifecycle import FINISHED
from apps.evaluations.models import Review, ReviewItem
from apps.web.forms_scoring import ReviewForm
from apps.web.lists import add_error, as_uuid, chosen, listing, select, short, signed_in
from apps.web.views.runs import visible_runs


def visible_reviews(user: Any) -> QuerySet[Review]:
    rows = Review.objects.select_related(
        "run__model_version", "run__suite_revision__suite", "other_run__model_version", "scoring"
    )
    return visible(user, rows, team_path="run__model_version__team")


@login_required
@require_GET
def review_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    everything = visible_reviews(user)
    state = chosen(request, "state", Review.State.values)
    rows = everything.filter(state=state) if state else everything
    page = listing(request, rows.order_by("-created_at"))
    found = [{"review": r, "standing": reviews.standing(r, user)} for r in page.rows]
    mine = sum(1 for r in everything.filter(state="open") if _left(r, user))
    context = {
        "nav": "reviews",
        "page": page,
        "rows": found,
        "sentence": (
            f"{mine} open {'queue has' if mine == 1 else 'queues have'} answers for you to rate."
            if mine
            else "No open queue has an answer for you to rate."
        ),
        "may_rate": can(user, "review.rate"),
        "selects": [select("state", "State", state, Review.State.choices, "Every state")],
        "any": everything.exists(),
    }
    return render(request, "web/review_list.html", context)


def _left(review: Review, user: Any) -> bool:
    may = can(user, "review.rate", review.run)
    return may and reviews.next_item(review=review, rater=user) is not None


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def review_new(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    user = signed_in(request)
    run = get_object_or_404(visible_runs(user), pk=pk)
    require(user, "review.start", run)
    others = (
        visible_runs(user)
        .filter(suite_revision__suite=run.suite_revision.suite_id, state__in=FINISHED)
        .exclude(pk=run.pk)
        .order_by("-created_at")[:50]
    )
    metrics = [
        (m["key"], m["label"])
        for m in run.suite_revision.document.get("metrics", [])
        if m.get("bounds") == [0, 1]
    ]
    # A slice cannot be filtered again, which a form's field does.
    near = visible_runs(user).filter(pk__in=[r.pk for r in others]).order_by("-created_at")
    form = ReviewForm(request.POST or None, metrics=metrics, runs=near)
    if request.method == "POST" and form.is_valid():
        try:
            review = reviews.start_review(actor=user, run=run, **form.cleaned_data)
        except GovTrackError as error:
            add_error(form, error)
        else:
            messages.success(request, "The queue is open: validators and model owners may rate.")
            return redirect("web:review", review.pk)
    to = reverse("web:run", args=[run.pk])
    context = {
        "nav": "reviews",
        "form": form,
        "lede": "Ask people to rate these answers?",
        "sublede": "They are drawn by lot and shown without version or run, to two people each.",
        "submit": "Open the queue",
        "back": to,
        "crumbs": [
            {"label": "Runs", "href": reverse("web:run_list")},
            {"label": short(run.model_version.label, 60), "href": to},
            {"label": "Ask people"},
        ],
    }
    return render(request, "web/form.html", context, status=400 if form.errors else 200)


def _review(request: HttpRequest, pk: uuid.UUID) -> Review:
    return get_object_or_404(visible_reviews(signed_in(request)), pk=pk)


@login_required
@require_GET
def review(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    row, user = _review(request, pk), signed_in(request)
    now = reviews.standing(row, user)
    closed = row.state == Review.State.CLOSED
    if closed:
        sentence = f"Two people rated {now.complete} of {now.items} answers."
        if now.agreement:
            same, count = now.agreement.same, now.agreement.items
            sentence = f"Raters said the same of {same:.0%} of {count} answers."
    else:
        sentence = f"{now.complete} of {now.items} answers have been rated twice."
    context = {
        "nav": "reviews",
        "review": row,
        "now": now,
        "closed": closed,
        "sentence": sentence,
        "may_rate": not closed and _left(row, user),
        "may_close": not closed and can(user, "review.start", row.run),
        "crumbs": [
            {"label": "Reviews", "href": reverse("web:review_list")},
            {"label": short(row.question, 60)},
        ],
    }
    return render(request, "web/review.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def review_rate(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One answer at a time, the next after each rating."""
    row, user = _review(request, pk), signed_in(request)
    require(user, "review.rate", row.run)
    error = None
    if request.method == "POST":
        item = get_object_or_404(
            ReviewItem.objects.select_related("review__run", "review__other_run"),
            review=row,
            pk=as_uuid(request.POST.get("item", "")),
        )
        try:
            reviews.rate(
                actor=user,
                item=item,
                value=reviews.value_of(item, request.POST.get("says", "")),
                comment=request.POST.get("comment", "").replace("\x00", ""),
            )
            return redirect("web:review_rate", row.pk)
        except GovTrackError as problem:
            error = problem
    following = reviews.next_item(review=row, rater=user)
    if following is None:
        messages.success(request, "Nothing is left here for you to rate. Thank you.")
        return redirect("web:review", row.pk)
    now = reviews.standing(row, user)
    context = {
        "nav": "reviews",
        "review": row,
        "item": reviews.shown(following),
        "now": now,
        "error": error,
        "crumbs": [
            {"label": "Reviews", "href": reverse("web:review_list")},
            {"label": short(row.question, 60), "href": reverse("web:review", args=[row.pk])},
            {"label": "Rate"},
        ],
    }
    status = error.status if error else 200
    return render(request, "web/review_rate.html", context, status=status)


@login_required
@require_POST
def review_close(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    row = _review(request, pk)
    try:
        closed = reviews.close_review(actor=signed_in(request), review=row)
    except GovTrackError as error:
        messages.error(request, str(error))
    else:
        said = "Closed. Who gave the answers is shown now."
        if closed.scoring:
            said += f" What raters agree on is scoring revision {closed.scoring.number} of the run."
        messages.success(request, said)
    return redirect("web:review", row.pk)
