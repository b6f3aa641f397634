"""Scorings and reviews through the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.evaluations import rescoring
from apps.evaluations.models import Review, Run, Scoring
from tests.api.conftest import Api, is_problem
from tests.evaluations.scoring.story import answered, judge_at, revision
from tests.fixtures.provider import Provider
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    monkeypatch.setattr("apps.evaluations.wake.scorers", lambda: None)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture
def run(world: World) -> Run:
    return answered(revision(2), "a motor claim", "no idea", version=world.version)


def test_stored_answers_are_scored_again_once_for_a_key(owner: Api, run: Run) -> None:
    body = {"run": str(run.pk), "reason": "A rule was mended."}
    first = owner.post("scorings", body, **{"Idempotency-Key": "k-1"})
    assert first.status_code == 201, first.json()
    assert (first.json()["number"], first.json()["state"]) == (2, "queued")
    again = owner.post("scorings", body, **{"Idempotency-Key": "k-1"})
    assert again.json()["id"] == first.json()["id"]
    assert Scoring.objects.count() == 1
    rescoring.work()
    shown = owner.get(f"scorings/{first.json()['id']}").json()
    assert (shown["state"], shown["done"], shown["totals"]) == ("done", 2, {"accuracy": 0.5})
    scores = owner.get(f"runs/{run.pk}/scores", scoring_revision=2).json()["results"]
    assert {row["metric_key"] for row in scores} == {"accuracy"}


def test_a_judges_words_are_read_with_the_identity_that_it_stated(
    owner: Api, world: World, run: Run, provider: Provider
) -> None:
    provider.set(answers={"": "It does. VERDICT: PASS"})
    judge = judge_at(provider.url)
    body = {"run": str(run.pk), "kind": "judge"}
    is_problem(owner.post("scorings", body), 400, field="by_version")
    made = owner.post("scorings", body | {"by_version": str(judge.pk)})
    assert made.status_code == 201, made.json()
    rescoring.work()
    rows = owner.get(f"scorings/{made.json()['id']}/judgements").json()["results"]
    assert {(r["text"], r["returned_model"]) for r in rows} == {
        ("It does. VERDICT: PASS", "assistant")
    }


def test_who_only_reads_neither_scores_nor_rates(auditor: Api, world: World, run: Run) -> None:
    is_problem(auditor.post("scorings", {"run": str(run.pk)}), 403)
    is_problem(auditor.post("reviews", {"run": str(run.pk), "metric_key": "clear"}), 403)
    assert auditor.get("scorings").json()["results"] == []
    reader = Api(world.owner, scopes=("read",))
    is_problem(reader.post("scorings", {"run": str(run.pk)}), 403)


def test_a_review_is_rated_blind_and_closed(owner: Api, validator: Api, run: Run) -> None:
    made = owner.post("reviews", {"run": str(run.pk), "metric_key": "clear", "items": 2})
    assert made.status_code == 201, made.json()
    path = f"reviews/{made.json()['id']}"
    assert made.json()["run"] is None
    for api in (owner, validator):
        for _ in range(2):
            item = api.get(f"{path}/next").json()
            assert set(item) == {"id", "question", "prompt", "left", "right"}
            rated = api.post(f"{path}/rate", {"item": item["id"], "says": "pass"})
            assert rated.status_code == 201, rated.json()
        assert api.get(f"{path}/next").status_code == 204
        is_problem(api.post(f"{path}/rate", {"item": item["id"], "says": "fail"}), 409)
    closed = owner.post(f"{path}/close").json()
    assert (closed["state"], closed["run"]) == ("closed", str(run.pk))
    assert closed["agreement"]["same"] == 1
    assert Review.objects.get().scoring is not None
