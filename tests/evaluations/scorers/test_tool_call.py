"""The tool-call scorer: what was called, with what, in which order, and what nobody asked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.scorers import Answer, ScorerError, ScoreResult, build_scorer
from apps.evaluations.suitefile import Case

PAY = {"name": "pay", "arguments": {"amount": 5, "to": "Ann"}}
LOOK = {"name": "look_up", "arguments": {"claim": "C-1"}}


def chat(name, arguments):
    """A call as Chat Completions write it: the arguments are JSON in a text."""
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": "x", "type": "function", "function": {"name": name, "arguments": raw}}


def sent(*calls):
    return [chat(call["name"], call["arguments"]) for call in calls]


def score(expect, calls, text="", /, **params) -> ScoreResult:
    scorer = build_scorer("tool_call", params)
    case = Case(id="c-1", expect=expect)
    scorer.check_case(case)
    result = scorer.score(Answer(text, calls), case)
    assert "defect" not in result.detail, result.explanation
    return result


@pytest.mark.parametrize(
    ("expect", "calls", "params", "wanted"),
    [
        (PAY, sent(PAY), {}, 1),
        (PAY, [chat("pay", {"amount": 6, "to": "Ann"})], {}, 2 / 3),
        (PAY, [chat("pay", {"amount": 5})], {}, 2 / 3),
        (PAY, [chat("pay", {"amount": 5, "to": "Ann", "note": "x"})], {}, 3 / 4),
        (
            PAY,
            [chat("pay", {"amount": 5, "to": "Ann", "note": "x"})],
            {"extra_arguments": "allow"},
            1,
        ),
        (PAY, [chat("pay", {"amount": 5.0, "to": "ann"})], {"ignore_case": True}, 1),
        (PAY, [chat("pay", {"amount": 5.4, "to": "Ann"})], {"tolerance": 0.5}, 1),
        (PAY, [chat("pay", {"amount": "5", "to": "Ann"})], {}, 2 / 3),
        (PAY, [chat("refund", PAY["arguments"])], {}, 0),
        (PAY, [chat("refund", {})], {"compare": "names"}, 0),
        (PAY, [chat("pay", {})], {"compare": "names"}, 1),
        (PAY, [], {}, 0),
        ([PAY, LOOK], sent(LOOK, PAY), {}, 1),
        ([PAY, LOOK], sent(LOOK, PAY), {"order": "strict"}, 2 / 8),
        ([PAY, LOOK], sent(PAY), {}, 3 / 5),
        (PAY, sent(PAY, LOOK), {}, 3 / 5),
        (PAY, sent(PAY, LOOK), {"extra_calls": "allow"}, 1),
        (PAY, sent(PAY, PAY), {}, 1 / 2),
        ([], [], {}, 1),
        ([], sent(LOOK), {}, 0),
        ({"name": "now"}, [chat("now", "")], {}, 1),
        ({"name": "now"}, [chat("now", "{}")], {}, 1),
        ({"name": "now"}, [chat("now", {"zone": "UTC"})], {}, 1 / 2),
        (PAY, [chat("pay", '{"amount": 5, "to"')], {}, 1 / 3),
        (PAY, [{"type": "function_call", **PAY, "arguments": json.dumps(PAY["arguments"])}], {}, 1),
        (PAY, [PAY], {}, 1),
    ],
)  # fmt: skip
def test_the_score_is_the_share_of_names_and_arguments_that_are_right(
    expect, calls, params, wanted
):
    assert score(expect, calls, **params).value == pytest.approx(wanted)


def test_of_two_calls_of_one_tool_each_is_compared_with_the_one_it_is_nearest_to():
    other = {"name": "pay", "arguments": {"amount": 7, "to": "Bob"}}
    assert score([PAY, other], sent(other, PAY)).value == 1


def test_a_call_written_as_text_is_no_call_unless_the_suite_accepts_it():
    text = "Sure: " + json.dumps(PAY)
    assert score(PAY, [], text).value == 0
    assert score(PAY, [], text, source="text").value == 1
    assert score(PAY, [], json.dumps({"tool_calls": sent(PAY)}), source="either").value == 1
    assert score(PAY, sent(LOOK), text, source="either").value == 0


def test_arguments_that_are_not_json_are_named():
    assert "not JSON" in score(PAY, [chat("pay", "amount=5")]).explanation


def test_the_path_of_the_first_difference_is_named():
    result = score(PAY, [chat("pay", {"amount": 6, "to": "Ann"})])
    assert "$['amount']" in result.explanation
    assert result.detail["changes"][0]["found"] == 6


@pytest.mark.parametrize(
    "expect", ["pay", {"arguments": {}}, {"name": "pay", "arguments": "x"}, {"name": "p", "x": 1}]
)
def test_an_expectation_that_is_no_call_is_refused(expect):
    with pytest.raises(ScorerError, match="expects a call"):
        score(expect, [])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("abc"), v, max_size=3),
    max_leaves=6,
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["pay", "look_up"]),
            "arguments": st.dictionaries(st.sampled_from("abc"), values, max_size=3),
        }
    ),
    max_size=4,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(wanted=calls, data=st.data())
def test_the_expected_calls_in_any_order_score_one(wanted, data):
    assert score(wanted, sent(*data.draw(st.permutations(wanted)))).value == 1


@quick
@given(wanted=calls, found=calls)
def test_one_means_equal_calls_and_every_score_lies_between_zero_and_one(wanted, found):
    def key(call):
        return json.dumps(call, sort_keys=True)

    value = score(wanted, sent(*found)).value
    assert value is not None
    assert 0 <= value <= 1
    assert (value == 1) == (sorted(map(key, wanted)) == sorted(map(key, found)))


@quick
@given(wanted=calls, extra=calls)
def test_a_call_that_nobody_asked_for_never_helps(wanted, extra):
    allowed = score(wanted, sent(*wanted, *extra), extra_calls="allow").value
    refused = score(wanted, sent(*wanted, *extra)).value
    assert allowed == 1
    assert refused is not None
    assert refused <= 1
    assert (refused == 1) == (not extra)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(
            st.sampled_from(["function", "name", "arguments", "type", "a"]), v, max_size=4
        )
    ),
    max_leaves=8,
)


@quick
@given(found=st.lists(junk, max_size=5))
def test_whatever_stands_for_a_call_is_scored(found):
    for expect in (PAY, [], [PAY, LOOK]):
        value = score(expect, found).value
        assert value is not None
        assert 0 <= value <= 1
