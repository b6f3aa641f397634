"""People rate answers: blind, twice, for good; what they agree on becomes scores."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.evaluations import rescoring, reviews
from apps.evaluations.models import Review
from tests.fixtures.evaluations import make_user
from tests.fixtures.provider import Provider

from .story import RUBRIC, answered, judge_at, revision, values

pytestmark = pytest.mark.django_db


@pytest.fixture
def raters(db: None) -> list[Any]:
    return [make_user(Role.VALIDATOR), make_user(Role.MODEL_OWNER), make_user(Role.VALIDATOR)]


def rate_all(review: Review, rater: Any, value: Any) -> int:
    """Rate until nothing is left; `value` is a function of the answer's case."""
    count = 0
    while item := reviews.next_item(review=review, rater=rater):
        reviews.rate(actor=rater, item=item, value=value(item.case.case_id))
        count += 1
    return count


def test_two_raters_rate_every_answer_and_what_they_agree_on_becomes_scores(
    raters: list[Any],
) -> None:
    run = answered(revision(3), "one", "two", "three")
    review = reviews.start_review(actor=raters[0], run=run, metric_key="clear")
    assert review.question == RUBRIC
    assert rate_all(review, raters[0], lambda case: 1.0) == 3
    assert rate_all(review, raters[1], lambda case: 0.0 if case == "c2" else 1.0) == 3
    assert rate_all(review, raters[2], lambda case: 1.0) == 0  # two have rated each
    closed = reviews.close_review(actor=raters[0], review=review)
    assert closed.scoring is not None
    assert values(run, closed.scoring.number, "clear") == [1, 1]
    standing = reviews.standing(closed)
    assert (standing.complete, standing.ratings) == (3, 6)
    assert standing.agreement is not None
    assert standing.agreement.same == pytest.approx(2 / 3)


def test_a_rating_stands_and_a_third_is_not_taken(raters: list[Any]) -> None:
    review = reviews.start_review(
        actor=raters[0], run=answered(revision(1), "one"), metric_key="clear"
    )
    item = review.items.get()
    reviews.rate(actor=raters[0], item=item, value=1.0)
    with pytest.raises(Conflict, match="a rating stands"):
        reviews.rate(actor=raters[0], item=item, value=0.0)
    reviews.rate(actor=raters[1], item=item, value=0.0)
    with pytest.raises(Conflict, match="all its ratings"):
        reviews.rate(actor=raters[2], item=item, value=0.0)


def test_the_history_does_not_tell_the_second_rater_what_the_first_said(
    raters: list[Any],
) -> None:
    review = reviews.start_review(
        actor=raters[0], run=answered(revision(1), "one"), metric_key="clear"
    )
    reviews.rate(actor=raters[0], item=review.items.get(), value=1.0)
    entry = AuditEvent.objects.get(action="evaluations.answer_rated")
    assert "value" not in entry.body
    assert reviews.standing(review).agreement is None


def test_two_runs_stand_side_by_side_by_lot(raters: list[Any]) -> None:
    suite = revision(40)
    run, other = answered(suite, *["mine"] * 40), answered(suite, *["theirs"] * 40)
    review = reviews.start_review(
        actor=raters[0], run=run, other_run=other, question="Which is clearer?", items=40
    )
    flips = list(review.items.values_list("flipped", flat=True))
    assert True in flips
    assert False in flips
    item = review.items.first()
    assert item is not None
    reviews.rate(actor=raters[0], item=item, value=0.5)
    with pytest.raises(InvalidInput):
        reviews.rate(actor=raters[1], item=item, value=0.7)


def test_auditors_and_administrators_do_not_rate(raters: list[Any]) -> None:
    run = answered(revision(1), "one")
    review = reviews.start_review(actor=raters[0], run=run, metric_key="clear")
    for role in (Role.AUDITOR, Role.ADMINISTRATOR, Role.SERVICE):
        with pytest.raises(NotAllowed):
            reviews.rate(actor=make_user(role), item=review.items.get(), value=1.0)
    with pytest.raises(NotAllowed):
        reviews.start_review(actor=make_user(Role.AUDITOR), run=run, metric_key="clear")


def test_a_queue_without_a_question_or_answers_is_refused(raters: list[Any]) -> None:
    run = answered(revision(1), "one")
    with pytest.raises(InvalidInput, match="question"):
        reviews.start_review(actor=raters[0], run=run)
    with pytest.raises(InvalidInput, match="no answer"):
        reviews.start_review(
            actor=raters[0],
            run=run,
            other_run=answered(revision(1, slug="other", summary="Else."), ""),
            question="Which?",
        )


def test_a_judge_is_measured_against_what_people_agree_on(
    provider: Provider, raters: list[Any]
) -> None:
    provider.set(answers={"good": "VERDICT: PASS", "": "VERDICT: FAIL"})
    run = answered(revision(12), *["good"] * 6, *["poor"] * 6)
    scoring = rescoring.judge(actor=SYSTEM, run=run, judge=judge_at(provider.url))
    rescoring.work()
    scoring.refresh_from_db()
    assert reviews.calibration(scoring) == {}
    review = reviews.start_review(actor=raters[0], run=run, metric_key="clear")
    for rater in raters[:2]:
        rate_all(review, rater, lambda case: 1.0 if case in {f"c{n}" for n in range(5)} else 0.0)
    reviews.close_review(actor=raters[0], review=review)
    found = reviews.calibration(scoring)["clear"]
    assert (found.items, found.same) == (12, pytest.approx(11 / 12))
    assert found.kappa == pytest.approx(5 / 6)
    assert found.low is not None
    assert found.low < found.kappa
