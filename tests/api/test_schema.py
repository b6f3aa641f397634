"""The OpenAPI document says the truth, and every GET in it answers."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from apps.access.models import ApiToken
from apps.audit import services as audit
from apps.drift import probing
from apps.evaluations import budgets, prices, rescoring, reviews
from apps.evaluations.models import Judgement, Sample
from tests.api.conftest import Api
from tests.api.story import Story

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_schema_is_made_without_a_warning(tmp_path: Any) -> None:
    call_command(
        "spectacular", "--fail-on-warn", "--validate", "--file", str(tmp_path / "schema.yml")
    )


def test_the_schema_is_valid_openapi_3(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.")
    validate_schema(schema)


def test_every_operation_may_answer_with_a_problem(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        assert "default" in operation["responses"], (path, method)


def test_every_post_takes_an_idempotency_key_and_every_patch_needs_if_match(
    schema: dict[str, Any],
) -> None:
    for path, method, operation in operations(schema):
        names = {
            p["name"]: p.get("required", False)
            for p in operation.get("parameters", [])
            if p["in"] == "header"
        }
        if method == "post":
            assert "Idempotency-Key" in names, path
        if method == "patch":
            assert names.get("If-Match") is True, path


def test_main_operations_have_examples(schema: dict[str, Any]) -> None:
    wanted = (
        "/use-cases",
        "/model-versions",
        "/approvals",
        "/runs",
        "/suites/import",
        "/tickets/{ticket_id}/decisions",
        "/tokens",
    )
    for path in wanted:
        content = schema["paths"]["/api/v1" + path]["post"]["requestBody"]["content"]
        assert any("examples" in kind for kind in content.values()), path
    answer = schema["paths"]["/api/v1/gate"]["get"]["responses"]["200"]["content"]
    assert "examples" in answer["application/json"]


def test_what_is_one_object_is_not_described_as_a_list(schema: dict[str, Any]) -> None:
    for path in ("/gate", "/me", "/audit/verify", "/policies/current", "/runs/{id}/progress"):
        answer = schema["paths"]["/api/v1" + path]["get"]["responses"]["200"]
        assert "$ref" in answer["content"]["application/json"]["schema"], path


def test_no_answer_has_a_field_for_a_secret(schema: dict[str, Any]) -> None:
    for name, component in schema["components"]["schemas"].items():
        fields = set(component.get("properties", {}))
        assert not fields & {"password", "token_hash", "key_hash", "credential_ciphertext"} or (
            name.endswith("Request")
        ), name
        assert "secret" not in fields or name == "TokenCreated"


@pytest.mark.django_db
def test_every_get_of_the_schema_answers(schema: dict[str, Any], admin: Api, story: Story) -> None:
    """With an administrator's token, on a world where there is one row of everything."""
    provider = story.world.provider
    one = prices.NewPrice(
        provider.slug, "*", "USD", Decimal(0), Decimal(0), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    )
    prices.import_prices(actor=story.world.admin, prices=[one])
    budgets.set_budget(actor=story.world.admin, provider=provider, max_tokens=10**6)
    audit.sequence()
    [probe] = probing.start_probes(
        actor=story.world.owner, model_version=story.world.version, kinds=["logprob"]
    )
    sample = Sample.objects.filter(run=story.after).first()
    assert sample is not None
    scoring = rescoring.rescore(actor=story.world.owner, run=story.after)
    Judgement.objects.create(
        scoring=scoring, metric_key="accuracy", sample_id=sample.id, asked="alone",
        request_digest=sample.request_digest, text="VERDICT: PASS",
    )  # fmt: skip
    reviews.start_review(actor=story.world.owner, run=story.after, question="Is it clear?")
    ids = {
        "scoring_id": scoring.pk,
        "approval_id": story.approval.pk,
        "run_id": story.after.pk,
        "revision_id": story.revision.pk,
        "baseline_id": story.baseline.pk,
        "comparison_id": story.comparison.pk,
        "change_event_id": story.change.pk,
        "ticket_id": story.ticket.pk,
        "probe_id": probe.pk,
        "model_version_id": story.world.version.pk,
    }
    lists: dict[str, list[dict[str, Any]]] = {}

    def get(path: str) -> Any:
        asked = {}
        if "/gate" in path:
            asked = {"use_case": "claims-triage", "version": str(story.world.version.pk)}
        response = admin.client.get(path, asked)
        assert response.status_code in ((200, 204, 403) if "/gate" in path else (200,)), (
            path,
            response.content,
        )
        return response

    gets = sorted(p for p, m, _ in operations(schema) if m == "get")
    for template in gets:
        path = re.sub(r"\{(\w+_id)\}", lambda m: str(ids[m[1]]), template)
        if "{" not in path:
            body = get(path).json() if not path.endswith("/check") else {}
            lists[path] = body.get("results", []) if isinstance(body, dict) else body
    details = 0
    for template in gets:
        path = re.sub(r"\{(\w+_id)\}", lambda m: str(ids[m[1]]), template)
        if "{" in path:
            rows = lists[path.split("/{")[0]]
            for row in rows[:1]:
                get(re.sub(r"\{(id|pk)\}", str(row["id"]), path))
                details += 1
    assert details > 20
    empty = [path for path, rows in lists.items() if rows == [] and "list" not in path]
    # Everything has a row but what only people at a browser, or a later decision, make.
    allowed = {
        "fleet",
        "watch",
        "sessions",
        "reauth-demands",
        "rounds",
        "identity-findings",
        "observed-traffic",
        "control-arms",
        "control-findings",
        "teams",
        "decisions",
        "gate",
        "me",
        "current",
        "verify",
        "schema",
    }
    assert {p.rsplit("/", 1)[-1] for p in empty} <= allowed | {"check"}


@pytest.mark.django_db
def test_every_address_with_an_id_is_404_for_an_id_that_is_nobodys(
    schema: dict[str, Any], admin: Api
) -> None:
    for template, method, _ in operations(schema):
        if "{" not in template:
            continue
        path = re.sub(r"\{\w+\}", SOME_ID, template)
        headers = {"If-Match": '"x-1"'}
        response = getattr(admin.client, method)(path, {}, format="json", headers=headers)
        assert response.status_code == 404, (method, path, response.content)


@pytest.mark.django_db
def test_every_operation_needs_a_sign_in(schema: dict[str, Any]) -> None:
    client = APIClient()
    for template, method, _ in operations(schema):
        path = re.sub(r"\{\w+\}", SOME_ID, template)
        response = getattr(client, method)(path, {}, format="json")
        assert response.status_code in (401, 403), (method, path, response.status_code)
    assert not ApiToken.objects.exists()


@pytest.mark.django_db
def test_the_schema_and_the_docs_page_are_served_from_here(client: Any) -> None:
    assert client.get("/api/v1/schema").status_code == 200
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    html = page.content.decode()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert addresses
    assert all(a.startswith("/") for a in addresses), addresses
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*src=)", html)
    assert " style=" not in html
    assert "'unsafe-inline'" not in page["Content-Security-Policy"]
    script = next(a for a in addresses if "script=" in a)
    answer = client.get(script)
    assert answer.status_code == 200
    assert "javascript" in answer["Content-Type"]
    assert "/api/v1/schema" in answer.content.decode()
    for address in addresses:
        if address.startswith("/static/"):
            assert client.get(address).status_code == 200, address
