"""Stored answers are scored again: no call, a revision of their own, the old scores untouched."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.evaluations import rescoring, selectors
from apps.evaluations.models import Run, RunState, Score, Scoring
from apps.evaluations.scorers.contains import Contains
from tests.fixtures.evaluations import make_revision, make_user

from .story import answered, revision, values

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(db: None) -> Any:
    return make_user(Role.MODEL_OWNER)


@pytest.fixture
def stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule as a later version of the code might have it: nothing contains anything."""
    monkeypatch.setattr(Contains, "_has", lambda self, hay, text: False)


def test_a_rescoring_applies_the_rules_of_today_and_leaves_the_old_scores(
    owner: Any, request: pytest.FixtureRequest
) -> None:
    run = answered(revision(), "motor claim", "motor claim", "theft")
    before = list(Score.objects.filter(run=run).order_by("id").values())
    request.getfixturevalue("stricter")
    scoring = rescoring.rescore(actor=owner, run=run, reason="A rule was mended.")
    assert rescoring.work() == 3
    scoring.refresh_from_db()
    assert (scoring.state, scoring.done, scoring.total, scoring.number) == ("done", 3, 3, 2)
    assert values(run, 1, "accuracy") == [1, 1, 0]
    assert values(run, 2, "accuracy") == [0, 0, 0]
    assert list(Score.objects.filter(run=run, scoring_revision=1).order_by("id").values()) == before
    assert scoring.totals == {"accuracy": 0}


def test_what_watches_a_version_reads_the_first_scoring_only(owner: Any, stricter: None) -> None:
    run = answered(revision(), "motor claim", "motor claim", "theft")
    Score.objects.filter(run=run)
    watched = selectors.metric_values([run])
    rescoring.rescore(actor=owner, run=run)
    rescoring.work()
    assert selectors.metric_values([run]) == watched


def test_each_scoring_has_a_number_of_its_own(owner: Any) -> None:
    run = answered(revision(1), "motor claim")
    numbers = [rescoring.rescore(actor=owner, run=run).number for _ in range(3)]
    assert numbers == [2, 3, 4]
    rescoring.work()
    assert set(Scoring.objects.values_list("state", flat=True)) == {"done"}
    assert Score.objects.filter(run=run, metric_key="accuracy").count() == 4


def test_a_worker_that_died_in_the_middle_costs_nothing_that_was_scored(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = answered(revision(5), *["motor claim"] * 5)
    scoring = rescoring.rescore(actor=owner, run=run)
    monkeypatch.setitem(rescoring.BATCH, "rules", 2)
    real = rescoring.WAYS["rules"]
    calls = []

    def dies(*given: Any) -> Any:
        calls.append(len(given[2]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setitem(rescoring.WAYS, "rules", dies)
    with pytest.raises(KeyboardInterrupt):
        rescoring.work()
    assert rescoring.work() == 0  # the lease of the dead one still holds
    Scoring.objects.update(lease_until=clock.now() - dt.timedelta(seconds=1))
    assert rescoring.work() == 3
    scoring.refresh_from_db()
    assert (scoring.state, scoring.done) == ("done", 5)
    assert len(values(run, 2, "accuracy")) == 5


def test_an_owner_that_lost_its_lease_stores_nothing(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = answered(revision(), *["motor claim"] * 3)
    scoring = rescoring.rescore(actor=owner, run=run)
    real = rescoring.WAYS["rules"]

    def late(*given: Any) -> Any:
        Scoring.objects.update(lease_owner="somebody else")
        return real(*given)

    monkeypatch.setitem(rescoring.WAYS, "rules", late)
    assert rescoring.work(seconds=5) == 0
    assert values(run, 2, "accuracy") == []
    scoring.refresh_from_db()
    assert (scoring.done, scoring.lease_owner) == (0, "somebody else")


def test_a_run_on_its_way_cannot_be_rescored(owner: Any) -> None:
    run = answered(revision(1), "motor claim")
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    with pytest.raises(Conflict, match="still on its way"):
        rescoring.rescore(actor=owner, run=run)


def test_an_auditor_reads_and_does_not_rescore() -> None:
    run = answered(revision(1), "motor claim")
    with pytest.raises(NotAllowed):
        rescoring.rescore(actor=make_user(Role.AUDITOR), run=run)
    assert not Scoring.objects.exists()


def test_a_suite_without_such_a_metric_is_told_so(owner: Any) -> None:
    run = answered(make_revision(1), "motor")
    judge = run.model_version
    with pytest.raises(InvalidInput, match="scored this way"):
        rescoring.score_similarity(actor=owner, run=run, by_version=judge)


def test_asking_for_a_scoring_and_its_end_are_in_the_history(owner: Any) -> None:
    run = answered(revision(1), "motor claim")
    rescoring.rescore(actor=owner, run=run, reason="Why not.")
    rescoring.work()
    actions = AuditEvent.objects.filter(action__startswith="evaluations.scoring")
    assert set(actions.values_list("action", flat=True)) == {
        "evaluations.scoring_requested",
        "evaluations.scoring_done",
    }
