"""A small believable suite, and ways to bend it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from apps.evaluations.suitefile import Problem, Suite, SuiteError, parse_suite_bytes

DOCUMENT: dict[str, Any] = {
    "schema": "govtrack/suite@1",
    "slug": "claims",
    "name": "Claims",
    "summary": "Whether a claim goes to the right desk.",
    "not_measured": "Everything else.",
    "license": "Apache-2.0",
    "source": "written for the tests",
    "personal_data": False,
    "prompt": {
        "prefix": "Hail broke my van. => motor\n",
        "messages": [{"role": "user", "content": "{{claim}} =>"}],
    },
    "defaults": {"max_tokens": 8, "stop": ["\n"]},
    "scorers": [{"key": "desk", "type": "choice", "choices": ["motor", "health"]}],
    "metrics": [
        {
            "key": "accuracy",
            "label": "Right desk",
            "scorer": "desk",
            "direction": "higher",
            "margin": 0.05,
            "unit": "share",
            "bounds": [0, 1],
        }
    ],
    "cases": [
        {"id": "c-1", "vars": {"claim": "A deer hit my car."}, "expect": "motor"},
        {"id": "c-2", "vars": {"claim": "The dentist sent a bill."}, "expect": "health"},
    ],
}


def document(**changes: Any) -> dict[str, Any]:
    """A copy of the small suite with top-level keys replaced; None takes a key away."""
    value = {**deepcopy(DOCUMENT), **changes}
    return {k: v for k, v in value.items() if v is not None}


def parse(value: dict[str, Any], filename: str = "suite.json") -> Suite:
    return parse_suite_bytes(json.dumps(value).encode(), filename=filename)


def problems_of(
    data: bytes, filename: str = "suite.yaml", cases: bytes | None = None
) -> list[Problem]:
    """The problems for which the bytes are refused; each has a file and ends as a sentence."""
    with pytest.raises(SuiteError) as caught:
        parse_suite_bytes(data, filename=filename, cases=cases)
    problems = caught.value.problems
    assert problems
    for problem in problems:
        assert problem.file
        assert problem.message.rstrip()[-1] in ".?", problem.message
    return problems


def problem_of(data: bytes, filename: str = "suite.yaml", cases: bytes | None = None) -> Problem:
    problems = problems_of(data, filename, cases)
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def bent(**changes: Any) -> Problem:
    return problem_of(json.dumps(document(**changes)).encode(), "suite.json")


def with_scorer(scorer: dict[str, Any], expect: Any = None) -> bytes:
    """The small suite with one scorer of another kind, and cases that expect `expect`."""
    cases = [{"id": "c-1", "vars": {"claim": "x"}, "expect": expect}]
    spec = {"key": "desk", **scorer}
    return json.dumps(document(scorers=[spec], cases=cases)).encode()
