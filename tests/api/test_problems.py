"""Every error is a problem document that says what to do; bad bodies never get far."""

from __future__ import annotations

import json

import pytest
from django.test import override_settings
from rest_framework.test import APIClient

from apps.registry.models import Provider
from tests.api.conftest import Api, is_problem

pytestmark = pytest.mark.django_db
PROVIDER = {"slug": "acme", "name": "Acme"}


def test_an_unknown_address_below_the_api_is_a_problem_document() -> None:
    for path in ("/api/v1/nothing", "/api/v1/providers/", "/api/v2/providers", "/api", "/api/"):
        for method in ("get", "post", "delete"):
            is_problem(getattr(APIClient(), method)(path), 404, "not_found")


def test_a_request_without_a_token_is_told_how_to_sign_in() -> None:
    response = APIClient().get("/api/v1/providers")
    body = is_problem(response, 401)
    assert "Bearer" in body["detail"]
    assert "Bearer" in response["WWW-Authenticate"]


def test_a_wrong_token_is_refused() -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer gt_nonsense")
    is_problem(client.get("/api/v1/providers"), 401)


def test_a_method_that_is_not_served_is_named(lead: Api) -> None:
    response = lead.client.delete("/api/v1/providers")
    is_problem(response, 405, "method_not_allowed")
    assert "GET" in response["Allow"]


def test_another_media_type_is_refused(lead: Api) -> None:
    is_problem(lead.raw("providers", "slug: acme", "text/plain"), 415, "unsupported_media_type")


@pytest.mark.parametrize("body", ["{", "not json", b"\xff\xfe{}", "[" * 100_000, "1" * 10_000])
def test_a_body_that_is_not_json_is_refused(lead: Api, body: bytes | str) -> None:
    is_problem(lead.raw("providers", body), 400, "parse_error")


def test_a_body_that_is_no_object_is_refused(lead: Api) -> None:
    for body in ("[]", '"text"', "1", "null"):
        is_problem(lead.raw("providers", body), 400, "invalid")
    assert not Provider.objects.filter(slug="acme").exists()


def test_an_unknown_field_is_named_and_nothing_is_written(lead: Api) -> None:
    response = lead.post("providers", PROVIDER | {"websit": "https://acme.example"})
    body = is_problem(response, 400, "invalid", field="websit")
    assert "website" in body["errors"][0]["message"]
    assert not Provider.objects.filter(slug="acme").exists()


def test_a_missing_field_is_named(lead: Api) -> None:
    is_problem(lead.post("providers", {"slug": "acme"}), 400, field="name")


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_by_name(lead: Api, literal: str) -> None:
    body = '{"assumptions": [{"code": "A1", "threshold": ' + literal + "}]}"
    is_problem(lead.raw("approvals", body), 400, field="assumptions[0].threshold")


def test_a_number_written_as_text_is_refused(lead: Api) -> None:
    body = {"assumptions": [{"code": "A1", "threshold": "NaN"}]}
    is_problem(lead.post("approvals", body), 400, field="assumptions[0].threshold")


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_a_character_that_cannot_be_stored_is_refused_by_name(lead: Api, text: str) -> None:
    body = json.dumps(PROVIDER | {"name": text})
    is_problem(lead.raw("providers", body), 400, field="name")


def test_nul_in_a_key_or_in_a_filter_is_refused(lead: Api) -> None:
    is_problem(lead.raw("providers", json.dumps(PROVIDER | {"a\x00": 1})), 400)
    is_problem(lead.get("providers", slug="a\x00"), 400)


def test_a_field_given_twice_is_refused(lead: Api) -> None:
    body = '{"slug": "acme", "name": "Acme", "name": "Other"}'
    is_problem(lead.raw("providers", body), 400, field="name")


def test_a_body_that_is_too_large_is_refused(lead: Api) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        response = lead.post("providers", PROVIDER | {"terms": "x" * 2000})
    is_problem(response, 413, "body_too_large")


def test_a_value_that_is_taken_is_a_conflict(lead: Api) -> None:
    assert lead.post("providers", PROVIDER).status_code == 201
    is_problem(lead.post("providers", PROVIDER), 409)


def test_an_unknown_query_parameter_is_named(lead: Api) -> None:
    is_problem(lead.get("runs", sate="open"), 400, field="sate")


def test_a_malformed_filter_is_named(lead: Api) -> None:
    is_problem(lead.get("runs", state="nonsense"), 400, field="state")
    is_problem(lead.get("runs", since="yesterday"), 400, field="since")
    is_problem(lead.get("runs", version="1"), 400, field="version")


def test_an_ordering_that_is_not_offered_is_named(lead: Api) -> None:
    is_problem(lead.get("endpoints", ordering="credential_ref"), 400, field="ordering")


def test_an_error_carries_the_request_id(lead: Api) -> None:
    response = lead.get("providers/0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d")
    assert is_problem(response, 404)["request_id"] == response["X-Request-Id"]


def test_a_fault_of_ours_says_nothing_of_the_inside(
    lead: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("apps.registry.services.create_provider", fail)
    lead.client.raise_request_exception = False
    lead.client.handler.raise_request_exception = False  # type: ignore[attr-defined]
    body = is_problem(lead.post("providers", PROVIDER), 500, "internal_error")
    assert "hunter2" not in json.dumps(body)
