"""Path statistics: what changed in which share of cases, and what was noise before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.drift.stats.structure import kind, path_changes, shape

LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "."])
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from("ab."), LEAVES)


def sentences(before: dict[str, list[Any]], after: dict[str, Any]) -> list[str]:
    old = {case: [shape(v) for v in values] for case, values in before.items()}
    return [r.sentence for r in path_changes(old, {c: [shape(v)] for c, v in after.items()})]


def test_an_amount_that_became_a_string_is_counted_over_the_cases() -> None:
    before = {f"c{i}": [{"amount": i, "desk": "motor"}] for i in range(6)}
    after = {f"c{i}": {"amount": str(i) if i < 5 else i, "desk": "fire"} for i in range(6)}
    assert sentences(before, after) == ["$.amount became a string in 83 % of cases (5 of 6)"]


def test_keys_that_are_gone_and_new_are_told_once_at_the_top() -> None:
    before = {"a": [{"old": {"deep": 1}}], "b": [{"old": {"deep": 2}}]}
    after = {"a": {"new": {"x": 1}}, "b": {"new": {"x": 2}}}
    assert sentences(before, after) == [
        "$.new is new in 100 % of cases (2 of 2)",
        "$.old is gone in 100 % of cases (2 of 2)",
    ]


def test_what_the_replicates_disagree_on_is_noise() -> None:
    before = {"a": [{"x": 1, "y": 1}, {"x": "1"}]}
    assert sentences(before, {"a": {"x": "2"}}) == []


def test_longer_and_shorter_lists_are_no_change_but_other_members_are() -> None:
    before = {"a": [{"items": [1, 2, 3]}]}
    assert sentences(before, {"a": {"items": [1] * 9}}) == []
    assert sentences(before, {"a": {"items": []}}) == []
    assert sentences(before, {"a": {"items": ["1"]}}) == [
        "$.items[*] became a string in 100 % of cases (1 of 1)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([shape({})], None, "answers are no longer JSON in 100 % of cases (1 of 1)"),
        ([None], shape({}), "answers are now JSON in 100 % of cases (1 of 1)"),
        ([None, shape({})], None, ""),
        ([None], None, ""),
    ],
)
def test_json_that_stops_or_begins_is_said(old: Any, new: Any, said: str) -> None:
    rows = path_changes({"a": old}, {"a": [new]})
    assert [r.sentence for r in rows] == ([said] if said else [])


def test_keys_with_dots_and_very_deep_values_are_kept_apart() -> None:
    deep: Any = 1
    for _ in range(3_000):
        deep = [deep]
    assert sentences({"a": [{"a.b": 1, "a": {"b": "x"}}]}, {"a": {"a.b": 2, "a": {"b": "x"}}}) == []
    assert shape(deep)


@given(st.dictionaries(st.sampled_from("xyz"), VALUES))
def test_answers_beside_themselves_have_not_changed(values: dict[str, Any]) -> None:
    assert sentences({c: [v] for c, v in values.items()}, values) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=25,
)


@given(JSON)
def test_a_shape_holds_every_value_at_its_path(value: Any) -> None:
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(path: tuple[str, ...], item: Any) -> None:
        found.setdefault(path, set()).add(kind(item))
        if isinstance(item, dict):
            for key, part in item.items():
                walk((*path, f".{key}"), part)
        elif isinstance(item, list):
            for part in item:
                walk((*path, "[*]"), part)

    walk(("$",), value)
    assert shape(value) == found
