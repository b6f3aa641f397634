"""API tokens: shown once, stored as a hash, bound by scope, expiry and their person."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client

from apps.access import services
from apps.access.auth import AuthContext
from apps.access.models import ApiToken
from apps.accounts import services as accounts
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import InvalidInput, NotAllowed
from tests.access.conftest import bearer, make_token, sign_in
from tests.world import World


def test_a_token_opens_the_api_and_is_stored_as_a_hash(world: World) -> None:
    row, secret = make_token(world.owner)
    assert bearer(secret).get("/api/v1/me").json()["email"] == world.owner.email
    assert secret not in str(row.__dict__)
    assert secret not in " ".join(AuditEvent.objects.values_list("body", flat=True))
    assert row.token_hash not in " ".join(AuditEvent.objects.values_list("body", flat=True))


@pytest.mark.parametrize("how", ["revoked", "expired", "shut out", "wrong", "prefix", "no-ascii"])
def test_a_token_that_may_not_be_used_is_refused(world: World, how: str) -> None:
    row, secret = make_token(world.owner)
    if how == "revoked":
        services.revoke_token(actor=world.owner, token=row)
    elif how == "expired":
        ApiToken.objects.update(
            created_at=clock.now() - dt.timedelta(days=2),
            expires_at=clock.now() - dt.timedelta(days=1),
        )
    elif how == "shut out":
        accounts.deactivate_user(actor=world.admin, user=world.owner, reason="left the bank")
    elif how == "prefix":
        secret = row.prefix
    elif how == "no-ascii":
        secret = "gt_\xff\xfe"
    else:
        secret = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    answer = bearer(secret).get("/api/v1/me")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer  "])
def test_a_malformed_authorization_header_is_told_how(db: None, header: str) -> None:
    answer = Client(headers={"authorization": header}).get("/api/v1/me")
    assert answer.status_code == 401


def test_a_token_does_no_more_than_its_scopes(world: World) -> None:
    _, secret = make_token(world.lead)
    provider = {"slug": "x", "name": "X"}
    answer = bearer(secret).post("/api/v1/providers", provider, content_type="application/json")
    assert answer.status_code == 403
    assert "scope `write`" in answer.json()["detail"]
    _, secret = make_token(world.lead, scopes=["gate"])
    assert bearer(secret).get("/api/v1/providers").status_code == 403


def test_a_token_with_every_scope_does_no_more_than_its_person(world: World) -> None:
    _, secret = make_token(world.auditor, scopes=list(services.SCOPES))
    assert bearer(secret).get("/api/v1/providers").status_code == 200
    provider = {"slug": "x", "name": "X"}
    answer = bearer(secret).post("/api/v1/providers", provider, content_type="application/json")
    assert answer.status_code == 403


def test_a_token_needs_no_csrf_and_a_cookie_beside_it_lends_it_nothing(world: World) -> None:
    _, secret = make_token(world.auditor)
    client = Client(enforce_csrf_checks=True, headers={"authorization": f"Bearer {secret}"})
    client.force_login(world.admin)
    assert client.get("/api/v1/me").json()["email"] == world.auditor.email


def test_use_is_written_at_most_once_a_minute(world: World) -> None:
    row, secret = make_token(world.owner)
    bearer(secret).get("/api/v1/me")
    row.refresh_from_db()
    first = row.last_used_at
    assert first
    bearer(secret).get("/api/v1/me")
    row.refresh_from_db()
    assert row.last_used_at == first


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scopes", {"scopes": ["root"]}),
        ("scopes", {"scopes": []}),
        ("name", {"name": " "}),
        ("name", {"name": "x" * 121}),
        ("name", {"name": "nul\x00"}),
        ("expires_at", {"expires_at": clock.now() - dt.timedelta(days=1)}),
        ("expires_at", {"expires_at": clock.now() + dt.timedelta(days=400)}),
    ],
)
def test_a_bad_token_request_names_the_field(
    world: World, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_token(world.owner, **change)
    assert caught.value.field == field
    assert not ApiToken.objects.exists()


def test_nobody_makes_a_token_for_another_person_not_even_an_administrator(world: World) -> None:
    for actor in (world.owner, world.admin):
        with pytest.raises(NotAllowed):
            make_token(actor, user=world.lead)


def test_an_administrator_makes_tokens_for_service_accounts(world: World) -> None:
    robot = accounts.create_user(
        actor=world.admin,
        email="ci@northwind.example",
        display_name="CI",
        roles=["service"],
        is_service=True,
    )
    row, secret = make_token(world.admin, user=robot, scopes=["gate", "read"])
    assert row.created_by == world.admin
    assert bearer(secret).get("/api/v1/me").json()["is_service"] is True
    with pytest.raises(NotAllowed):
        make_token(world.owner, user=robot)


def test_a_token_makes_none_that_may_do_more_than_itself(world: World) -> None:
    row, _ = make_token(world.admin, scopes=["admin", "read"])
    with pytest.raises(NotAllowed, match="more than itself"):
        make_token(world.admin, scopes=["decide"], auth=AuthContext(world.admin, token=row))


def test_the_token_page_shows_the_secret_once(world: World) -> None:
    client = sign_in(world.owner)
    page = client.post("/tokens/new/", {"name": "ci", "scopes": ["gate"], "days": "30"})
    secret = re.search(r"gt_[0-9a-f]{8}_[\w-]{43}", page.content.decode())
    assert secret
    assert secret.group() not in client.get("/sessions/").content.decode()
    assert "no-store" in page["Cache-Control"]
    assert client.get("/tokens/new/")["Location"] == "/sessions/#new-token"


def test_a_bad_token_form_says_so_at_the_field_and_keeps_what_was_typed(world: World) -> None:
    page = sign_in(world.owner).post("/tokens/new/", {"name": "ci-claims", "days": "4000"})
    assert page.status_code == 400
    assert "ci-claims" in page.content.decode()
    assert "366" in page.content.decode()


def test_a_token_is_revoked_on_its_page_and_refused_at_once(world: World) -> None:
    row, secret = make_token(world.owner)
    client = sign_in(world.owner)
    client.post(f"/tokens/{row.pk}/revoke/", {"reason": "Pipeline is gone."})
    assert bearer(secret).get("/api/v1/me").status_code == 401
    assert "Revoked: Pipeline is gone." in client.get("/sessions/").content.decode()


def test_nobody_revokes_the_token_of_another_person_but_an_administrator(world: World) -> None:
    row, secret = make_token(world.owner)
    assert sign_in(world.lead).post(f"/tokens/{row.pk}/revoke/").status_code == 404
    assert bearer(secret).get("/api/v1/me").status_code == 200
    sign_in(world.admin).post(f"/tokens/{row.pk}/revoke/")
    assert bearer(secret).get("/api/v1/me").status_code == 401


def test_a_person_without_a_role_sees_nothing(world: World) -> None:
    _, secret = make_token(world.outsider)
    answer = bearer(secret).get("/api/v1/providers")
    assert answer.status_code == 403
    assert "You have no role yet" in answer.json()["detail"]
    session = sign_in(world.outsider)
    assert session.get("/api/v1/providers").status_code == 403
    assert session.get("/sessions/").status_code == 200


def test_nobody_at_all_gets_401_not_403(db: None) -> None:
    answer = Client().get("/api/v1/providers")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
