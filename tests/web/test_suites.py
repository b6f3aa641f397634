from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.evaluations import services, suitefile
from apps.evaluations.models import Suite, SuiteRevision
from tests.api.story import SUITE, Story, import_suite, tell
from tests.web.acts import Person, first_line, words
from tests.world import World


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


# Ten lists of ten of the list before: 10^10 items when written out.
BOMB = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 11)
)


def upload(content: Any, name: str = "suite.json") -> SimpleUploadedFile:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SimpleUploadedFile(name, data)


def import_form(world: World, status: int = 302, **files: Any) -> Any:
    return Person(world.owner).post("/suites/import/", status=status, **files)


def second_revision(world: World) -> SuiteRevision:
    cases = [
        {**SUITE["cases"][0], "expect": "house"},
        {"id": "c3", "vars": {"claim": "A stolen bicycle"}, "expect": "property"},
    ]
    data = json.dumps({**SUITE, "cases": cases}).encode()
    suite = suitefile.parse_suite_bytes(data, filename="suite.json")
    return services.import_suite(actor=world.owner, suite=suite)[0]


def test_the_cards_say_what_a_suite_measures_and_what_not(world: World) -> None:
    import_suite(world)
    response = Person(world.auditor).client.get("/suites/")
    assert first_line(response) == "One suite asks two stored questions, the same ones each time."
    text = words(response)
    assert "Sorts claims into kinds." in text
    assert "Anything but the kind." in text
    assert "never run" in text
    assert "Import a suite" not in text


def test_without_suites_the_page_leads_to_the_import(world: World) -> None:
    assert "No suite yet" in Person(world.owner).get("/suites/")


def test_a_search_that_finds_nothing_leads_back(world: World) -> None:
    import_suite(world)
    assert "No suite fits" in Person(world.owner).get("/suites/", q="astronomy")


def test_an_outsider_sees_no_suite(world: World) -> None:
    import_suite(world)
    outsider = Person(world.outsider)
    assert "Sorts claims" not in outsider.get("/suites/")
    outsider.get("/suites/claims-triage/", status=404)
    outsider.get("/suites/claims-triage/export/", status=404)
    outsider.get("/suites/import/", status=403)


def test_an_auditor_imports_nothing(world: World) -> None:
    Person(world.auditor).post("/suites/import/", status=403, file=upload(SUITE))
    assert not Suite.objects.exists()


def test_a_file_is_stored_once(world: World) -> None:
    response = import_form(world, file=upload(SUITE))
    assert response["Location"] == "/suites/claims-triage/"
    import_form(world, file=upload(SUITE))
    assert SuiteRevision.objects.count() == 1
    assert SuiteRevision.objects.get().case_count == 2


def test_a_suite_that_ships_is_chosen_by_name(world: World) -> None:
    text = Person(world.owner).get("/suites/import/")
    assert "Claims routing" in text
    import_form(world, shipped="claims-routing")
    assert Suite.objects.get().slug == "claims-routing"


def test_cases_may_come_in_a_file_of_their_own(world: World) -> None:
    head = {k: v for k, v in SUITE.items() if k != "cases"}
    lines = "\n".join(json.dumps(case) for case in SUITE["cases"]).encode()
    import_form(world, file=upload(head), cases=upload(lines, "cases.jsonl"))
    assert SuiteRevision.objects.get().case_count == 2


def test_every_problem_is_shown_with_its_line_and_column(world: World) -> None:
    bad = json.dumps({**SUITE, "slug": "Not A Slug", "colour": "red"}, indent=1).encode()
    response = import_form(world, status=400, file=upload(bad))
    text = words(response)
    assert "2 problems in this suite: nothing was stored." in first_line(response)
    assert "colour" in text
    line = 1 + bad.decode().split('"Not A Slug"')[0].count("\n")
    assert f"suite.json {line} " in text
    assert "Check and import" in text
    assert not Suite.objects.exists()


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"\xff\xfe\x00", "suite.yaml", "UTF-8"),
        (BOMB, "suite.yaml", "anchor"),
        (b"[1, 2", "suite.json", "problem"),
        (b"", "suite.yaml", "The submitted file is empty."),
        (b'"only a text"', "suite.json", "problem"),
    ],
)
def test_what_is_no_suite_is_explained(
    world: World, content: bytes, name: str, sentence: str
) -> None:
    response = import_form(world, status=400, file=upload(content, name))
    assert sentence.lower() in words(response).lower()
    assert not Suite.objects.exists()


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.web.forms_suites.MAX_FILE_BYTES", 100)
    response = import_form(world, status=400, file=upload(SUITE))
    assert "are allowed. Split the suite into several." in words(response)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "Choose a file, or one of the suites that ship below."),
        ({"shipped": "../../etc"}, "Select a valid choice."),
        ({"shipped": "claims-json", "file": None}, "Choose a file or one of these, not both."),
    ],
)
def test_an_import_needs_one_suite(world: World, data: dict[str, Any], sentence: str) -> None:
    given = {**data, "file": upload(SUITE)} if "file" in data else data
    response = import_form(world, status=400, **given)
    assert sentence in words(response)
    assert not Suite.objects.exists()


def test_a_damaged_shipped_suite_is_explained(world: World, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "suite.yaml").write_bytes(b"\xff: [")
    settings.EVALS_DIR = tmp_path
    assert "broken" in Person(world.owner).get("/suites/import/")
    response = import_form(world, status=400, shipped="broken")
    assert "nothing was stored" in words(response)


def test_a_suite_shows_cases_expectations_and_scorers(world: World) -> None:
    import_suite(world)
    text = Person(world.auditor).get("/suites/claims-triage/")
    for said in ("Hail on the roof", '"property"', "Anything but the kind.", "Accuracy", "exact"):
        assert said in text
    assert "Run it" not in text


def test_cases_are_searched_in_what_they_ask(world: World) -> None:
    import_suite(world)
    owner = Person(world.owner)
    text = owner.get("/suites/claims-triage/", q="broken LEG")
    assert "1 case " in text
    assert "Hail on the roof" not in text
    assert "No case fits." in owner.get("/suites/claims-triage/", tag="no such tag")


def test_an_older_revision_is_kept_and_what_changed_is_said(world: World) -> None:
    import_suite(world)
    second_revision(world)
    owner = Person(world.owner)
    text = owner.get("/suites/claims-triage/")
    assert "1 case changed, 1 case added, 1 case removed." in text
    old = owner.get("/suites/claims-triage/", revision="1")
    assert "This is an older revision." in old
    assert "Broken leg" in old
    for wrong in ("9", "x", "1.5", "-1", "9" * 30, "²"):
        owner.get("/suites/claims-triage/", status=404, revision=wrong)


def test_an_export_can_be_imported_again(world: World) -> None:
    revision = import_suite(world)
    response = Person(world.auditor).client.get("/suites/claims-triage/export/?revision=1")
    assert response["Content-Type"].startswith("application/yaml")
    again = suitefile.parse_suite_bytes(response.content, filename="suite.yaml")
    assert again.content_hash == revision.content_hash


def test_runs_of_the_suite_are_listed(world: World) -> None:
    story: Story = tell(world)
    text = Person(world.owner).get(f"/suites/{story.revision.suite.slug}/")
    assert "Newest runs assistant-instant" in text
