"""Suites that ship: every expectation is sure, a right answer scores 1 and a wrong one less."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from apps.evaluations.scorers.base import Answer
from apps.evaluations.suitefile.loader import load_suite_dir
from apps.evaluations.suitefile.scoring import build_scorers, score_answer
from apps.evaluations.suitefile.types import Case, Suite

EVALS = Path(__file__).parents[2] / "evals"
FULL = (
    "arithmetic",
    "instruction-following",
    "json-adherence",
    "multilingual",
    "refusal-balance",
    "style-stability",
    "tool-calls",
)


def scores(suite: Suite, case: Case, text: str = "", calls: list[Any] | None = None) -> dict:
    scored = score_answer(build_scorers(suite), case, Answer(text, calls or []))
    return {key: result.value for key, result in scored.items() if result.value is not None}


def suite(slug: str) -> Suite:
    return load_suite_dir(EVALS / slug)


def test_at_least_six_suites_have_fifty_cases_or_more_and_a_card() -> None:
    for slug in FULL:
        shipped = suite(slug)
        assert len(shipped.cases) >= 50, slug
        assert min(len(shipped.summary), len(shipped.not_measured)) > 60, slug
        assert len({json.dumps(c.canonical(), sort_keys=True) for c in shipped.cases}) == len(
            shipped.cases
        )


def sure(question: str) -> str | float:
    """The answer worked out anew, by other means than those that wrote the suite."""
    numbers = [int(n) for n in re.findall(r"\d+", question)]
    if "prime number" in question:
        n = numbers[0]
        composite = any(math.gcd(n, k) > 1 for k in range(2, math.isqrt(n) + 1))
        return "No" if composite else "Yes"
    if "happy number" in question:
        n = numbers[-1]
        while n not in (1, 4):  # every unhappy number runs into the cycle of 4
            n = sum(int(d) * int(d) for d in str(n))
        return "Yes" if n == 1 else "No"
    if "times" in question:
        return sum(numbers[0] for _ in range(numbers[1]))
    if "remainder" in question:
        return numbers[0] - numbers[1] * (numbers[0] // numbers[1])
    if "divisor" in question:
        return max(d for d in range(1, 1000) if numbers[0] % d == 0 and numbers[1] % d == 0)
    assert " + " in question
    return numbers[0] + numbers[1]


def test_every_sum_has_the_right_answer() -> None:
    arithmetic = suite("arithmetic")
    for case in arithmetic.cases:
        if "word-problem" not in case.tags:
            assert case.expect == sure(case.vars["question"]), case.id
        right = f"Let me see. Yes or no? So:\n{case.expect}"
        assert scores(arithmetic, case, right)[case.tags[-1] if "yesno" in case.tags else "number"]
        wrong = {"Yes": "No", "No": "Yes"}.get(case.expect, "1234567")
        assert 0 in scores(arithmetic, case, wrong).values()


def test_the_expected_json_scores_one_and_talk_around_it_is_seen() -> None:
    adherence = suite("json-adherence")
    for case in adherence.cases:
        right = json.dumps(case.expect["value"])
        found = scores(adherence, case, right)
        assert (found["whole"], found["form"], found["values"]) == (1, 1, 1), case.id
        talk = scores(adherence, case, f"Here it is:\n```json\n{right}\n```")
        assert (talk["whole"], talk["form"], talk["values"]) == (0, 1, 1), case.id
        assert scores(adherence, case, '{"other": 1}')["whole"] == 0


def test_the_expected_calls_score_one_and_a_call_that_nobody_asked_for_less() -> None:
    tools = suite("tool-calls")
    for case in tools.cases:
        wanted = case.expect if isinstance(case.expect, list) else [case.expect]
        calls = [
            {"function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}}
            for c in wanted
        ]
        assert set(scores(tools, case, "Done.", calls).values()) == {1}, case.id
        stray = {"function": {"name": "get_claim", "arguments": '{"claim_number": 424242}'}}
        assert min(scores(tools, case, "Done.", [*calls, stray]).values()) < 1, case.id


@pytest.mark.parametrize(
    ("case_id", "right", "wrong"),
    [
        ("words-3", "The moon circles our small planet.", "The moon."),
        ("sentences-2", "Books wait there. People come. All read.", "Books wait there."),
        ("numbered-4", "1. iron\n2. zinc", "iron and zinc"),
        ("dashes-4", "- Arctic\n- Indian", "* Arctic\n* Indian"),
        ("capitals-1", "TEA IS HOT.", "Tea is hot."),
        ("lower-1", "a mirror shows you.", "A mirror shows you."),
        ("begin-1", "To begin with, it points north.", "It points north."),
        ("end-2", "Dew is water from the air. Ask me again tomorrow.", "Dew is water."),
        ("words-in-out-1", "Sugar and flour, baked.", "Sugar, flour and one egg, baked."),
        ("one-word-5", "Green", "It is green"),
        ("verbatim-2", "A,B,C,D,E", "A, B, C, D, E"),
    ],
)
def test_an_instruction_is_checked(case_id: str, right: str, wrong: str) -> None:
    following = suite("instruction-following")
    case = next(c for c in following.cases if c.id == case_id)
    assert scores(following, case, right)[case.tags[0]] == 1
    assert scores(following, case, wrong)[case.tags[0]] < 1


def test_refusals_count_against_harmless_and_for_harmful_requests() -> None:
    balance = suite("refusal-balance")
    tags = [case.tags[0] for case in balance.cases]
    assert tags.count("answer") == tags.count("decline") == 30
    for case in balance.cases:
        metric = "over" if case.tags == ("answer",) else "declined"
        assert scores(balance, case, "I'm sorry, but I can't help with that.")[metric] == 1
        assert scores(balance, case, "Sure. First, open the window.")[metric] == 0


def test_questions_of_the_multilingual_suite_are_in_the_language_expected_back() -> None:
    multilingual = suite("multilingual")
    read = [
        scores(multilingual, case, case.vars["text"] * 4)["same"]
        for case in multilingual.cases
        if "same" in case.tags
    ]
    assert sum(read) == len(read) == 56
