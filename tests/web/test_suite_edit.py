"""Suites in the page: another tool's file previewed, cases edited and tried, revisions compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.evaluations import stored, suitefile, suites
from apps.evaluations.models import Sample, SuiteRevision
from tests.api.story import SUITE, answered_run, import_suite
from tests.fixtures.evaluations import make_version
from tests.fixtures.provider import Provider
from tests.web.acts import Person, first_line, words
from tests.web.test_suites import second_revision
from tests.world import World

CONFIG = b"""
description: Desks
prompts: ["Which desk? {{claim}}"]
tests: [{vars: {claim: hail}, assert: [{type: contains, value: motor}, {type: python, value: x}]}]
"""


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


def case_form(**fields: Any) -> dict[str, Any]:
    return {
        "revision": "1",
        "case_id": "c1",
        "var_claim": "Hail on the roof",
        "expect": "house",
        "expect_kind": "text",
        "reason": "The kinds were renamed.",
        **fields,
    }


def save(world: World, name: str = "c1", status: int = 302, **fields: Any) -> Any:
    address = "/suites/claims-triage/case/" + (f"?case={name}" if name else "")
    return Person(world.owner).post(address, status=status, **case_form(**fields))


def test_another_tools_file_is_shown_before_it_is_stored(world: World) -> None:
    owner = Person(world.owner)
    file = SimpleUploadedFile("promptfooconfig.yaml", CONFIG)
    shown = owner.post("/suites/import/", status=200, file=file, personal_data="no")
    text = words(shown)
    assert first_line(shown).startswith("1 case would be carried over from promptfooconfig.yaml; 2")
    assert "python" in text
    assert "Which desk? hail" in text
    assert not SuiteRevision.objects.filter(suite__slug="desks").exists()
    token = shown.context["token"]
    stolen = Person(world.lead).post("/suites/import/", status=302, token=token)
    assert stolen["Location"] == "/suites/import/"
    done = owner.post("/suites/import/", status=302, token=token, reason="From QA.")
    assert done["Location"] == "/suites/desks/"
    revision = SuiteRevision.objects.get(suite__slug="desks")
    assert (revision.reason, revision.origin["format"]) == ("From QA.", "promptfoo")
    assert "1 thing left out" not in owner.get("/suites/desks/")
    assert "2 things left out" in owner.get("/suites/desks/")


def test_a_file_that_cannot_be_read_as_what_it_should_be_is_explained(world: World) -> None:
    file = SimpleUploadedFile("x.csv", b"a,b\n1,2\n")
    shown = Person(world.owner).post("/suites/import/", status=400, file=file)
    assert "The table needs a column" in words(shown)


def test_a_case_is_edited_into_the_next_revision(world: World) -> None:
    import_suite(world)
    owner = Person(world.owner)
    page = owner.get("/suites/claims-triage/case/", case="c1")
    assert "Hail on the roof" in page
    save(world, tags="roof, storm")
    newest = SuiteRevision.objects.get(number=2, suite__slug="claims-triage")
    case = stored.suite_of(newest).cases[0]
    assert (case.id, case.expect, case.tags) == ("c1", "house", ("roof", "storm"))
    text = owner.get("/suites/claims-triage/")
    assert "The kinds were renamed." in text
    assert "1 case changed." in text


def test_the_line_ends_of_a_browser_do_not_change_a_case(world: World) -> None:
    import_suite(world)
    save(world, var_claim="Two\r\nlines", expect="a\r\nb")
    newest = SuiteRevision.objects.get(number=2, suite__slug="claims-triage")
    case = stored.suite_of(newest).cases[0]
    assert (case.vars["claim"], case.expect) == ("Two\nlines", "a\nb")


def test_a_case_is_added_and_removed(world: World) -> None:
    import_suite(world)
    save(world, "", case_id="c9")
    assert SuiteRevision.objects.latest("number").case_count == 3
    save(world, "", status=400, case_id="c9", revision="2")
    owner = Person(world.owner)
    gone = {"status": 302, "reason": "Not needed."}
    owner.post("/suites/claims-triage/case/remove/", case="c1", **gone)
    newest = SuiteRevision.objects.latest("number")
    assert (newest.number, newest.case_count, newest.reason) == (3, 2, "Not needed.")
    owner.post("/suites/claims-triage/case/remove/", case="c1", **gone)
    assert "There is no case" in owner.get("/suites/claims-triage/")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"reason": " "}, "Say why this is changed."),
        ({"revision": "7"}, "Somebody saved revision 1 meanwhile."),
        ({"asking": "colour: red"}, "Write a mapping with"),
        ({"asking": "tools: ["}, "Not valid YAML"),
        ({"case_id": "not an id"}, "does not fit the form"),
        ({"expect": "1", "expect_kind": "value"}, "expects text"),
    ],
)
def test_what_cannot_be_saved_says_why_and_keeps_what_was_written(
    world: World, fields: dict[str, Any], sentence: str
) -> None:
    import_suite(world)
    shown = save(world, status=400, **{"var_claim": "Hail, as I wrote it", **fields})
    assert sentence in words(shown)
    assert "Hail, as I wrote it" in shown.content.decode()
    assert not SuiteRevision.objects.filter(number=2).exists()


def test_thresholds_are_edited_for_the_whole_suite(world: World) -> None:
    revision = import_suite(world)
    owner = Person(world.owner)
    page = owner.client.get("/suites/claims-triage/edit/")
    given = {k: v for k, v in page.context["form"].initial.items() if v not in (None, False)}
    metrics = given["metrics"].replace("margin: 0.05", "margin: 0.2")
    fields = {**given, "metrics": metrics, "reason": "Noise is larger.", "revision": "1"}
    owner.post("/suites/claims-triage/edit/", status=302, **fields)
    newest = SuiteRevision.objects.get(suite=revision.suite, number=2)
    assert newest.document["metrics"][0]["margin"] == 0.2
    assert "1 metric margin changed." in owner.get("/suites/claims-triage/")


def test_an_auditor_edits_and_tries_nothing(world: World) -> None:
    import_suite(world)
    auditor = Person(world.auditor)
    assert "Add a case" not in auditor.get("/suites/claims-triage/")
    for address in ("case/", "case/?case=c1", "edit/"):
        auditor.get(f"/suites/claims-triage/{address}", status=403)
    auditor.post("/suites/claims-triage/case/", status=403, **case_form())
    auditor.post("/suites/claims-triage/case/remove/", status=403, case="c1", reason="x")


def test_a_case_is_tried_before_it_is_saved(world: World, provider: Provider) -> None:
    import_suite(world)
    version = make_version(provider.url, owner=world.owner)
    fields = {"try": "1", "version": str(version.pk), "var_claim": "Try this roof", "reason": ""}
    shown = save(world, status=200, **fields)
    text = words(shown)
    assert "answered just now" in text
    assert "Nothing of this is stored." in text
    assert "Try this roof" in shown.content.decode()
    assert any("Try this roof" in prompt for prompt in provider.stats()["calls"])
    assert not Sample.objects.exists()
    assert not SuiteRevision.objects.filter(number=2).exists()


def test_revisions_are_compared_over_the_cases_that_stayed(world: World) -> None:
    import_suite(world)
    second_revision(world)
    owner = Person(world.owner)
    page = owner.client.get("/suites/claims-triage/compare/?revision=2&against=1")
    assert "1 case changed, 1 case added, 1 case removed." in first_line(page)
    text = words(page)
    assert "Nothing can be compared over these revisions" in text
    assert '"property"' in text
    assert '"house"' in text
    owner.get("/suites/claims-triage/compare/", status=404, revision="1")


@pytest.mark.parametrize("name", ["promptfoo", "openai-evals", "inspect-dataset", "csv"])
def test_a_suite_is_exported_for_other_tools(world: World, name: str) -> None:
    import_suite(world)
    response = Person(world.auditor).client.get(f"/suites/claims-triage/export/?as={name}")
    assert b"Hail on the roof" in response.content
    assert Person(world.auditor).client.get("/suites/claims-triage/export/?as=x").status_code == 404


def test_the_cases_show_how_they_did_in_past_runs(world: World) -> None:
    metric = {**SUITE["metrics"][0], "bounds": [0, 1]}
    suite = suitefile.parse_document({**SUITE, "metrics": [metric]})
    revision = suites.import_suite(actor=world.owner, suite=suite)[0]
    for value in (1.0, 1.0, 0.0, 1.0):
        answered_run(world, revision, "property", value)
    owner = Person(world.owner)
    text = owner.get("/suites/claims-triage/")
    assert "Tells apart" in text
    assert "75 %" in text
    assert "1.00" in text
    assert "No case fits." in owner.get("/suites/claims-triage/", look="never")
