"""People rate answers: blind, two raters for each, in an order that tells nothing.

A rater sees the question, the prompt and the answer (or two, left and right by lot), never which
version gave it, which run it is of, or what the other rater said. A rating stands: it is evidence.
When the queue is closed, what both agree on becomes a scoring revision of the run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.code import code_version
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import finishing, lifecycle, rescoring, scoring, totals
from apps.evaluations.agreement import Agreement, cohens_kappa
from apps.evaluations.models import (
    Rating,
    Review,
    ReviewItem,
    Run,
    RunState,
    Sample,
    SampleStatus,
    Score,
    Scoring,
)
from apps.evaluations.scorers.rubric import Rubric
from apps.evaluations.stored import case_of, frame_of
from apps.evaluations.suitefile import render_case

MAX_ITEMS = 500
VALUES = (0.0, 0.5, 1.0)


def start_review(
    *,
    actor: Actor,
    run: Run,
    items: int = 50,
    metric_key: str = "",
    question: str = "",
    other_run: Run | None = None,
) -> Review:
    """Put a random choice of a run's answers into a queue; beside `other_run`'s answers to the same
    cases where one is given. The question is the rubric of `metric_key`, unless said.

    Raises NotAllowed, InvalidInput and Conflict (a run is on its way).
    """
    if actor is not SYSTEM:
        require(actor, "review.start", run)
        if other_run is not None:
            require(actor, "view", other_run)
    question = question.strip() or _rubric_of(run, metric_key)
    if not question:
        raise InvalidInput(
            "Raters need a question.",
            field="question",
            remedy="Write one, or name a metric whose scorer is a rubric.",
        )
    if not 1 <= items <= MAX_ITEMS:
        raise InvalidInput(f"A queue holds 1 to {MAX_ITEMS} answers.", field="items")
    if metric_key and metric_key not in scoring.plan_of(run.suite_revision).metrics:
        raise InvalidInput(f"The suite has no metric '{metric_key[:60]}'.", field="metric_key")
    if other_run is not None and other_run.pk == run.pk:
        raise InvalidInput("A run cannot stand beside itself.", field="other_run")
    for each in (run, other_run):
        if each is not None and RunState(each.state) not in lifecycle.FINISHED:
            raise Conflict("The run is still on its way: its answers are not all there.")
    pairs = _pairs(run, other_run)
    if not pairs:
        raise InvalidInput(
            "There is no answer to be rated"
            + (" that both runs gave to the same case." if other_run else "."),
            field="other_run" if other_run else "run",
        )
    lot = random.SystemRandom()
    chosen = lot.sample(pairs, min(items, len(pairs)))
    with transaction.atomic():
        review = Review.objects.create(
            run=run,
            other_run=other_run,
            metric_key=metric_key,
            question=question[:10_000],
            scale=Review.Scale.PREFERENCE if other_run else Review.Scale.PASS,
            requested_by=None if actor is SYSTEM else cast(User, actor),
        )
        ReviewItem.objects.bulk_create(
            ReviewItem(
                review=review,
                position=n,
                case_id=mine.case_id,
                replicate=mine.replicate,
                sample_id=mine.id,
                other_sample_id=other.id if other else None,
                flipped=other is not None and lot.random() < 0.5,
            )
            for n, (mine, other) in enumerate(chosen)
        )
        record(
            "evaluations.review_started",
            actor=actor,
            obj=review,
            object_name=f"review of {finishing.name_of(run)}",
            summary=f"Asked people to rate {len(chosen)} answers of {finishing.name_of(run)}.",
            changes={
                "run": str(run.pk),
                "other_run": str(other_run.pk) if other_run else None,
                "metric": metric_key,
                "question": review.question,
                "items": len(chosen),
            },
        )
    return review


def rate(*, actor: User, item: ReviewItem, value: float, comment: str = "") -> Rating:
    """One person's word on one item, for good. `value` 1: pass, or the run's own answer is better.

    Raises NotAllowed, InvalidInput and Conflict (closed, rated already, enough raters).
    """
    review = item.review
    require(actor, "review.rate", review.run)
    allowed = VALUES if review.scale == Review.Scale.PREFERENCE else (0.0, 1.0)
    if value not in allowed:
        raise InvalidInput("There is no such rating.", field="value")
    with transaction.atomic():
        locked = Review.objects.select_for_update().get(pk=review.pk)
        if locked.state != Review.State.OPEN:
            raise Conflict("This queue is closed: nothing is rated any more.")
        if Rating.objects.filter(item=item, rater=actor).exists():
            raise Conflict("You have rated this one already; a rating stands.")
        if Rating.objects.filter(item=item).count() >= locked.raters:
            raise Conflict("This one has all its ratings. Take the next.")
        try:
            rating = Rating.objects.create(
                item=item, rater=actor, value=value, comment=comment.strip()[:2000]
            )
        except IntegrityError:  # pragma: no cover (the lock above keeps this out)
            raise Conflict("You have rated this one already; a rating stands.") from None
        record(
            "evaluations.answer_rated",
            actor=actor,
            obj=review,
            object_name=f"review of {finishing.name_of(review.run)}",
            summary=f"Rated item {item.position + 1} of a review.",
            # Not the value: whoever reads the history may be the second rater.
            changes={"item": str(item.pk)},
        )
    return rating


def close_review(*, actor: Actor, review: Review) -> Review:
    """End the queue. Items on which all raters agree become scores of a new scoring revision, where
    the review is of a metric. Raises NotAllowed and Conflict (closed, or nothing rated twice)."""
    if actor is not SYSTEM:
        require(actor, "review.start", review.run)
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=review.run_id)
        locked = Review.objects.select_for_update().get(pk=review.pk)
        if locked.state != Review.State.OPEN:
            raise Conflict("This queue is closed already.")
        agreed = consensus(locked)
        locked.state, locked.closed_at = Review.State.CLOSED, clock.now()
        if locked.metric_key and locked.scale == Review.Scale.PASS and agreed:
            locked.scoring = _as_scoring(run, locked, agreed, actor)
        locked.save_versioned("state", "closed_at", "scoring")
        record(
            "evaluations.review_closed",
            actor=actor,
            obj=locked,
            object_name=f"review of {finishing.name_of(run)}",
            summary=f"Closed a review: raters agree on {len(agreed)} answers.",
            changes={
                "agreed": len(agreed),
                "scoring": locked.scoring.number if locked.scoring else None,
            },
        )
    return locked


def _as_scoring(run: Run, review: Review, agreed: dict[ReviewItem, float], actor: Actor) -> Scoring:
    now = clock.now()
    row = Scoring.objects.create(
        run=run,
        number=rescoring.next_number(run),
        kind=Scoring.Kind.REVIEW,
        state=Scoring.State.DONE,
        metric_keys=[review.metric_key],
        by_name=f"people, {review.raters} for each answer",
        total=len(agreed),
        done=len(agreed),
        code_version=code_version(),
        requested_by=None if actor is SYSTEM else cast(User, actor),
        started_at=review.created_at,
        finished_at=now,
    )
    Score.objects.bulk_create(
        Score(
            month=run.month,
            run=run,
            sample_id=item.sample_id,
            case_id=item.case_id,
            replicate=item.replicate,
            scoring_revision=row.number,
            metric_key=review.metric_key,
            value=value,
            explanation=f"All {review.raters} raters said so, blind.",
            detail={"review": str(review.pk)},
        )
        for item, value in agreed.items()
    )
    Scoring.objects.filter(pk=row.pk).update(totals=totals.metrics_of(run, row.number))
    return row


def _rubric_of(run: Run, metric_key: str) -> str:
    plan = scoring.plan_of(run.suite_revision)
    scorer = plan.scorers.get(plan.metrics.get(metric_key, ""))
    return scorer.rubric if isinstance(scorer, Rubric) else ""


def _pairs(run: Run, other_run: Run | None) -> list[tuple[Sample, Sample | None]]:
    """Answers with words, with the other run's answer to the same case (by its own id and content)
    and replicate where two stand side by side."""
    mine = _answers(run)
    if other_run is None:
        return [(sample, None) for sample in mine]
    theirs = {_slot(sample): sample for sample in _answers(other_run)}
    return [(s, theirs[_slot(s)]) for s in mine if _slot(s) in theirs]


def _answers(run: Run) -> list[Sample]:
    rows = Sample.objects.filter(month=run.month, run=run, status=SampleStatus.ANSWERED)
    return list(rows.exclude(text="").select_related("case").order_by("id")[:100_000])


def _slot(sample: Sample) -> tuple[str, int]:
    return sample.case.content_hash, sample.replicate


# ------------------------------------------------------------------------------------------ reads


def next_item(*, review: Review, rater: User) -> ReviewItem | None:
    """What the rater has not rated and others have not rated enough; what is begun comes first."""
    if review.state != Review.State.OPEN:
        return None
    rows: QuerySet[Any] = review.items.annotate(n=Count("ratings"))
    own = Rating.objects.filter(item=OuterRef("pk"), rater=rater)
    return (
        rows.filter(~Exists(own), n__lt=review.raters)
        .select_related("case")
        .order_by("-n", "position")
        .first()
    )


@dataclass(frozen=True)
class Standing:
    items: int
    complete: int
    ratings: int
    mine: int
    agreement: Agreement | None
    """Between the first and the second rating of each item; only when the queue is closed."""


def standing(review: Review, rater: User | None = None) -> Standing:
    counts = review.items.annotate(n=Count("ratings"))
    return Standing(
        items=review.items.count(),
        complete=counts.filter(n__gte=review.raters).count(),
        ratings=Rating.objects.filter(item__review=review).count(),
        mine=Rating.objects.filter(item__review=review, rater=rater).count() if rater else 0,
        agreement=between_raters(review) if review.state == Review.State.CLOSED else None,
    )


def between_raters(review: Review) -> Agreement | None:
    """Of the two ratings of each item that has two, in the order of the raters' ids."""
    pairs = [pair for pair in _ratings(review).values() if len(pair) >= 2]
    return cohens_kappa([p[0] for p in pairs], [p[1] for p in pairs])


def consensus(review: Review) -> dict[ReviewItem, float]:
    """Items with all their ratings, all the same."""
    return {
        item: values[0]
        for item, values in _ratings(review).items()
        if len(values) >= review.raters and len(set(values)) == 1
    }


def _ratings(review: Review) -> dict[ReviewItem, list[float]]:
    found: dict[ReviewItem, list[float]] = {}
    rows = Rating.objects.filter(item__review=review).select_related("item")
    for rating in rows.order_by("item__position", "rater_id"):
        found.setdefault(rating.item, []).append(rating.value)
    return found


def calibration(judging: Scoring) -> dict[str, Agreement]:
    """How far a judge agrees with people, by metric: on the answers of its run that closed reviews
    of that metric agree on. Grades count as pass from the middle up. Empty without any."""
    found: dict[str, Agreement] = {}
    reviews = Review.objects.filter(
        Q(run=judging.run_id), scale=Review.Scale.PASS, state=Review.State.CLOSED
    )
    for key in judging.metric_keys:
        people: dict[Any, float] = {}
        for review in reviews.filter(metric_key=key).order_by("closed_at"):
            people |= {item.sample_id: value for item, value in consensus(review).items()}
        scores = Score.objects.filter(
            month=judging.run.month,
            run=judging.run_id,
            scoring_revision=judging.number,
            metric_key=key,
            sample_id__in=list(people),
            value__isnull=False,
        ).values_list("sample_id", "value")
        pairs = [(float((value or 0.0) >= 0.5), people[sample]) for sample, value in scores]
        if agreement := cohens_kappa([a for a, _ in pairs], [b for _, b in pairs]):
            found[key] = agreement
    return found


def scorings_of(run: Run) -> Sequence[Scoring]:
    """All later scorings of a run, the newest first."""
    return list(
        Scoring.objects.filter(run=run)
        .select_related("by_version", "requested_by")
        .order_by("-number")
    )


def shown(item: ReviewItem) -> dict[str, Any]:
    """What a rater may see of an item: question, prompt and answers, left and right by lot."""
    run = item.review.run
    prompt = "\n\n".join(
        str(m.get("content", ""))
        for m in render_case(frame_of(run.suite_revision_id), case_of(item.case))
    )
    mine = Sample.objects.get(month=run.month, id=item.sample_id).text
    other = None
    if item.other_sample_id is not None and item.review.other_run is not None:
        month = item.review.other_run.month
        other = Sample.objects.get(month=month, id=item.other_sample_id).text
    left, right = (other, mine) if item.flipped and other is not None else (mine, other)
    return {
        "id": item.pk,
        "question": item.review.question,
        "prompt": prompt,
        "left": left,
        "right": right,
    }


def value_of(item: ReviewItem, says: str) -> float:
    """The value of a word that fits the item's scale. Raises InvalidInput."""
    words = {"pass": 1.0, "fail": 0.0}
    if item.review.scale == Review.Scale.PREFERENCE:
        own, other = ("right", "left") if item.flipped else ("left", "right")
        words = {own: 1.0, other: 0.0, "same": 0.5}
    if says not in words:
        raise InvalidInput(
            "This rating does not fit the question.",
            field="says",
            remedy=f"Say one of: {', '.join(sorted(words))}.",
        )
    return words[says]
