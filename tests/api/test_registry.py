"""Providers to approvals through the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.accounts.models import Role, RoleAssignment, Team
from apps.audit.models import AuditEvent
from apps.registry.models import Approval, Endpoint, Provider
from tests.api.conftest import Api, is_problem
from tests.world import ASSUMPTIONS, World, approve, person, store_suites

pytestmark = pytest.mark.django_db
SECRET = "sk-live-3f9a8b7c6d5e"
PLAIN = "plain:" + SECRET


def endpoint_body(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "provider": str(world.provider.pk),
        "name": "eu",
        "base_url": "https://api.example.com/v1",
    } | changes


def test_a_provider_is_registered_read_and_changed(lead: Api) -> None:
    made = lead.post("providers", {"slug": "acme", "name": "Acme"})
    assert made.status_code == 201, made.json()
    path = f"providers/{made.json()['id']}"
    assert made["Location"].endswith(f"/api/v1/{path}")
    read = lead.get(path)
    assert read["ETag"] == made["ETag"] == f'"{made.json()["id"]}-1"'
    changed = lead.patch(path, {"terms": "Be kind."}, **{"If-Match": read["ETag"]})
    assert changed.status_code == 200, changed.json()
    assert (changed.json()["terms"], changed.json()["row_version"]) == ("Be kind.", 2)
    assert changed["ETag"] != read["ETag"]


def test_a_change_without_if_match_is_refused_with_the_remedy(lead: Api, world: World) -> None:
    body = is_problem(lead.patch(f"providers/{world.provider.pk}", {"name": "X"}), 428)
    assert "ETag" in body["detail"]


def test_a_stale_change_is_refused_and_the_first_one_stays(lead: Api, world: World) -> None:
    path = f"providers/{world.provider.pk}"
    read = lead.get(path)["ETag"]
    assert lead.patch(path, {"terms": "First."}, **{"If-Match": read}).status_code == 200
    is_problem(lead.patch(path, {"terms": "Second."}, **{"If-Match": read}), 412, "stale")
    assert Provider.objects.get(pk=world.provider.pk).terms == "First."


def test_a_weak_or_malformed_tag_does_not_match(lead: Api, world: World) -> None:
    path = f"providers/{world.provider.pk}"
    tag = lead.get(path)["ETag"]
    is_problem(lead.patch(path, {"terms": "x"}, **{"If-Match": f"W/{tag}"}), 412)
    is_problem(lead.patch(path, {"terms": "x"}, **{"If-Match": tag.strip('"')}), 400)


def test_one_of_several_tags_is_enough(lead: Api, world: World) -> None:
    path = f"providers/{world.provider.pk}"
    tags = f'"other-1", {lead.get(path)["ETag"]}'
    assert lead.patch(path, {"terms": "x"}, **{"If-Match": tags}).status_code == 200


def test_a_change_of_nothing_is_refused(lead: Api, world: World) -> None:
    path = f"providers/{world.provider.pk}"
    is_problem(lead.patch(path, {}, **{"If-Match": lead.get(path)["ETag"]}), 400)


def test_an_auditor_reads_and_cannot_write(auditor: Api, world: World) -> None:
    assert auditor.get("providers").status_code == 200
    is_problem(auditor.post("providers", {"slug": "acme", "name": "Acme"}), 403, "not_allowed")
    is_problem(
        auditor.post("approvals", approval_body(world)),
        403,
        "not_allowed",
    )
    path = f"use-cases/{world.use_case.pk}"
    refused = auditor.patch(path, {"name": "X"}, **{"If-Match": auditor.get(path)["ETag"]})
    is_problem(refused, 403, "not_allowed")


def test_somebody_without_a_role_gets_nothing(outsider: Api, world: World) -> None:
    for path in ("providers", f"model-versions/{world.version.pk}", "use-cases", "approvals"):
        is_problem(outsider.get(path), 403, "not_allowed")


# ------------------------------------------------------------------------------ credentials


def test_a_credential_goes_in_and_never_comes_out(admin: Api, world: World) -> None:
    made = admin.post("endpoints", endpoint_body(world, credential=PLAIN))
    assert made.status_code == 201, made.json()
    assert made.json()["credential"] == "set"
    answers = [
        made,
        admin.get(f"endpoints/{made.json()['id']}"),
        admin.get("endpoints"),
        admin.get("audit/entries"),
    ]
    for answer in answers:
        assert SECRET not in json.dumps(answer.json())
    endpoint = Endpoint.objects.get(pk=made.json()["id"])
    assert SECRET.encode() not in bytes(endpoint.credential_ciphertext or b"")
    assert not AuditEvent.objects.filter(body__contains=SECRET).exists()


def test_how_a_credential_is_kept_is_shown(admin: Api, world: World) -> None:
    made = admin.post("endpoints", endpoint_body(world, credential="env:ACME_API_KEY"))
    assert made.json()["credential"] == "env:ACME_API_KEY"
    assert admin.get(f"endpoints/{world.endpoint.pk}").json()["credential"] == "none"


def test_a_bare_secret_is_refused_and_not_repeated(admin: Api, world: World) -> None:
    response = admin.post("endpoints", endpoint_body(world, credential=SECRET))
    body = is_problem(response, 400, field="credential")
    assert SECRET not in json.dumps(body)


def test_a_credential_is_replaced_by_a_patch(admin: Api, world: World) -> None:
    path = f"endpoints/{world.endpoint.pk}"
    tag = {"If-Match": admin.get(path)["ETag"]}
    changed = admin.patch(path, {"credential": "env:ACME_API_KEY"}, **tag)
    assert changed.json()["credential"] == "env:ACME_API_KEY"


def test_a_private_address_is_for_administrators(lead: Api, world: World) -> None:
    body = endpoint_body(world, base_url="http://127.0.0.1:9/v1", allow_private_address=True)
    is_problem(lead.post("endpoints", body), 403, field="allow_private_address")


# --------------------------------------------------------------------- versions and use cases


def test_a_version_is_registered_once_and_cannot_be_changed(owner: Api, world: World) -> None:
    body = {
        "model": str(world.model.pk),
        "endpoint": str(world.endpoint.pk),
        "label": "assistant 2026-02",
        "requested_name": "assistant-2026-02-01",
        "pin_kind": "snapshot",
        "parameters": {"temperature": 0.2},
    }
    made = owner.post("model-versions", body)
    assert made.status_code == 201, made.json()
    assert made.json()["config_hash"].startswith("sha256:")
    assert made.json()["owner"]["name"] == "Olga Owner"
    is_problem(owner.post("model-versions", body | {"label": "again"}), 409)
    is_problem(owner.patch(f"model-versions/{made.json()['id']}", {"label": "x"}), 405)


def test_an_unknown_sampling_parameter_is_named(owner: Api, world: World) -> None:
    body = {
        "model": str(world.model.pk),
        "endpoint": str(world.endpoint.pk),
        "label": "x",
        "requested_name": "x",
        "pin_kind": "alias",
        "parameters": {"temprature": 0},
    }
    response = owner.post("model-versions", body)
    assert "temprature" in is_problem(response, 400)["detail"]


def test_a_reference_that_does_not_exist_is_named(owner: Api) -> None:
    nobody = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"
    for given in (nobody, "42", 42, None, ["x"]):
        response = owner.post("models", {"provider": given, "name": "X"})
        is_problem(response, 400, field="provider")


def test_an_owner_is_given_by_e_mail(lead: Api) -> None:
    body = {"slug": "letters", "name": "Letters", "risk_tier": 3, "model_role": "assists"}
    made = lead.post("use-cases", body | {"owner": "olga.owner@northwind.example"})
    assert made.status_code == 201, made.json()
    assert made.json()["owner"]["name"] == "Olga Owner"
    wrong = body | {"slug": "other", "name": "Other", "owner": "nobody@northwind.example"}
    is_problem(lead.post("use-cases", wrong), 400, field="owner")


def test_a_risk_tier_beyond_four_is_refused(lead: Api) -> None:
    body = {"slug": "letters", "name": "Letters", "risk_tier": 5, "model_role": "assists"}
    is_problem(lead.post("use-cases", body), 400, field="risk_tier")


# -------------------------------------------------------------------------------- approvals


def approval_body(world: World, **changes: Any) -> dict[str, Any]:
    store_suites()
    return {
        "use_case": str(world.use_case.pk),
        "model_version": str(world.version.pk),
        "rationale": "As good as the present one, and cheaper.",
        "assumptions": ASSUMPTIONS,
    } | changes


def test_an_approval_takes_three_people(
    owner: Api, validator: Api, lead: Api, world: World
) -> None:
    made = owner.post("approvals", approval_body(world))
    assert made.status_code == 201, made.json()
    assert (made.json()["state"], len(made.json()["assumptions"])) == ("requested", 3)
    path = f"approvals/{made.json()['id']}"
    validated = validator.post(f"{path}/validate", **{"If-Match": made["ETag"]})
    assert validated.json()["state"] == "validated", validated.json()
    approved = lead.post(f"{path}/approve", **{"If-Match": validated["ETag"]})
    assert approved.json()["state"] == "approved", approved.json()
    assert approved.json()["in_force"]["start"]
    assert approved.json()["approved_by"]["name"] == "Greta Lead"


def test_the_requester_cannot_approve(lead: Api, validator: Api, world: World) -> None:
    made = lead.post("approvals", approval_body(world))
    assert made.status_code == 201, made.json()
    path = f"approvals/{made.json()['id']}"
    assert validator.post(f"{path}/validate").status_code == 200
    is_problem(lead.post(f"{path}/approve"), 403)
    assert Approval.objects.get().state == "validated"


def test_an_act_on_a_stale_approval_is_refused(
    owner: Api, validator: Api, lead: Api, world: World
) -> None:
    made = owner.post("approvals", approval_body(world))
    path = f"approvals/{made.json()['id']}"
    validator.post(f"{path}/validate")
    is_problem(lead.post(f"{path}/approve", **{"If-Match": made["ETag"]}), 412, "stale")


def test_an_act_that_takes_no_input_refuses_some(validator: Api, world: World) -> None:
    approval = world.request()
    response = validator.post(f"approvals/{approval.pk}/validate", {"approved": True})
    is_problem(response, 400, field="approved")


def test_a_rejection_needs_a_reason(lead: Api, world: World) -> None:
    approval = world.request()
    is_problem(lead.post(f"approvals/{approval.pk}/reject"), 400, field="reason")
    done = lead.post(f"approvals/{approval.pk}/reject", {"reason": "Too early."})
    assert (done.json()["state"], done.json()["state_reason"]) == ("rejected", "Too early.")


def test_an_approval_is_held_released_suspended_and_revoked(lead: Api, world: World) -> None:
    path = f"approvals/{approve(world).pk}"
    states = [
        lead.post(f"{path}/{verb}", {"reason": "Because."}).json().get("state")
        for verb in ("hold", "release", "suspend", "revoke")
    ]
    assert states == ["on_hold", "approved", "suspended", "revoked"]
    is_problem(lead.post(f"{path}/release", {"reason": "Because."}), 409)


def test_a_token_without_the_scope_cannot_decide(world: World) -> None:
    approval = world.request()
    reader = Api(world.validator, scopes=("read", "write"))
    response = reader.post(f"approvals/{approval.pk}/validate")
    assert is_problem(response, 403)["detail"]
    assert Approval.objects.get().state == "requested"


def test_assumptions_are_listed_by_metric(auditor: Api, world: World) -> None:
    approve(world)
    rows = auditor.get("assumptions", metric_key="accuracy").json()["results"]
    assert [(r["code"], r["approval"]["name"][:2]) for r in rows] == [("A1", "A-")]


# ------------------------------------------------------------------------------- visibility


@pytest.fixture
def claims(world: World) -> Team:
    return Team.objects.create(name="Claims")


def test_a_person_of_a_team_sees_the_teams_rows_only(world: World, claims: Team) -> None:
    ours = world.another_version("ours", team=claims, actor=world.admin, owner=world.owner)
    our_case = world.another_use_case("ours", risk_tier=2, team=claims, actor=world.admin)
    theirs = person("Tina", "Team")
    RoleAssignment.objects.create(user=theirs, role=Role.MODEL_OWNER, team=claims)
    tina = Api(theirs)
    versions = tina.get("model-versions").json()["results"]
    assert [v["id"] for v in versions] == [str(ours.pk)]
    cases = tina.get("use-cases").json()["results"]
    assert [c["id"] for c in cases] == [str(our_case.pk)]
    # The catalogue is the organisation's, seen by all who have a role.
    assert len(tina.get("providers").json()["results"]) == 1


def test_what_is_not_visible_does_not_exist(world: World, claims: Team) -> None:
    theirs = person("Tina", "Team")
    RoleAssignment.objects.create(user=theirs, role=Role.MODEL_OWNER, team=claims)
    tina = Api(theirs)
    approval = approve(world)
    for path in (
        f"model-versions/{world.version.pk}",
        f"use-cases/{world.use_case.pk}",
        f"approvals/{approval.pk}",
    ):
        is_problem(tina.get(path), 404)
    is_problem(tina.post("approvals", approval_body(world)), 400, field="use_case")
    is_problem(tina.get("gate", use_case="claims-triage", version=str(world.version.pk)), 404)


# ------------------------------------------------------------------------------- pagination


def test_pages_follow_a_cursor_without_skipping_or_repeating(lead: Api, world: World) -> None:
    labels = [f"v{i}" for i in range(7)]
    for label in labels:
        world.another_version(label)
    seen: list[str] = []
    page = lead.get("model-versions", page_size="3").json()
    while True:
        seen += [row["label"] for row in page["results"]]
        if not page["next"]:
            break
        page = lead.client.get(page["next"]).json()
    assert seen == [*reversed(labels), "assistant-instant"]
    assert page["previous"]


def test_rows_are_ordered_as_asked(lead: Api, world: World) -> None:
    for label in ("b", "c", "a"):
        world.another_version(label)
    page = lead.get("model-versions", ordering="label", page_size="2").json()
    page_2 = lead.client.get(page["next"]).json()
    labels = [r["label"] for r in page["results"] + page_2["results"]]
    assert labels == ["a", "assistant-instant", "b", "c"]


def test_a_made_up_cursor_is_refused(lead: Api) -> None:
    is_problem(lead.get("providers", cursor="!!!"), 400, field="cursor")
    is_problem(lead.get("providers", cursor="cD1ub3RhbmlkCg=="), 400, field="cursor")


def test_lists_are_filtered(lead: Api, world: World) -> None:
    approve(world)
    assert len(lead.get("approvals", state="approved").json()["results"]) == 1
    assert lead.get("approvals", state="revoked").json()["results"] == []
    assert len(lead.get("approvals", use_case_slug="claims-triage").json()["results"]) == 1
    assert lead.get("approvals", since="2999-01-01T00:00:00Z").json()["results"] == []
    assert lead.get("approvals", version=str(world.use_case.pk)).json()["results"] == []


def test_a_longer_list_takes_no_more_queries(
    lead: Api, world: World, django_assert_max_num_queries: Any
) -> None:
    for i in range(5):
        approve(world, version=world.another_version(f"v{i}"))
    for path in ("model-versions", "approvals", "assumptions", "endpoints", "use-cases"):
        with django_assert_max_num_queries(8):
            assert lead.get(path).status_code == 200
