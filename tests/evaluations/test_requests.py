"""What a suite's own form becomes in each API's request body."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.errors import InvalidInput
from apps.evaluations import payloads, stored
from apps.evaluations.models import SuiteRevision
from apps.evaluations.runner import requests
from apps.evaluations.runner.problems import Misconfigured
from apps.evaluations.suites import import_suite
from apps.registry.models import ModelVersion
from tests.evaluations.suitefile.samples import document, parse
from tests.evaluations.suitefile.test_turns import PNG, SHA, TALK, WEATHER, talk, with_image
from tests.fixtures.evaluations import make_owner, make_version

pytestmark = pytest.mark.django_db
URL = "http://127.0.0.1:1/v1"
FORM = {"type": "json_schema", "name": "desk", "schema": {"type": "object"}, "strict": True}


def stored_revision(value: dict[str, Any], image: bool = False) -> SuiteRevision:
    if image:
        payloads.put(PNG)
    return import_suite(actor=make_owner(), suite=parse(value))[0]


def body(revision: SuiteRevision, style: str, version: ModelVersion | None = None) -> Any:
    row = revision.cases.first()
    assert row is not None
    frame, case = stored.frame_of(revision.pk), stored.case_of(row)
    return requests.build(version or make_version(URL), style, frame, case).body


def test_a_conversation_with_tools_is_sent_as_chat_completions_want_it() -> None:
    sent = body(stored_revision(talk(TALK)), "chat_completions")
    assert sent["tools"] == [{"type": "function", "function": WEATHER}]
    call = {"name": "weather", "arguments": '{"town": "Brno"}'}
    assert sent["messages"][1]["tool_calls"] == [{"id": "a1", "type": "function", "function": call}]
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "a1", "content": "rain"}


def test_the_responses_api_gets_calls_and_their_answers_as_items() -> None:
    sent = body(stored_revision(talk(TALK, response_format=FORM)), "responses")
    assert sent["tools"] == [{"type": "function", **WEATHER}]
    assert [item.get("type", item.get("role")) for item in sent["input"]] == [
        "user",
        "function_call",
        "function_call_output",
        "user",
    ]
    assert sent["text"] == {"format": FORM}


def test_an_answer_form_is_sent_and_the_versions_own_parameters_win() -> None:
    revision = stored_revision(document(defaults={"response_format": FORM}))
    rest = {k: v for k, v in FORM.items() if k != "type"}
    expected = {"type": "json_schema", "json_schema": rest}
    assert body(revision, "chat_completions")["response_format"] == expected
    own = {"response_format": {"type": "text"}}
    version = make_version(URL, parameters=own)
    assert body(revision, "chat_completions", version)["response_format"] == {"type": "text"}


def test_tools_of_the_version_come_first_and_keep_their_names() -> None:
    approved = {"type": "function", "function": {"name": "weather", "description": "approved"}}
    extra = {"name": "clock"}
    revision = stored_revision(document(defaults={"tools": [WEATHER, extra]}))
    sent = body(revision, "chat_completions", make_version(URL, tools=[approved]))
    assert sent["tools"] == [approved, {"type": "function", "function": extra}]


@pytest.mark.parametrize("style", ["chat_completions", "responses"])
def test_an_image_is_sent_with_its_bytes(style: str) -> None:
    sent = body(stored_revision(with_image(), image=True), style)
    part = (sent.get("messages") or sent["input"])[0]["content"][1]
    address = part["image_url"]["url"] if style == "chat_completions" else part["image_url"]
    assert address.startswith("data:image/png;base64,iVBOR")
    assert SHA not in address


def test_an_image_that_is_nowhere_is_refused_at_the_import() -> None:
    with pytest.raises(InvalidInput, match="did not come with the suite"):
        stored_revision(with_image())


@pytest.mark.parametrize("value", [with_image(), talk(TALK)], ids=["image", "tools"])
def test_what_the_legacy_api_cannot_carry_stops_the_run_instead_of_being_left_out(
    value: dict[str, Any],
) -> None:
    revision = stored_revision(value, image=True)
    with pytest.raises(Misconfigured, match="legacy Completions API"):
        body(revision, "completions")
