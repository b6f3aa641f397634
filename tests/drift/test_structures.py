"""The structure of a rerun's answers, stored with the comparison."""

from __future__ import annotations

import json

from apps.drift.services import open_or_extend_change_event
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.fixtures.pages import page, signed_in
from tests.world import World


def test_a_type_that_changed_is_stored_with_the_comparison_and_shown(world: World) -> None:
    now = [json.dumps({"desk": 7, "note": "long " * 30, "sure": True}), json.dumps({"desk": "x"})]
    baseline_of(world, suite())
    for _ in range(3):
        comparison = compared(run_of(world.version, suite(), texts=now, value=0.0))
    told = {(r["path"], r["change"]): r for r in comparison.method["structure"]}
    assert told["$.desk", "type"]["sentence"] == (
        "$.desk became a number in 50 % of cases (10 of 20)"
    )
    assert told["$.note", "gone"]["cases"] == 10
    assert told["$.sure", "new"]["after"] == "boolean"
    event = open_or_extend_change_event(comparison=comparison)
    assert event is not None
    shown = page(signed_in(world.lead), f"/changes/{event.number}/")
    assert "$.desk" in shown
    assert "string → number" in shown


def test_text_that_json_cannot_store_stops_nothing(world: World) -> None:
    baseline_of(world, suite(), texts=['{"desk": "motor"}'], value=1.0)
    odd = '{"a\\u0000b": 1, "\\ud800": 2}'
    comparison = compared(run_of(world.version, suite(), texts=[odd], value=0.0))
    assert {r["change"] for r in comparison.method["structure"]} == {"gone", "new"}


def test_unchanged_answers_have_no_structure_to_tell_of(world: World) -> None:
    baseline_of(world, suite())
    assert compared(run_of(world.version, suite(), seed=2)).method["structure"] == []
