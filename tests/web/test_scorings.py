"""Scorings on the run's page, and people who rate answers blind."""

from __future__ import annotations

from typing import Any

import pytest

from apps.evaluations import rescoring, reviews
from apps.evaluations.models import Review, Run, Scoring
from apps.evaluations.scorers.contains import Contains
from tests.evaluations.scoring.story import RUBRIC, answered, revision
from tests.web.acts import Person, first_line
from tests.world import World


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    monkeypatch.setattr("apps.evaluations.wake.scorers", lambda: None)


@pytest.fixture
def run(world: World) -> Run:
    return answered(revision(2), "a motor claim", "no idea", version=world.version)


def test_the_button_scores_again_and_the_page_says_which_revision_it_shows(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Person(world.owner)
    assert "scoring revision 1, given as the answers came" in owner.get(f"/runs/{run.pk}/")
    owner.post(f"/runs/{run.pk}/scorings/rules/", reason="The rule was mended.")
    assert "0 of 2" in owner.get(f"/runs/{run.pk}/scorings/")
    monkeypatch.setattr(Contains, "_has", lambda self, hay, text: False)
    rescoring.work()
    page = owner.get(f"/runs/{run.pk}/")
    assert "The rule was mended." in page
    assert page.count("shown below") == 1
    second = owner.get(f"/runs/{run.pk}/", scoring="2")
    assert "With the scores of scoring revision 2 (rules, the suite's rules)" in second
    assert "Accuracy 1" not in second
    assert "scoring revision 1, given" in owner.get(f"/runs/{run.pk}/", scoring="99")


def test_an_auditor_sees_scorings_and_no_button(world: World, run: Run) -> None:
    auditor = Person(world.auditor)
    page = auditor.get(f"/runs/{run.pk}/")
    assert "Scorings" in page
    assert "Score again" not in page
    auditor.get(f"/runs/{run.pk}/scorings/new/", status=403)
    auditor.get(f"/runs/{run.pk}/reviews/new/", status=403)
    auditor.post(f"/runs/{run.pk}/scorings/rules/", reason="x")
    assert not Scoring.objects.exists()


def test_a_judge_by_alias_is_refused_at_its_field(world: World, run: Run) -> None:
    from tests.fixtures.evaluations import make_version

    alias = make_version("http://127.0.0.1:9/v1", label="moving judge")
    response = Person(world.owner).post(
        f"/runs/{run.pk}/scorings/new/", status=400, kind="judge", by_version=str(alias.pk)
    )
    assert "asked for by an alias" in response.content.decode()


def test_a_scoring_that_stopped_says_why_and_can_go_on(world: World, run: Run) -> None:
    scoring = rescoring.rescore(actor=world.owner, run=run)
    Scoring.objects.update(state="failed", state_reason="The judge is gone. Then resume.")
    owner = Person(world.owner)
    assert "The judge is gone." in owner.get(f"/runs/{run.pk}/")
    owner.post(f"/runs/{run.pk}/scorings/{scoring.pk}/resume/")
    scoring.refresh_from_db()
    assert scoring.state == "queued"


def test_a_confounded_scoring_is_marked_with_the_reason(world: World, run: Run) -> None:
    rescoring.rescore(actor=world.owner, run=run)
    Scoring.objects.update(state="done", confounded="The judge changed: C-7.")
    assert "confounded The judge changed: C-7." in Person(world.owner).get(f"/runs/{run.pk}/")


def test_people_rate_blind_until_nothing_is_left(world: World, run: Run) -> None:
    owner, validator = Person(world.owner), Person(world.validator)
    owner.post(f"/runs/{run.pk}/reviews/new/", metric_key="clear", items="2", question="")
    review = Review.objects.get()
    assert review.question == RUBRIC
    assert first_line(validator.client.get("/reviews/")).startswith("1 open queue has answers")
    for path in (f"/reviews/{review.pk}/", f"/reviews/{review.pk}/rate/"):
        page = validator.client.get(path).content.decode()
        assert world.version.label not in page
        assert str(run.pk) not in page
    for person in (owner, validator):
        for _ in range(2):
            item = reviews.next_item(review=review, rater=person.user)
            assert item is not None
            person.post(f"/reviews/{review.pk}/rate/", item=str(item.pk), says="pass")
        person.client.get(f"/reviews/{review.pk}/rate/")
    assert reviews.standing(review).complete == 2
    owner.post(f"/reviews/{review.pk}/close/")
    page = validator.get(f"/reviews/{review.pk}/")
    assert world.version.label in page
    assert "scoring revision 2" in page
    assert "Raters said the same of 100% of 2 answers." in page


def test_left_and_right_are_told_apart_by_the_lot(world: World, run: Run) -> None:
    other = answered(run.suite_revision, "theirs", "theirs", version=world.version)
    review = reviews.start_review(
        actor=world.owner, run=run, other_run=other, question="Which is clearer?"
    )
    owner = Person(world.owner)
    for item in review.items.all():
        shown = reviews.shown(item)
        mine = "right" if shown["left"] == "theirs" else "left"
        owner.post(f"/reviews/{review.pk}/rate/", item=str(item.pk), says=mine)
        assert item.ratings.get().value == 1.0
    first = review.items.first()
    assert first is not None
    validator = Person(world.validator)
    validator.post(f"/reviews/{review.pk}/rate/", status=400, item=str(first.pk), says="pass")


def test_an_auditor_reads_a_review_and_does_not_rate(world: World, run: Run) -> None:
    review = reviews.start_review(actor=world.owner, run=run, metric_key="clear")
    auditor = Person(world.auditor)
    assert "0 of 2 answers have been rated twice." in auditor.get(f"/reviews/{review.pk}/")
    assert "Rate the next" not in auditor.get(f"/reviews/{review.pk}/")
    auditor.get(f"/reviews/{review.pk}/rate/", status=403)


def test_an_empty_list_of_reviews_leads_on(world: World) -> None:
    page: Any = Person(world.owner).get("/reviews/")
    assert "Nobody has been asked yet" in page
