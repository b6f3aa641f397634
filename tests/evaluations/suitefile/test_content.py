"""The content hash, the round trip, and the prompts that a suite renders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.scorers import Answer
from apps.evaluations.suitefile import (
    build_scorers,
    dump_suite,
    load_suite_dir,
    metric_value,
    parse_suite_bytes,
    render_case,
    score_answer,
)

from .samples import DOCUMENT, document, parse

EVALS = Path(__file__).parents[3] / "evals"
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
safe = 2**53 - 1
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-safe, safe)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["no", "1e5", "12:30", "2026-01-01", "~", "null", "0x1", "<<", "=", "007"])
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=8
)
ids = st.lists(st.from_regex(r"\A[a-z][a-z0-9._-]{0,8}\Z"), min_size=1, max_size=4, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Suites whose texts, variables and expectations hold anything that can be stored."""
    cases = []
    for case_id in draw(ids):
        case: dict[str, Any] = {"id": case_id, "vars": {"claim": draw(values)}}
        if draw(st.booleans()):
            case["expect"] = draw(values)
        if draw(st.booleans()):
            case["tags"] = draw(st.lists(texts.filter(bool), max_size=2))
        cases.append(case)
    return document(
        name=draw(texts.filter(bool)),
        prompt={
            "prefix": draw(texts),
            "messages": [{"role": "user", "content": "{{claim}} =>"}],
        },
        scorers=[{"key": "desk", "type": "length"}],
        cases=cases,
    )


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {k: shuffled(value[k], draw) for k in keys}
    return [shuffled(v, draw) for v in value] if isinstance(value, list) else value


@quick
@given(documents(), st.data())
def test_the_hash_does_not_depend_on_key_order_or_white_space(value, data):
    other = shuffled(value, data.draw)
    indent = data.draw(st.sampled_from([None, 1, 4]))
    again = parse_suite_bytes(json.dumps(other, indent=indent).encode(), filename="s.json")
    assert again.content_hash == parse(value).content_hash


@quick
@given(documents())
def test_a_suite_written_as_yaml_reads_back_as_the_same_suite(value):
    suite = parse(value)
    again = parse_suite_bytes(dump_suite(suite), filename="suite.yaml")
    assert again == suite
    assert again.content_hash == suite.content_hash


@quick
@given(documents())
def test_a_suite_as_canonical_json_reads_back_as_the_same_suite(value):
    suite = parse(value)
    again = parse(suite.canonical())
    assert again.content_hash == suite.content_hash
    assert [c.content_hash for c in again.cases] == [c.content_hash for c in suite.cases]


@quick
@given(documents())
def test_yaml_that_we_write_means_the_same_to_a_stock_yaml_reader(value):
    text = dump_suite(parse(value))
    assert parse(yaml.safe_load(text)).content_hash == parse(value).content_hash


@pytest.mark.parametrize(
    "text",
    [
        "\x85",
        "\u2028",
        "a\u2029b",
        "\r",
        "\t",
        " \n",
        "\n\n",
        "a\n \nb\n",
        "\ufeff",
        "\x7f",
        "- a\nb",
    ],
)
def test_text_with_unusual_line_breaks_and_blanks_survives_yaml(text):
    suite = parse(document(name=text, prompt={"prefix": text, **messages_only()}))
    data = dump_suite(suite)
    assert parse_suite_bytes(data, filename="s.yaml") == suite
    assert parse(yaml.safe_load(data)) == suite


def messages_only() -> dict[str, Any]:
    return {"messages": DOCUMENT["prompt"]["messages"]}


@quick
@given(documents())
def test_suites_of_one_hash_render_the_same_prompts(value):
    suite = parse(value)
    again = parse_suite_bytes(dump_suite(suite), filename="suite.yaml")
    for one, other in zip(suite.cases, again.cases, strict=True):
        assert render_case(suite, one) == render_case(again, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Other"},
        {"defaults": {"max_tokens": 9, "stop": ["\n"]}},
        {"prompt": "{{claim}} =>"},
        {"cases": DOCUMENT["cases"][:1]},
        {"cases": [{**DOCUMENT["cases"][0], "weight": 2}, DOCUMENT["cases"][1]]},
        {"personal_data": True},
    ],
)
def test_any_change_of_content_changes_the_hash(changes):
    assert parse(document(**changes)).content_hash != parse(document()).content_hash


def test_what_is_written_out_at_its_default_does_not_change_the_hash():
    cases = [{**case, "weight": 1.0, "tags": [], "note": ""} for case in DOCUMENT["cases"]]
    assert parse(document(cases=cases)).content_hash == parse(document()).content_hash


def test_the_hash_of_the_small_suite_never_changes():
    """Stored revisions are known by it: when this fails, hashes of stored suites changed too."""
    expected = "sha256:1d5463b66323a5bf760e9a1096682c2bd6fd09cbb2421c54d57f1d09dd5fb768"
    assert parse(document()).content_hash == expected


def test_a_plain_text_prompt_is_one_user_message():
    suite = parse(document(prompt="Where does this go? {{ claim }}"))
    assert render_case(suite, suite.cases[0]) == [
        {"role": "user", "content": "Where does this go? A deer hit my car."}
    ]


def test_the_prefix_goes_before_the_first_user_message_as_it_is():
    messages = [
        {"role": "system", "content": "You sort {{claim}}"},
        {"role": "user", "content": "{{claim}}"},
    ]
    suite = parse(document(prompt={"messages": messages, "prefix": 'Say {{x}} {"a":{"b":1}}\n'}))
    rendered = render_case(suite, suite.cases[0])
    assert rendered[0]["content"] == "You sort A deer hit my car."
    assert rendered[1]["content"] == 'Say {{x}} {"a":{"b":1}}\nA deer hit my car.'


def test_a_value_that_looks_like_a_variable_is_not_expanded_again():
    case = {"id": "c", "vars": {"claim": "{{claim}}{{secret}}", "secret": "x"}, "expect": "motor"}
    suite = parse(document(cases=[case]))
    assert render_case(suite, suite.cases[0])[0]["content"].endswith("{{claim}}{{secret}} =>")


def test_numbers_and_lists_are_rendered_in_one_spelling():
    for written, printed in ((1.0, "1"), (0.5, "0.5"), (True, "true"), ([1.0, "a"], '[1,"a"]')):
        case = {"id": "c", "vars": {"claim": written}, "expect": "motor"}
        suite = parse(document(cases=[case]))
        assert render_case(suite, suite.cases[0])[0]["content"].endswith(f"\n{printed} =>")


def test_a_metric_is_the_weighted_mean_over_what_was_scored():
    cases = [{**DOCUMENT["cases"][0], "weight": 3}, DOCUMENT["cases"][1]]
    suite = parse(document(cases=cases))
    scorers = build_scorers(suite)
    results = [(case, score_answer(scorers, case, Answer(" motor"))) for case in suite.cases]
    assert metric_value(suite.metrics[0], results) == 0.75
    assert metric_value(suite.metrics[0], []) is None


@pytest.mark.parametrize("slug", sorted(p.name for p in EVALS.iterdir() if p.is_dir()))
def test_a_suite_that_ships_is_valid_and_says_what_it_is(slug):
    suite = load_suite_dir(EVALS / slug)
    assert suite.slug == slug
    assert suite.license == "Apache-2.0"
    assert not suite.personal_data
    assert (
        parse_suite_bytes(dump_suite(suite), filename="s.yaml").content_hash == suite.content_hash
    )
    for case in suite.cases:
        assert render_case(suite, case)


def test_the_demo_suites_have_at_least_thirty_cases_together():
    slugs = ("claims-routing", "claims-style", "claims-json")
    assert sum(len(load_suite_dir(EVALS / slug).cases) for slug in slugs) >= 30
