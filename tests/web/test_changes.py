from __future__ import annotations

import uuid
from typing import Any

import pytest

from apps.core.ids import uuid7
from apps.drift import services as drift
from apps.drift.models import ChangeEvent, ExamplePair, MetricResult
from tests.api.story import Story, answered_run, tell
from tests.drift import story as recorded
from tests.web.acts import Person, first_line, words
from tests.world import World


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def story(world: World) -> Story:
    return tell(world)


def result(story: Story, key: str, **fields: Any) -> MetricResult:
    values: dict[str, Any] = {
        "comparison": story.comparison,
        "metric_key": key,
        "label": key.title(),
        "baseline_mean": 0.9,
        "current_mean": 0.56,
        "effect": -0.34,
        "low": -0.38,
        "high": -0.3,
        "margin": 0.05,
        "unit": "points",
        "log_e": 8.0,
        "verdict": "changed_material",
    }
    return MetricResult.objects.create(**values | fields)


def pair(story: Story, **fields: Any) -> ExamplePair:
    values: dict[str, Any] = {
        "comparison": story.comparison,
        "case": story.revision.cases.get(case_id="c2"),
        "rank": 2,
        "baseline_text": '{"kind": "health"}',
        "current_text": '{"kind": "leg"}',
        "baseline_sample_id": uuid7(),
        "current_sample_id": uuid7(),
        "distance": 0.5,
        "json_diff": [
            {"path": "$.kind", "kind": "values_changed", "before": "health", "after": "leg"}
        ],
        "note": "3 of 3 baseline answers agree",
    }
    return ExamplePair.objects.create(**values | fields)


def test_the_list_says_how_many_versions_changed(world: World, story: Story) -> None:
    response = Person(world.auditor).client.get("/changes/")
    assert (
        first_line(response)
        == "One version behaves differently from what was approved, and nobody "
        "announced it."
    )
    assert "Began to answer in sentences." in words(response)


def test_without_changes_the_list_says_what_will_show_here(world: World) -> None:
    assert "No change was found so far" in Person(world.owner).get("/changes/")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"state": "open"}, 1),
        ({"state": "closed"}, 0),
        ({"kind": "silent", "verdict": "changed_material"}, 1),
        ({"kind": "announced"}, 0),
        ({"q": "SENTENCES"}, 1),
        ({"version": "nonsense", "kind": "x"}, 1),
    ],
)
def test_the_list_is_filtered_by_its_address(
    world: World, story: Story, query: dict[str, Any], count: int
) -> None:
    assert f" {count} change{'' if count == 1 else 's'} " in Person(world.owner).get(
        "/changes/", **query
    )


def test_a_change_tells_what_broke_shows_it_and_says_what_next(world: World, story: Story) -> None:
    result(story, "valid")
    pair(story)
    response = Person(world.auditor).client.get("/changes/1/")
    assert first_line(response) == "Began to answer in sentences."
    text = words(response)
    assert "not announced by Local Labs" in text
    assert "−34 pts" in text
    assert "90 %" in text
    assert "A1: Sorts claims correctly" in text
    assert "at least 0.8" in text
    assert "Sure! It is property." in text
    assert "$.kind" in text
    assert "3 of 3 baseline answers agree" in text
    assert "at most 1 % over the whole life of this watch" in text
    assert "RT-1: open" in text
    assert "Claims triage: allowed" in text
    assert "Greta Lead" in text


def test_metrics_that_did_not_move_are_folded_away(world: World, story: Story) -> None:
    result(story, "calm", verdict="equivalent", effect=0.0, low=-0.01, high=0.01, log_e=-1.0)
    html = Person(world.owner).client.get("/changes/1/").content.decode()
    assert "1 metric that did not move" in html
    assert html.index("1 metric that did not move") < html.index(">Calm")


def test_infinite_intervals_and_missing_numbers_are_drawn_or_left_out(
    world: World, story: Story
) -> None:
    result(story, "endless", low=float("-inf"), high=float("inf"), log_e=float("inf"))
    result(story, "empty", effect=None, low=None, high=None, baseline_mean=None, margin=None)
    Person(world.owner).get("/changes/1/")
    Person(world.owner).get(f"/comparisons/{story.comparison.pk}/")


def test_only_the_most_telling_pairs_are_shown_until_asked(world: World, story: Story) -> None:
    many = tell_more_pairs(story)
    owner = Person(world.owner)
    assert f"Show all {many} pairs" in owner.get("/changes/1/")
    assert "Show the ten most telling only" in owner.get("/changes/1/", all="1")


def tell_more_pairs(story: Story) -> int:
    """Pairs are unique for a case, so each gets a case of its own."""
    for n in range(11):
        case = story.revision.cases.create(
            position=10 + n, case_id=f"more-{n}", content_hash=f"x{n}", document={"tags": ["late"]}
        )
        pair(story, case=case, rank=10 + n)
    return ExamplePair.objects.count()


def test_pairs_are_filtered_by_tag(world: World, story: Story) -> None:
    tell_more_pairs(story)
    owner = Person(world.owner)
    text = owner.get("/changes/1/", tag="late", all="1")
    assert "more-7" in text
    assert "Sure! It is property." not in text
    assert "Sure! It is property." in owner.get("/changes/1/", tag="unknown", all="1")


def test_pairs_are_filtered_by_the_kind_of_change(world: World, story: Story) -> None:
    tell_more_pairs(story)
    change = {"path": "$", "kind": "not_json_after", "before": None, "after": None}
    case = story.revision.cases.create(
        position=60, case_id="talks", content_hash="t", document={"tags": ["late"]}
    )
    pair(story, case=case, rank=60, current_text="It is a leg.", json_diff=[change])
    owner = Person(world.owner)
    assert "no longer the same format" in owner.get("/changes/1/")
    text = owner.get("/changes/1/", kind="format")
    assert "talks" in text
    assert "more-1" not in text
    assert "1 of 13 pairs fit" in text
    assert "1 of 13 pairs fit" in owner.get("/changes/1/", kind="format", tag="late")
    assert "13 of 13 pairs fit" in owner.get("/changes/1/", kind="nonsense")


def test_a_pair_tells_how_far_chance_is_out_of_the_question(world: World, story: Story) -> None:
    for _ in range(2):
        later(story)
    text = Person(world.owner).get("/changes/1/")
    assert "3 of 3 answers since then are unlike every baseline answer" in text
    assert "Accuracy 1 → 0" in text


def later(story: Story) -> None:
    """One more rerun that showed the change."""
    run = answered_run(story.world, story.revision, "Sure! It is property.", 0.0)
    look = story.baseline.comparisons.count() + 1
    story.baseline.comparisons.create(
        run=run, look=look, verdict="changed_material", reason="So again.", log_e=9.0, alpha=0.01
    )


def test_a_pair_is_shown_with_what_was_sent_and_what_came_back(world: World, story: Story) -> None:
    row = ExamplePair.objects.get()
    response = Person(world.auditor).client.get(f"/pairs/{row.pk}/")
    assert first_line(response) == "The same request to case c1 got another answer."
    text = words(response)
    assert "Word for word the same both times." in text
    assert '"model": "assistant-instant"' in text
    assert '"content": "property"' in text
    Person(world.outsider).get(f"/pairs/{row.pk}/", status=404)
    Person(world.owner).get(f"/pairs/{uuid.uuid4()}/", status=404)


def test_a_change_offers_the_file_to_recompute_it(world: World, story: Story) -> None:
    answer = Person(world.auditor).client.get("/changes/1/recompute.json")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="C-1-recompute.json"'
    assert answer.json()["change"]["sentence"] == "Began to answer in sentences."
    Person(world.outsider).get("/changes/1/recompute.json", status=404)


def test_all_evidence_on_the_version_stands_before_its_parts(world: World) -> None:
    recorded.baseline_of(world, recorded.suite())
    run = recorded.run_of(world.version, recorded.suite(), seed=4, changed=True)
    event = drift.open_or_extend_change_event(comparison=recorded.compared(run))
    assert event is not None
    text = Person(world.auditor).get(f"/changes/{event.number}/")
    assert "All evidence on this version e-value" in text
    assert "Share of the capital" in text
    assert "at most 1 %, over all suites, probes and metrics together" in text
    assert "all evidence" in Person(world.auditor).get(f"/versions/{world.version.pk}/")


def test_an_answer_that_stopped_being_json_is_said(world: World, story: Story) -> None:
    change = {"path": "$", "kind": "not_json_after", "before": None, "after": None}
    pair(story, current_text="It is a leg.", json_diff=[change])
    assert "the answer now is no JSON" in Person(world.owner).get("/changes/1/")


def test_markup_in_answers_stays_text(world: World, story: Story) -> None:
    pair(story, current_text="<script>alert(1)</script>")
    html = Person(world.owner).client.get("/changes/1/?all=1").content.decode()
    assert "<script>alert" not in html


def test_a_closed_change_says_how_it_ended(world: World, story: Story) -> None:
    drift.close_change_event(
        actor=world.lead, change_event=story.change, reason="RT-1: suspend.", watches="end"
    )
    text = Person(world.owner).get("/changes/1/")
    assert "This change is closed." in text
    assert ChangeEvent.objects.get().state == "closed"


def test_a_comparison_is_a_page_of_its_own(world: World, story: Story) -> None:
    response = Person(world.auditor).client.get(f"/comparisons/{story.comparison.pk}/")
    assert first_line(response) == "assistant-instant on Claims triage is changed (material)."
    text = words(response)
    assert "Accuracy fell." in text
    assert "Change C-1" in text
    assert "e-value 1,340" in text


def test_an_outsider_finds_no_change(world: World, story: Story) -> None:
    outsider = Person(world.outsider)
    outsider.get("/changes/1/", status=404)
    outsider.get(f"/comparisons/{story.comparison.pk}/", status=404)
    assert "No change was found so far" in outsider.get("/changes/")


def test_what_is_not_there_is_not_found(world: World) -> None:
    owner = Person(world.owner)
    owner.get("/changes/7/", status=404)
    owner.get("/changes/99999999999999999999/", status=404)
    owner.get(f"/comparisons/{uuid.uuid4()}/", status=404)
