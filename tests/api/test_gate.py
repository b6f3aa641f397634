"""The gate by API and as an auth sub-request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from rest_framework.test import APIClient

from apps.registry import services
from tests.api.conftest import Api, is_problem
from tests.world import World, approve

pytestmark = pytest.mark.django_db


@pytest.fixture
def gate(world: World) -> Api:
    return Api(world.auditor, scopes=("gate",))


def question(world: World) -> dict[str, Any]:
    return {"use_case": "claims-triage", "version": str(world.version.pk)}


def test_the_gate_says_deny_with_200_before_an_approval(gate: Api, world: World) -> None:
    response = gate.get("gate", **question(world))
    assert response.status_code == 200, response.json()
    assert response.json()["answer"] == "deny"
    assert response.json()["approval"] is None
    assert response["Cache-Control"] == "no-store"


def test_the_gate_knows_a_version_by_its_label(gate: Api, world: World) -> None:
    approve(world)
    body = gate.get("gate", use_case="claims-triage", version="assistant-instant").json()
    assert body["answer"] == "allow"
    assert body["model_version"]["id"] == str(world.version.pk)
    assert gate.get("gate", use_case="claims-triage", version="no\x00thing").status_code == 404


def test_a_label_that_two_versions_have_is_refused(gate: Api, world: World) -> None:
    other = services.create_model(
        actor=world.admin, provider=world.version.model.provider, name="another-family"
    )
    services.create_version(
        actor=world.owner,
        model=other,
        endpoint=world.version.endpoint,
        label="assistant-instant",
        requested_name="assistant-instant",
        pin_kind="alias",
    )
    response = gate.get("gate", use_case="claims-triage", version="assistant-instant")
    is_problem(response, 400, field="version")
    assert "give the id" in str(response.json())


def test_the_gate_follows_an_approval_and_a_hold(gate: Api, world: World) -> None:
    approval = approve(world)
    assert gate.get("gate", **question(world)).json()["answer"] == "allow"
    services.hold_approval(actor=world.lead, approval=approval, reason="A change was found.")
    body = gate.get("gate", **question(world)).json()
    assert body["answer"] == "hold"
    assert "A change was found." in body["reason"]
    assert body["approval"]["name"] == str(approval)


def test_a_sub_request_is_let_through_with_204(gate: Api, world: World) -> None:
    approve(world)
    response = gate.get("gate/check", **question(world))
    assert (response.status_code, response.content) == (204, b"")
    assert response["X-GovTrack-Answer"] == "allow"


def test_a_sub_request_under_conditions_is_let_through(gate: Api, world: World) -> None:
    approve(world, conditions="Only with a person reading along — always.")
    response = gate.get("gate/check", **question(world))
    assert (response.status_code, response["X-GovTrack-Answer"]) == (204, "conditional")
    assert "a person reading along — always" in unquote(response["X-GovTrack-Reason"])


def test_a_sub_request_is_stopped_with_403(gate: Api, world: World) -> None:
    response = gate.get("gate/check", **question(world))
    is_problem(response, 403, "gate_deny")
    approval = approve(world)
    services.hold_approval(actor=world.lead, approval=approval, reason="Zeile 1\nLine 2")
    response = gate.get("gate/check", **question(world))
    is_problem(response, 403, "gate_hold")
    assert "\n" not in response["X-GovTrack-Reason"]


def test_an_unknown_use_case_stops_a_sub_request(gate: Api, world: World) -> None:
    asked = question(world) | {"use_case": "nothing"}
    is_problem(gate.get("gate/check", **asked), 403, "gate_deny")
    is_problem(gate.get("gate", **asked), 404)


def test_an_incomplete_question_is_refused(gate: Api, world: World) -> None:
    is_problem(gate.get("gate", use_case="claims-triage"), 400, field="version")
    is_problem(gate.get("gate", version=str(world.version.pk)), 400, field="use_case")
    is_problem(gate.get("gate", use_case="claims-triage", version="7"), 404, field="version")
    twice = f"/api/v1/gate?use_case=a&use_case=b&version={world.version.pk}"
    is_problem(gate.client.get(twice), 400, field="use_case")


def test_the_gate_needs_a_token_with_its_scope(world: World) -> None:
    is_problem(APIClient().get("/api/v1/gate/check", question(world)), 401)
    is_problem(Api(world.auditor, scopes=("read",)).get("gate/check", **question(world)), 403)


def test_a_gate_token_opens_nothing_else(gate: Api) -> None:
    is_problem(gate.get("providers"), 403)
