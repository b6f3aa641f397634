"""A judge that itself changed: its scores are marked by the pipeline, in either order of events."""

from __future__ import annotations

import datetime as dt

import pytest

from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.models import Outbox
from apps.drift.models import ChangeEvent
from apps.evaluations import rescoring
from apps.evaluations.models import Scoring
from apps.registry.models import ModelVersion
from govtrack import pipeline
from tests.evaluations.scoring.story import answered, judge_at, revision
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    monkeypatch.setattr("apps.evaluations.wake.scorers", lambda: None)


def changed(judge: ModelVersion, *, since: dt.datetime) -> ChangeEvent:
    event = ChangeEvent.objects.create(
        number=7,
        model_version=judge,
        verdict="changed_material",
        window_start=since,
        window_end=since + dt.timedelta(minutes=1),
        sentence="It began to behave differently.",
    )
    Outbox.put("change.opened", event.pk, change_event_id=str(event.pk))
    return event


def judged(judge: ModelVersion) -> Scoring:
    scoring = rescoring.judge(actor=SYSTEM, run=answered(revision(1), "one"), judge=judge)
    rescoring.work()
    return scoring


def marks(*scorings: Scoring) -> list[bool]:
    while pipeline.drain_once():
        pass
    return [bool(Scoring.objects.get(pk=s.pk).confounded) for s in scorings]


def test_what_a_judge_said_since_it_changed_is_marked_and_what_it_said_before_is_not() -> None:
    with Provider(answers={"": "VERDICT: PASS"}) as provider:
        judge, other = judge_at(provider.url), judge_at(provider.url)
        before = judged(judge)
        Scoring.objects.update(finished_at=clock.now() - dt.timedelta(days=2))
        known, by_another = judged(judge), judged(other)
        assert marks(before, known, by_another) == [False, False, False]
        changed(judge, since=clock.now() - dt.timedelta(days=1))
        assert marks(before, known, by_another) == [False, True, False]
        # And what it says while the change is open:
        assert marks(judged(judge)) == [True]
    assert "C-7" in Scoring.objects.get(pk=known.pk).confounded
