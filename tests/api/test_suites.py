"""Suites of other tools over the API: checked, imported with a report, written back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.evaluations.models import SuiteRevision
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db
CONFIG = b"""
prompts: ["Which desk? {{claim}}"]
tests: [{vars: {claim: hail}, assert: [{type: equals, value: motor}, {type: python, value: x}]}]
"""


def send(api: Any, verb: str, data: bytes = CONFIG, **fields: Any) -> Any:
    file = SimpleUploadedFile("promptfooconfig.yaml", data)
    given = {"file": file, "format": "promptfoo", "slug": "desks", **fields}
    return api.client.post(f"/api/v1/suites/{verb}", given, format="multipart")


def test_a_foreign_file_is_checked_without_being_stored(owner: Api) -> None:
    body = send(owner, "validate").json()
    assert (body["slug"], body["cases"]) == ("desks", 1)
    assert body["origin"]["left_out"][0]["what"] == "python"
    assert not SuiteRevision.objects.exists()


def test_a_foreign_file_is_imported_once_and_written_back(owner: Api, auditor: Api) -> None:
    first = send(owner, "import", reason="From QA.")
    assert first.status_code == 201, first.content
    row = first.json()["revision"]
    assert (row["reason"], row["origin"]["format"]) == ("From QA.", "promptfoo")
    assert send(owner, "import").status_code == 200
    got = auditor.client.get(f"/api/v1/suite-revisions/{row['id']}/export", {"as": "csv"})
    assert got.content.decode().splitlines()[1].startswith("test-1,,motor")
    assert got["X-Left-Out"] == "2"
    wrong = auditor.client.get(f"/api/v1/suite-revisions/{row['id']}/export", {"as": "inspect-log"})
    assert wrong.status_code == 400
    assert send(auditor, "import").status_code == 403


@pytest.mark.parametrize(
    ("data", "fields", "field"),
    [
        (b"tests: []", {}, "file"),
        (CONFIG, {"format": "word"}, "format"),
        (CONFIG, {"slug": "not a slug"}, "slug"),
        (CONFIG, {"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_imported_is_a_problem_at_its_field(
    owner: Api, data: bytes, fields: dict[str, Any], field: str
) -> None:
    answer = send(owner, "import", data, **fields)
    assert answer.status_code == 400
    assert field in json.dumps(answer.json())
    assert not SuiteRevision.objects.exists()


def test_the_json_schema_of_a_suite_is_served(auditor: Api) -> None:
    schema = auditor.client.get("/api/v1/suites/schema").json()
    assert schema["properties"]["schema"] == {"const": "govtrack/suite@1"}
