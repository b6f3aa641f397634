"""Conversations, tools, answer forms and images: read, checked with a place, written back."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from apps.evaluations.suitefile import (
    SuiteError,
    asking_of,
    dump_suite,
    load_suite_dir,
    parse_document,
    parse_suite_bytes,
    render_case,
)

from .samples import bent, document, parse, problem_of

PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
SHA = hashlib.sha256(PNG).hexdigest()
WEATHER = {
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Is it raining in Brno?"},
    {
        "role": "assistant",
        "tool_calls": [{"id": "a1", "name": "weather", "arguments": {"town": "Brno"}}],
    },
    {"role": "tool", "tool_call_id": "a1", "content": "rain"},
    {"role": "user", "content": "And in Oslo?"},
]


def with_image(**entry: Any) -> dict[str, Any]:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Which {{thing}}?"},
                {"type": "image", "sha256": "{{ photo }}", "detail": "low"},
            ],
        }
    ]
    case = {"id": "c", "vars": {"thing": "car", "photo": SHA}, "expect": "motor"}
    image = {"sha256": SHA, "media_type": "image/png", "alt": "a car", **entry}
    return document(prompt={"messages": messages}, cases=[case], images=[image])


def talk(messages: list[dict[str, Any]], **case: Any) -> dict[str, Any]:
    cases = [{"id": "c", "messages": messages, "expect": "motor", **case}]
    return document(cases=cases, defaults={"tools": [WEATHER]})


def test_a_conversation_with_tool_calls_survives_the_file_and_is_rendered_turn_by_turn() -> None:
    suite = parse(talk(TALK))
    again = parse_suite_bytes(dump_suite(suite), filename="suite.yaml")
    assert again == suite
    assert render_case(again, again.cases[0]) == TALK


def test_a_case_without_its_own_tools_has_those_of_the_suite() -> None:
    cases = [
        {"id": "c", "messages": TALK, "expect": "motor"},
        {"id": "d", "messages": TALK, "expect": "motor", "tools": [], "tool_choice": "none"},
    ]
    defaults = {"tools": [WEATHER], "tool_choice": {"name": "weather"}}
    suite = parse(document(cases=cases, defaults=defaults))
    first, second = (asking_of(suite, case) for case in suite.cases)
    assert (first.tools, first.tool_choice) == ((WEATHER,), {"name": "weather"})
    assert (second.tools, second.tool_choice) == ((), "none")


@pytest.mark.parametrize(
    ("messages", "path", "sentence"),
    [
        ([{"role": "user"}], "cases[0].messages[0]", "content"),
        ([{"role": "tool", "content": "x"}], "cases[0].messages[0]", "names no call"),
        ([*TALK, {**TALK[2], "tool_call_id": "zz"}], "cases[0].messages[4].tool_call_id", "'zz'"),
        ([{**TALK[1], "role": "user"}], "cases[0].messages[0].tool_calls", "Only the assistant"),
        ([{**TALK[0], "tool_call_id": "a1"}], "cases[0].messages[0].tool_call_id", "role 'tool'"),
        (
            [{"role": "user", "content": [{"type": "image", "sha256": SHA}]}],
            "cases[0].messages[0].content[0].sha256",
            "no image",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "sha256": "{{photo}}"}]}],
            "cases[0].messages[0].content[0].sha256",
            "literal",
        ),
        (
            [{"role": "user", "content": [{"type": "film", "text": "x"}]}],
            "cases[0].messages[0].content[0].type",
            "allowed here: 'text', 'image'",
        ),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused_at_its_place(
    messages: list[dict[str, Any]], path: str, sentence: str
) -> None:
    problem = problem_of(json.dumps(talk(messages)).encode(), "suite.json")
    assert problem.path == path
    assert sentence in problem.message


@pytest.mark.parametrize(
    ("defaults", "path", "sentence"),
    [
        ({"tools": [WEATHER, WEATHER]}, "defaults.tools[1].name", "described twice"),
        ({"tools": [{"name": "a b"}]}, "defaults.tools[0].name", "does not fit the form"),
        (
            {"tools": [{"name": "a", "parameters": {"type": "array"}}]},
            "defaults.tools[0].parameters",
            "type: object",
        ),
        ({"tools": [WEATHER], "tool_choice": {"name": "wether"}}, "defaults.tool_choice", "wether"),
        ({"tool_choice": "required"}, "defaults.tool_choice", "no tools"),
        ({"tool_choice": "sometimes"}, "defaults.tool_choice", "does not fit"),
        ({"response_format": {"type": "json_schema"}}, "defaults.response_format", "'name'"),
        (
            {"response_format": {"type": "json_object", "strict": True}},
            "defaults.response_format.strict",
            "belongs to the type json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "name": "a", "schema": {"$ref": "other"}}},
            "defaults.response_format.schema",
            "leads outside the schema",
        ),
    ],
)
def test_tools_and_answer_forms_are_checked_before_anything_is_asked(
    defaults: dict[str, Any], path: str, sentence: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        parse_document(document(defaults=defaults))
    problem = caught.value.problems[0]
    assert problem.path == path
    assert sentence in problem.message
    assert problem.line >= 1


def test_an_image_is_named_by_its_hash_and_comes_inside_the_file() -> None:
    suite = parse(with_image(data=base64.b64encode(PNG).decode()))
    assert suite.image_data == {SHA: PNG}
    assert render_case(suite, suite.cases[0])[0]["content"] == [
        {"type": "text", "text": "Which car?"},
        {"type": "image", "sha256": SHA, "detail": "low"},
    ]
    again = parse_suite_bytes(dump_suite(suite), filename="suite.yaml")
    assert (again, again.image_data) == (suite, {SHA: PNG})


def test_an_image_may_lie_beside_the_suite_but_not_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "car.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    suite_file = folder / "suite.yaml"
    suite_file.write_text(json.dumps(with_image(file="images/car.png")))
    assert load_suite_dir(folder).image_data == {SHA: PNG}
    for outside in ("../secret.png", str(tmp_path / "secret.png"), "images"):
        suite_file.write_text(json.dumps(with_image(file=outside)))
        with pytest.raises(SuiteError, match="There is no file"):
            load_suite_dir(folder)


def test_where_the_bytes_came_from_does_not_change_the_hash() -> None:
    inside = parse(with_image(data=base64.b64encode(PNG).decode()))
    named = parse(with_image())
    assert inside.content_hash == named.content_hash
    assert named.image_data == {}


@pytest.mark.parametrize(
    ("entry", "path", "sentence"),
    [
        ({"data": "not base64!"}, "images[0].data", "base64"),
        ({"data": "AAAA"}, "images[0].sha256", "These bytes have the SHA-256"),
        ({"media_type": "image/jpeg"}, "images[0].media_type", "do not begin like image/jpeg"),
        ({"media_type": "image/svg+xml"}, "images[0].media_type", "allowed here"),
    ],
)
def test_an_image_that_is_not_what_its_entry_says_is_refused(
    entry: dict[str, Any], path: str, sentence: str
) -> None:
    given = {"data": base64.b64encode(PNG).decode(), **entry}
    problem = bent(**{k: with_image(**given)[k] for k in ("prompt", "cases", "images")})
    assert problem.path == path
    assert sentence in problem.message


def test_a_case_whose_image_is_not_listed_is_refused() -> None:
    value = with_image()
    value["cases"][0]["vars"]["photo"] = "0" * 64
    problem = problem_of(json.dumps(value).encode(), "suite.json")
    assert problem.path == "cases[0].vars.photo"
