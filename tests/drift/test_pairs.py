"""Differences of JSON answers, also of those that a model bends."""

from __future__ import annotations

from typing import Any

import pytest

from apps.drift.pairs import json_difference
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World

HOSTILE = {
    "NaN": '{"a": NaN}',
    "infinity": '{"a": 1e999}',
    "NUL": '{"a": "\\u0000"}',
    "NUL in a key": '{"a": 1, "b\\u0000": 2}',
    "lone surrogate": '{"a": "\\ud800"}',
    "huge number": '{"a": 1' + "0" * 400 + "}",
    "deep": "[" * 900 + "]" * 900,
    "too deep for Python": "[" * 30_000,
}


def row(before: str, after: str) -> dict[str, Any]:
    rows = json_difference(before, after)
    assert len(rows) == 1
    return rows[0]


def test_a_changed_value_is_shown_with_its_path() -> None:
    assert row('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}') == {
        "path": "$.a.b[1]",
        "kind": "values_changed",
        "before": 2,
        "after": 3,
    }


def test_a_removed_key_has_nothing_after() -> None:
    found = row('{"a": 1, "b": 2}', '{"a": 1}')
    assert (found["path"], found["before"], found["after"]) == ("$.b", 2, None)


def test_an_answer_that_says_not_present_is_shown_in_full() -> None:
    found = row('{"a": "He came."}', '{"a": "He was not present."}')
    assert found["after"] == "He was not present."


def test_plain_text_has_no_difference_of_json() -> None:
    assert json_difference("motor", "fire") == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_json_is_compared_and_stored(world: World, text: str) -> None:
    baseline_of(world, suite(), texts=['{"a": 1}'])
    comparison = compared(run_of(world.version, suite(), changed=True, texts=[text]))
    assert comparison.verdict == "changed_material"
    pair = comparison.pairs.get(rank=1)
    pair.refresh_from_db()
    assert pair.json_diff
