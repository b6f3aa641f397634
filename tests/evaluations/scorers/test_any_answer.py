"""Whatever a model answers, a scorer gives a storable result in bounded time."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.scorers import MAX_SCORED_CHARS, SCORERS, Answer, ScoreResult, build_scorer
from apps.evaluations.suitefile import Case

from .samples import ALL, HOSTILE, RAW

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Surrogates and NUL included, and pieces that scorers look for.
pieces = st.sampled_from(
    ["motor", "{", "}", "[", "]", '"kind":', ",", "60%", "1,250.5", "1e9", "```json\n", "\n", "\\",
     "null", "true", "I can't help", "\ud800", "\x00", ": ", "-", "kind: motor", "٣", "²"]
)  # fmt: skip
anything = st.lists(pieces | st.text(max_size=8), max_size=25).map("".join)
json_texts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda v: (
        st.lists(v, max_size=4)
        | st.dictionaries(st.sampled_from(["kind", "amount", "items", "a", ""]), v, max_size=4)
    ),
    max_leaves=12,
).map(json.dumps)


def strings(value) -> list[str]:
    """Every text and key in a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for child in value.values() for text in strings(child))]
    return [text for child in value for text in strings(child)] if isinstance(value, list) else []


def check(type_name: str, result: ScoreResult) -> None:
    assert "defect" not in result.detail, result.explanation
    assert result.explanation
    if result.value is not None:
        assert math.isfinite(result.value)
        if type_name not in RAW:
            assert 0 <= result.value <= 1
    stored = json.dumps([result.explanation, result.detail], allow_nan=False, ensure_ascii=False)
    stored.encode("utf-8")
    assert not any("\x00" in text for text in strings([result.explanation, result.detail]))
    assert len(stored) < 100_000


def run(type_name, params, expect, text) -> ScoreResult:
    scorer = build_scorer(type_name, params)
    case = Case(id="c-1", expect=expect)
    scorer.check_case(case)
    return scorer.score(Answer(text), case)


def test_every_scorer_takes_part_in_these_tests():
    assert {type_name for type_name, _, _ in ALL} == set(SCORERS)


@pytest.mark.parametrize(("type_name", "params", "expect"), ALL)
@quick
@given(text=anything)
def test_no_text_makes_a_scorer_raise_or_leave_its_range(type_name, params, expect, text):
    check(type_name, run(type_name, params, expect, text))


@pytest.mark.parametrize(("type_name", "params", "expect"), ALL)
@quick
@given(text=json_texts)
def test_no_json_makes_a_scorer_raise_or_leave_its_range(type_name, params, expect, text):
    check(type_name, run(type_name, params, expect, text))


@quick
@given(expected=json_texts, found=json_texts)
def test_json_diff_is_one_only_for_equal_json(expected, found):
    wanted = json.loads(expected)
    if not isinstance(wanted, dict | list):
        return
    same = run("json_diff", {"extract": "whole"}, wanted, expected)
    if abs_limit(wanted):
        assert same.value == 1
    other = run("json_diff", {"extract": "whole"}, wanted, found)
    check("json_diff", other)
    if json.loads(found) != wanted:
        assert other.value is not None
        assert other.value < 1


def abs_limit(value) -> bool:
    """Whether the JSON holds no whole number that the answer's reader refuses."""
    return "9" * 300 not in json.dumps(value)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_scored_in_bounded_time(name):
    text = HOSTILE[name]
    for type_name, params, expect in ALL:
        started = time.process_time()
        result = run(type_name, params, expect, text)
        took = time.process_time() - started
        check(type_name, result)
        assert took < 15, f"{type_name} {params} took {took:.1f} s"


def test_a_long_answer_says_on_which_part_it_was_scored():
    result = run("contains", {}, "needle", "x" * MAX_SCORED_CHARS + "needle")
    assert result.value == 0
    assert "first 200,000 of 200,006 characters" in result.explanation
    assert result.detail["scored_chars"] == MAX_SCORED_CHARS


def test_the_length_of_a_long_answer_is_its_whole_length():
    result = run("length", {}, None, "x" * 1_000_000)
    assert result.value == 1_000_000
    assert "Only the first" not in result.explanation


def test_a_defect_of_a_scorer_does_not_end_the_run_but_is_shown(monkeypatch):
    def broken(self, text, expected, answer):
        raise ZeroDivisionError

    monkeypatch.setattr(SCORERS["exact"], "judge", broken)
    result = run("exact", {}, "a", "a")
    assert result.value is None
    assert result.detail == {"defect": "ZeroDivisionError"}


def test_an_answer_without_text_is_an_empty_answer():
    scorer = build_scorer("length", {})
    assert scorer.score(Answer(text=None), Case(id="c-1")).value == 0  # type: ignore[arg-type]


def test_a_case_without_the_scorers_tag_is_not_scored():
    scorer = build_scorer("exact", {"tags": ["short"]})
    result = scorer.score(Answer("a"), Case(id="c-1", expect="a", tags=("long",)))
    assert result.value is None
    assert scorer.score(Answer("a"), Case(id="c-2", expect="a", tags=("short",))).value == 1


def test_an_expectation_can_be_kept_for_each_scorer():
    scorer = build_scorer("exact", {"expect_field": "label"})
    case = Case(id="c-1", expect={"label": "motor", "amount": 5})
    scorer.check_case(case)
    assert scorer.score(Answer("motor"), case).value == 1
