"""A run with several answers to each case: equal ones once, pass^k, only what differs."""

from __future__ import annotations

import pytest

from apps.evaluations import foreign, suitefile, suites
from apps.evaluations.imports import RecordedAnswer
from apps.evaluations.models import Run
from tests.api.story import SUITE
from tests.web.acts import Person, words
from tests.world import World


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def run(world: World) -> Run:
    metric = {**SUITE["metrics"][0], "bounds": [0, 1]}
    suite = suitefile.parse_document({**SUITE, "metrics": [metric]})
    revision = suites.import_suite(actor=world.owner, suite=suite)[0]
    first, second = suite.cases
    said = [
        *[(first, n, first.expect) for n in range(3)],
        *[(second, n, text) for n, text in enumerate((second.expect, "boats", "boats"))],
    ]
    answers = [RecordedAnswer(c.id, "old-model", text, replicate=n) for c, n, text in said]
    return foreign.store_answers(
        actor=world.owner,
        model_version=world.version,
        suite_revision=revision,
        answers=answers,
        source="Recorded for the tests.",
    )


def test_equal_answers_are_shown_once_with_their_number(world: World, run: Run) -> None:
    text = Person(world.owner).get(f"/runs/{run.pk}/")
    assert "3 of 3" in text
    assert "2 of 3" in text
    assert text.count("boats") == 1
    assert "67 % of the answers are right; 50 % of the cases are right in all 3 (pass^3)." in text
    assert "In 1 of 2 cases the answers differ." in text


def test_only_what_differs_is_shown_when_asked(world: World, run: Run) -> None:
    owner = Person(world.owner)
    text = owner.get(f"/runs/{run.pk}/", show="differs")
    assert "1 case " in text
    assert "3 of 3" not in text
    assert "boats" in text
    assert "No answer fits" in owner.get(f"/runs/{run.pk}/", show="differs", q="zebra")


def test_each_answer_can_still_be_seen_on_its_own(world: World, run: Run) -> None:
    owner = Person(world.owner)
    assert "6 answers" in owner.get(f"/runs/{run.pk}/", show="each")
    assert "2 answers" in owner.get(f"/runs/{run.pk}/", failed="1")
    assert words(owner.client.get(f"/runs/{run.pk}/?q=boats")).count("boats") >= 1


def test_a_recorded_run_says_where_its_answers_come_from(world: World, run: Run) -> None:
    text = Person(world.owner).get(f"/runs/{run.pk}/")
    assert "Recorded for the tests." in text
    assert "Take more" not in text
