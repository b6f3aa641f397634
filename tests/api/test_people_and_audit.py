"""Me, people, roles, tokens, sessions and the history."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from apps.access import services as access
from apps.access.models import ApiToken, UserSession
from apps.accounts.models import RoleAssignment, User
from apps.audit import services as audit
from apps.audit.models import AuditEvent
from apps.core import clock
from tests.api.conftest import Api, is_problem
from tests.world import World, approve

pytestmark = pytest.mark.django_db


def new_token(**changes: Any) -> dict[str, Any]:
    tomorrow = clock.now() + dt.timedelta(days=1)
    return {"name": "ci", "scopes": ["read"], "expires_at": tomorrow.isoformat()} | changes


def demand(world: World) -> None:
    """Greta must sign in afresh: what she holds now is too old to decide with."""
    access.demand_reauth(
        user=world.lead, since=clock.now(), reason="A change was found.", source="test"
    )


# ---------------------------------------------------------------------------- me and people


def test_i_see_myself_my_roles_and_what_i_may(owner: Api, outsider: Api) -> None:
    me = owner.get("me").json()
    assert me["email"] == "olga.owner@northwind.example"
    assert [r["role"] for r in me["roles"]] == ["model_owner"]
    assert "approval.request" in me["actions"]
    assert "approval.approve" not in me["actions"]
    assert outsider.get("me").json()["actions"] == []


def test_an_administrator_creates_people_and_grants_roles(admin: Api) -> None:
    body = {"email": "vera@northwind.example", "display_name": "Vera", "roles": ["validator"]}
    made = admin.post("users", body)
    assert made.status_code == 201, made.json()
    assert [r["role"] for r in made.json()["roles"]] == ["validator"]
    granted = admin.post("role-assignments", {"user": body["email"], "role": "model_owner"})
    assert granted.status_code == 201, granted.json()
    gone = admin.client.delete(f"/api/v1/role-assignments/{granted.json()['id']}")
    assert gone.status_code == 204
    assert RoleAssignment.objects.filter(user__email=body["email"]).count() == 1


def test_a_password_is_never_returned(admin: Api) -> None:
    password = "Long-and-odd-9-Kangaroo"
    body = {"email": "vera@northwind.example", "display_name": "Vera", "password": password}
    made = admin.post("users", body, **{"Idempotency-Key": "k-1"})
    assert made.status_code == 201, made.json()
    shown = [made.json(), admin.get(f"users/{made.json()['id']}").json(), admin.get("users").json()]
    assert password not in json.dumps(shown)
    assert "pbkdf2" not in json.dumps(shown)
    weak = body | {"email": "w@northwind.example", "password": "password1234"}
    is_problem(admin.post("users", weak), 400, field="password")


def test_an_address_that_is_taken_is_a_conflict(admin: Api) -> None:
    body = {"email": "OLGA.owner@northwind.example", "display_name": "Olga 2"}
    is_problem(admin.post("users", body), 409, field="email")


@pytest.mark.parametrize("path", ["users", "role-assignments"])
def test_people_are_managed_by_administrators_only(path: str, lead: Api, auditor: Api) -> None:
    for api in (lead, auditor):
        is_problem(api.get(path), 403, "not_allowed")
        is_problem(api.post(path, {}), 403, "not_allowed")


def test_a_deactivated_person_is_refused_on_the_next_request(
    admin: Api, owner: Api, world: World
) -> None:
    is_problem(admin.post(f"users/{world.owner.pk}/deactivate"), 400, field="reason")
    done = admin.post(f"users/{world.owner.pk}/deactivate", {"reason": "Left the bank."})
    assert done.json()["is_active"] is False, done.json()
    is_problem(owner.get("me"), 401)


def test_the_last_administrator_stays(admin: Api, world: World) -> None:
    response = admin.post(f"users/{world.admin.pk}/deactivate", {"reason": "Tired."})
    is_problem(response, 409)
    assert User.objects.get(pk=world.admin.pk).is_active


def test_roles_are_listed_with_what_they_may(auditor: Api) -> None:
    rows = {r["role"]: r["actions"] for r in auditor.get("roles").json()}
    assert "audit.view" in rows["auditor"]
    assert "accounts.manage" not in rows["auditor"]


# ----------------------------------------------------------------------------------- tokens


def test_a_token_is_shown_once_works_and_is_revoked(owner: Api) -> None:
    made = owner.post("tokens", new_token())
    assert made.status_code == 201, made.json()
    secret = made.json()["secret"]
    assert secret not in owner.get("tokens").content.decode()
    assert secret not in owner.get(f"tokens/{made.json()['id']}").content.decode()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert client.get("/api/v1/me").status_code == 200
    revoked = owner.post(f"tokens/{made.json()['id']}/revoke", {"reason": "Rotated."})
    assert revoked.json()["revoked_at"], revoked.json()
    is_problem(client.get("/api/v1/me"), 401)


def test_a_token_cannot_make_one_that_may_do_more(world: World) -> None:
    small = Api(world.owner, scopes=("read", "admin"))
    is_problem(small.post("tokens", new_token(scopes=["write"])), 403, field="scopes")
    assert small.post("tokens", new_token(scopes=["read"])).status_code == 201


def test_nobody_makes_a_token_that_acts_as_another_person(admin: Api, world: World) -> None:
    body = new_token(user=world.lead.email, scopes=["decide"])
    is_problem(admin.post("tokens", body), 403, field="user")
    assert not ApiToken.objects.filter(user=world.lead).exists()


def test_an_administrator_makes_a_token_for_a_service_account(admin: Api) -> None:
    robot = {
        "email": "edge@northwind.example",
        "display_name": "Edge proxy",
        "roles": ["service"],
        "is_service": True,
    }
    assert admin.post("users", robot).status_code == 201
    made = admin.post("tokens", new_token(user=robot["email"], scopes=["gate"]))
    assert made.json()["user"]["name"] == "Edge proxy", made.json()


def test_a_token_older_than_a_demand_makes_none_that_decides(lead: Api, world: World) -> None:
    demand(world)
    refused = lead.post("tokens", new_token(scopes=["decide"]))
    is_problem(refused, 403, "reauthentication_required")
    assert lead.post("tokens", new_token(scopes=["read"])).status_code == 201


def test_a_token_older_than_a_demand_may_close_the_gate_but_not_open_it(
    lead: Api, world: World
) -> None:
    path = f"approvals/{approve(world).pk}"
    demand(world)
    assert lead.post(f"{path}/hold", {"reason": "Something changed."}).status_code == 200
    refused = lead.post(f"{path}/release", {"reason": "Never mind."})
    is_problem(refused, 403, "reauthentication_required")
    assert lead.get(path).json()["state"] == "on_hold"
    fresh = Api(world.lead)
    assert fresh.post(f"{path}/release", {"reason": "Looked at it."}).status_code == 200


def test_a_token_without_the_admin_scope_makes_none(world: World) -> None:
    is_problem(Api(world.owner, scopes=("read", "write")).post("tokens", new_token()), 403)


def test_an_unknown_scope_and_a_past_expiry_are_refused(owner: Api) -> None:
    is_problem(owner.post("tokens", new_token(scopes=["everything"])), 400)
    past = (clock.now() - dt.timedelta(days=1)).isoformat()
    is_problem(owner.post("tokens", new_token(expires_at=past)), 400, field="expires_at")


def test_tokens_of_others_do_not_exist(owner: Api, lead: Api, admin: Api) -> None:
    made = owner.post("tokens", new_token()).json()["id"]
    is_problem(lead.get(f"tokens/{made}"), 404)
    is_problem(lead.post(f"tokens/{made}/revoke"), 404)
    assert admin.get(f"tokens/{made}").status_code == 200
    assert admin.post(f"tokens/{made}/revoke").status_code == 200
    assert ApiToken.objects.get(pk=made).revoked_at


def test_a_read_token_cannot_write(world: World) -> None:
    reader = Api(world.lead, scopes=("read",))
    is_problem(reader.post("providers", {"slug": "acme", "name": "Acme"}), 403)
    is_problem(reader.patch(f"providers/{world.provider.pk}", {"name": "X"}), 403)


# --------------------------------------------------------------------------------- sessions


@pytest.fixture
def session(world: World) -> UserSession:
    return UserSession.objects.create(user=world.owner, key_hash="0" * 64, device="Firefox")


def test_a_session_of_mine_is_ended(owner: Api, session: UserSession) -> None:
    rows = owner.get("sessions", live="true").json()["results"]
    assert [(r["device"], r["current"]) for r in rows] == [("Firefox", False)]
    ended = owner.post(f"sessions/{session.pk}/end")
    assert ended.json()["ended_at"], ended.json()
    assert "key_hash" not in ended.json()


def test_a_session_of_somebody_else_does_not_exist(
    lead: Api, admin: Api, session: UserSession
) -> None:
    is_problem(lead.post(f"sessions/{session.pk}/end"), 404)
    assert lead.get("sessions").json()["results"] == []
    assert admin.post(f"sessions/{session.pk}/end").status_code == 200


def test_an_administrator_ends_all_sessions_of_a_person(
    admin: Api, lead: Api, world: World, session: UserSession
) -> None:
    path = f"users/{world.owner.pk}/end-sessions"
    is_problem(lead.post(path, {"reason": "Lost laptop."}), 403)
    assert admin.post(path, {"reason": "Lost laptop."}).json() == {"ended": 1}


# ------------------------------------------------------------------------------------ audit


def test_the_history_is_read_and_verified(auditor: Api, world: World) -> None:
    audit.sequence()
    rows = auditor.get("audit/entries", app="registry.").json()["results"]
    assert rows
    assert all(r["action"].startswith("registry.") for r in rows)
    assert json.loads(rows[0]["body"])["action"] == rows[0]["action"]
    assert rows[0]["seq"] is not None
    found = auditor.get("audit/verify").json()
    assert (found["ok"], found["entries"]) == (True, AuditEvent.objects.count())
    head = auditor.get("audit/heads").json()["results"][0]
    assert (head["size"], head["root_hash"]) == (found["entries"], found["root"])
    leaves = auditor.get("audit/leaves", from_seq="1", page_size="2").json()["results"]
    assert [leaf["seq"] for leaf in leaves] == [1, 2]


def test_entries_of_one_object_are_found(auditor: Api, world: World) -> None:
    rows = auditor.get("audit/entries", object_id=str(world.use_case.pk)).json()["results"]
    assert [r["action"] for r in rows] == ["registry.use_case_created"]


def test_the_history_is_not_for_owners_and_is_never_written(owner: Api, auditor: Api) -> None:
    for path in ("audit/entries", "audit/leaves", "audit/heads", "audit/verify"):
        is_problem(owner.get(path), 403, "not_allowed")
    is_problem(auditor.post("audit/entries", {}), 405)


# --------------------------------------------------------------------------- browser session


def browser(world: World) -> Client:
    client = Client(enforce_csrf_checks=True)
    assert client.login(username=world.lead.username, password=world.password)
    return client


def test_a_signed_in_browser_reads_and_writes_with_its_csrf_token_only(world: World) -> None:
    client = browser(world)
    assert client.get("/api/v1/me").json()["email"] == world.lead.email
    assert client.get("/api/v1/sessions").json()["results"][0]["current"] is True
    body = json.dumps({"slug": "acme", "name": "Acme"})
    refused = client.post("/api/v1/providers", body, content_type="application/json")
    is_problem(refused, 403)
    script = client.get("/api/v1/docs?script=")
    csrf = re.search(r'headers\["X-CSRFTOKEN"\] = "(\w+)"', script.content.decode())
    assert csrf
    made = client.post(
        "/api/v1/providers",
        body,
        content_type="application/json",
        headers={"X-CSRFToken": csrf[1]},
    )
    assert made.status_code == 201, made.content


def test_a_session_that_was_ended_is_refused_on_its_next_request(world: World, admin: Api) -> None:
    client = browser(world)
    assert client.get("/api/v1/me").status_code == 200
    session = UserSession.objects.get(user=world.lead)
    assert admin.post(f"sessions/{session.pk}/end", {"reason": "Lost."}).status_code == 200
    is_problem(client.get("/api/v1/me"), 401)
