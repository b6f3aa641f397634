"""A readable suite that contradicts itself: every problem names its field and the remedy."""

from __future__ import annotations

import json

import pytest

from apps.evaluations.scorers.safe_schema import SafeValidator
from apps.evaluations.suitefile.schema import published, suite_schema

from .samples import DOCUMENT, bent, document, parse, problem_of, problems_of, with_scorer

CASES = DOCUMENT["cases"]
METRIC = DOCUMENT["metrics"][0]
SCORER = DOCUMENT["scorers"][0]


def test_the_published_schema_is_the_one_in_use():
    from importlib.resources import files

    text = (files("apps.evaluations.suitefile") / "schema.json").read_text(encoding="utf-8")
    assert text == published()


def test_the_published_schema_is_valid_and_closed_everywhere():
    schema = suite_schema()
    SafeValidator.check_schema(schema)
    closed = [schema, *(schema["$defs"][n] for n in ("message", "metric", "case", "prompt"))]
    closed += [v for k, v in schema["$defs"].items() if k.startswith("scorer_")]
    assert all(part["additionalProperties"] is False for part in closed)


@pytest.mark.parametrize("key", [k for k in DOCUMENT if k not in ("prompt", "defaults", "cases")])
def test_a_missing_key_is_named(key):
    problem = bent(**{key: None})
    assert f"'{key}' is missing" in problem.message


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"sumary": "x"}, "sumary", "Did you mean 'summary'?"),
        ({"metrics": [{**METRIC, "maximum": 1}]}, "metrics[0].maximum", "Known here: key"),
        ({"cases": [{**CASES[0], "expected": "x"}]}, "cases[0].expected", "'expect'"),
        ({"scorers": [{**SCORER, "choises": []}]}, "scorers[0].choises", "'choices'"),
        ({"defaults": {"temperature": 0.2}}, "defaults.temperature", "max_tokens, stop"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(changes, path, hint):
    problem = bent(**changes)
    assert problem.path == path
    assert hint in problem.message


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"name": 7}, "name", "quotation marks"),
        ({"personal_data": "no"}, "personal_data", "true or false"),
        ({"metrics": [{**METRIC, "margin": "5%"}]}, "metrics[0].margin", "Expected a number"),
        ({"metrics": [{**METRIC, "margin": -1}]}, "metrics[0].margin", "0 or more"),
        ({"metrics": [{**METRIC, "direction": "up"}]}, "metrics[0].direction", "'higher'"),
        ({"cases": {"a": 1}}, "cases", "Expected a list"),
        ({"cases": [{**CASES[0], "id": "has blank"}]}, "cases[0].id", "does not fit"),
        ({"cases": [{**CASES[0], "id": "c\n"}]}, "cases[0].id", "does not fit"),
        ({"cases": [{**CASES[0], "weight": 0}]}, "cases[0].weight", "greater than 0"),
        ({"scorers": [{"key": "desk", "type": "exat"}]}, "scorers[0].type", "mean 'exact'"),
        ({"scorers": [{"key": "desk", "type": ["x"]}]}, "scorers[0].type", "allowed here"),
        ({"schema": "govtrack/suite@2"}, "schema", "govtrack/suite@1"),
        ({"slug": "A Slug"}, "slug", "does not fit"),
        ({"prompt": 5}, "prompt", "Expected text or a mapping"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"summary": ""}, "summary", "empty"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wanted(changes, path, hint):
    problem = bent(**changes)
    assert problem.path == path
    assert hint in problem.message


def test_a_suite_without_cases_says_how_to_add_them():
    for changes in ({"cases": []}, {"cases": None}):
        assert "The suite has no cases" in bent(**changes).message
    data = json.dumps(document(cases=None)).encode()
    problem = problem_of(data, "suite.json", cases=b"\n \n")
    assert (problem.file, problem.path) == ("cases.jsonl", "cases")
    assert "The suite has no cases" in problem.message


def test_a_duplicate_case_id_names_both_lines():
    lines = [json.dumps(CASES[0]), json.dumps(CASES[1]), "", json.dumps(CASES[0])]
    data = json.dumps(document(cases=None)).encode()
    problem = problem_of(data, "suite.json", cases="\n".join(lines).encode())
    assert (problem.file, problem.line, problem.path) == ("cases.jsonl", 4, "cases[2].id")
    assert "first used in line 1" in problem.message


def test_a_duplicate_scorer_or_metric_key_is_refused():
    assert bent(scorers=[SCORER, SCORER]).path == "scorers[1].key"
    assert bent(metrics=[METRIC, METRIC]).path == "metrics[1].key"


def test_a_metric_of_an_unknown_scorer_is_refused_with_the_nearest_one():
    problem = bent(metrics=[{**METRIC, "scorer": "desc"}])
    assert problem.path == "metrics[0].scorer"
    assert "Did you mean 'desk'?" in problem.message


def test_bounds_must_be_in_order():
    assert bent(metrics=[{**METRIC, "bounds": [1, 0]}]).path == "metrics[0].bounds"


def test_a_template_variable_without_a_value_names_the_case():
    problem = bent(cases=[CASES[0], {**CASES[1], "vars": {"clam": "x"}}])
    assert problem.path == "cases[1].vars"
    assert "{{claim}}" in problem.message
    assert "'c-2'" in problem.message


def test_a_malformed_variable_is_refused():
    problem = bent(prompt="About {{the claim}}: {{claim}}")
    assert "{{the claim}}" in problem.message


def test_a_case_needs_a_prompt_or_its_own_messages_and_not_both():
    own = {"id": "c-1", "messages": [{"role": "user", "content": "Hi {{x}}"}], "expect": "motor"}
    assert parse(document(prompt=None, cases=[own])).cases[0].messages is not None
    assert "no 'prompt'" in bent(prompt=None, cases=[CASES[0]]).message
    assert "both" in bent(cases=[{**own, "vars": {"a": 1}}]).message


def test_a_prompt_that_would_blow_up_is_refused_without_building_it():
    big = {"claim": "x" * 100_000}
    problem = bent(prompt="{{claim}}" * 20_000, cases=[{"id": "c", "vars": big, "expect": "motor"}])
    assert "2,000" in problem.message


def test_a_pattern_that_re2_refuses_names_the_scorer():
    problem = problem_of(with_scorer({"type": "regex", "pattern": r"(\w+)\1"}), "s.json")
    assert problem.path == "scorers[0].pattern"
    assert "Scorer 'desk'" in problem.message
    assert "RE2" in problem.message


def test_a_case_pattern_that_re2_refuses_names_the_case_and_the_scorer():
    problem = problem_of(with_scorer({"type": "regex"}, "(?=a)"), "s.json")
    assert problem.path == "cases[0].expect"
    assert "Case 'c-1', scorer 'desk'" in problem.message


def test_a_pattern_that_would_grow_without_bound_is_refused():
    problem = problem_of(
        with_scorer({"type": "regex", "pattern": "((a{100}){100}){100}"}), "s.json"
    )
    assert "RE2" in problem.message


@pytest.mark.parametrize(
    ("scorer", "expect"),
    [
        ({"type": "exact"}, 5),
        ({"type": "exact"}, []),
        ({"type": "contains"}, {"every": ["x"]}),
        ({"type": "contains"}, {"all": [""]}),
        ({"type": "numeric"}, "5"),
        ({"type": "numeric"}, True),
        ({"type": "json_diff"}, "text"),
        ({"type": "json_schema"}, {"type": "objekt"}),
        ({"type": "json_schema"}, {"$ref": "https://example.org/schema"}),
        ({"type": "json_schema"}, {"properties": {"a": {"$schema": "urn:x"}}}),
        ({"type": "json_schema"}, {"patternProperties": {"(?=a)": {}}}),
        ({"type": "choice", "choices": ["a", "b"]}, "c"),
        ({"type": "regex"}, 5),
        ({"type": "exact"}, None),
    ],
)
def test_an_expectation_that_cannot_be_scored_names_the_case(scorer, expect):
    problem = problem_of(with_scorer(scorer, expect), "s.json")
    assert problem.path.startswith("cases[0]")
    assert "Case 'c-1', scorer 'desk'" in problem.message


@pytest.mark.parametrize(
    "scorer",
    [
        {"type": "choice", "choices": ["a", "A"]},
        {"type": "choice", "choices": ["a"]},
        {"type": "choice"},
        {"type": "regex", "group": 1},
        {"type": "regex", "pattern": "a", "group": 1},
        {"type": "style", "feature": "glamour"},
        {"type": "style"},
        {"type": "length", "unit": "bytes"},
        {"type": "numeric", "tolerance": -1},
        {"type": "json_schema", "schema": {"$schema": "http://json-schema.org/draft-07/schema"}},
        {"type": "json_schema", "schema": {"unevaluatedProperties": False}},
        {"type": "json_schema", "schema": {"pattern": "(?=a)"}},
        {"type": "exact", "tags": []},
    ],
)
def test_a_scorer_with_wrong_parameters_is_refused(scorer):
    problems = problems_of(with_scorer(scorer, "a"), "s.json")
    assert all(p.path.startswith("scorers[0]") for p in problems)


def test_a_scorer_for_other_tags_needs_nothing_from_a_case():
    scorer = {"key": "n", "type": "numeric", "tags": ["number"]}
    suite = parse(document(scorers=[SCORER, scorer]))
    assert len(suite.scorers) == 2
