"""Who is at the door, and how they are shown out."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from apps.access import services
from apps.access.auth import AuthContext
from apps.access.models import ApiToken, UserSession
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import InvalidInput, NotAllowed, NotFound, ReauthenticationRequired
from tests.world import World, world

__all__ = ["world"]
PASSWORD = "a long enough passphrase"


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    cache.clear()


def sign_in(user: User, **headers: str) -> Client:
    if not user.check_password(PASSWORD):
        user.set_password(PASSWORD)
        user.save(update_fields=["password"])
    client = Client(headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"})
    answer = client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302, answer.content.decode()[:2000]
    return client


def test_signing_in_lists_the_session_and_writes_it_down(world: World) -> None:
    client = sign_in(world.owner)
    page = client.get("/sessions/").content.decode()
    assert "You are signed in on 1 device." in page
    assert "this session" in page
    assert AuditEvent.objects.filter(action="access.signed_in", actor_id=str(world.owner.pk))


def test_a_session_that_was_ended_is_out_at_its_next_request(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    rows = UserSession.objects.filter(user=world.owner, ended_at=None).order_by("created_at")
    assert rows.count() == 2
    answer = here.post(f"/sessions/{rows[1].pk}/end/")
    assert answer.status_code == 302
    assert there.get("/sessions/").status_code == 302
    assert "/account/login/" in there.get("/sessions/")["Location"]
    assert there.get("/api/v1/me").status_code == 401
    assert here.get("/sessions/").status_code == 200


def test_logging_out_all_others_keeps_this_one(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    here.post("/sessions/end-others/")
    assert here.get("/sessions/").status_code == 200
    assert there.get("/sessions/").status_code == 302


def test_nobody_ends_the_session_of_another_person(world: World) -> None:
    mine, theirs = sign_in(world.owner), sign_in(world.lead)
    row = UserSession.objects.get(user=world.lead)
    assert mine.post(f"/sessions/{row.pk}/end/").status_code == 404
    assert theirs.get("/sessions/").status_code == 200


def test_an_administrator_ends_the_session_of_anybody(world: World) -> None:
    admin, theirs = sign_in(world.admin), sign_in(world.lead)
    assert "Greta" in admin.get("/sessions/all/").content.decode()
    admin.post(f"/sessions/{UserSession.objects.get(user=world.lead).pk}/end/")
    assert theirs.get("/sessions/").status_code == 302


def test_an_idle_session_is_over(world: World) -> None:
    client = sign_in(world.owner)
    UserSession.objects.update(last_seen_at=clock.now() - dt.timedelta(hours=9))
    assert "/account/login/" in client.get("/sessions/")["Location"]


def test_a_copied_cookie_of_an_ended_session_opens_nothing(world: World) -> None:
    client = sign_in(world.owner)
    cookie = client.cookies["govtrack_session"].value
    client.post("/account/logout/")
    thief = Client()
    thief.cookies["govtrack_session"] = cookie
    assert "/account/login/" in thief.get("/sessions/")["Location"]


def test_the_stored_row_does_not_hold_the_session_key(world: World) -> None:
    client = sign_in(world.owner)
    row = UserSession.objects.get(user=world.owner)
    assert client.cookies["govtrack_session"].value not in str(row.__dict__)


def test_wrong_password_and_unknown_address_look_the_same(world: World) -> None:
    def said(login: str) -> str:
        page = Client().post("/account/login/", {"login": login, "password": "wrong wrong wrong"})
        text = re.sub(r'value="[^"]*"|CSRFToken": "\w+"', "", page.content.decode())
        return text.replace(login, "")

    assert said(world.owner.email) == said("nobody@northwind.example")


def test_guessing_passwords_is_slowed_down(world: World) -> None:
    sign_in(world.owner)
    client = Client()
    for _ in range(6):
        page = client.post("/account/login/", {"login": world.owner.email, "password": "guess it"})
    page = client.post("/account/login/", {"login": world.owner.email, "password": PASSWORD})
    assert page.status_code != 302


def test_sign_in_does_not_redirect_to_another_site(world: World) -> None:
    world.owner.set_password(PASSWORD)
    world.owner.save()
    answer = Client().post(
        "/account/login/?next=https://evil.example/",
        {"login": world.owner.email, "password": PASSWORD, "next": "https://evil.example/"},
    )
    assert "evil" not in answer["Location"]


def test_nobody_signs_up(world: World) -> None:
    page = Client().get("/account/signup/")
    assert b"password1" not in page.content


def test_forms_without_the_csrf_token_are_refused(world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.owner)
    assert client.post("/sessions/end-others/").status_code == 403


def test_a_demand_blocks_until_the_person_signs_in_afresh(world: World) -> None:
    client = sign_in(world.lead)
    row = UserSession.objects.get(user=world.lead)
    auth = AuthContext(world.lead, session=row)
    services.require_fresh(auth)
    services.demand_reauth(
        user=world.lead, since=clock.now(), reason="A severe change.", source="ticket:1"
    )
    with pytest.raises(ReauthenticationRequired, match="A severe change"):
        services.require_fresh(auth)
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    client.get("/sessions/")
    row.refresh_from_db()
    services.require_fresh(AuthContext(world.lead, session=row))


def test_a_wrong_password_does_not_make_a_session_fresh(world: World) -> None:
    client = sign_in(world.lead)
    services.demand_reauth(user=world.lead, since=clock.now(), reason="Change.", source="t")
    client.post("/account/reauthenticate/", {"password": "not this one"})
    client.get("/sessions/")
    row = UserSession.objects.get(user=world.lead)
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row))


def test_a_demand_is_made_once_for_a_source_and_lifted_by_a_named_person(world: World) -> None:
    for _ in range(2):
        demand = services.demand_reauth(
            user=world.lead, since=clock.now(), reason="Change.", source="ticket:1"
        )
    assert world.lead.reauth_demands.count() == 1
    with pytest.raises(NotAllowed):
        services.lift_reauth(actor=world.auditor, demand=demand, reason="please")
    services.lift_reauth(actor=world.admin, demand=demand, reason="false alarm")
    assert demand.lifted_by == world.admin


def token(owner: User, **change: Any) -> tuple[ApiToken, str]:
    given = {
        "actor": owner,
        "user": owner,
        "name": "ci",
        "scopes": ["read"],
        "expires_at": clock.now() + dt.timedelta(days=1),
        **change,
    }
    return services.create_token(**given)


def bearer(secret: str) -> Client:
    return Client(headers={"authorization": f"Bearer {secret}"})


def test_a_token_opens_the_api_and_is_stored_as_a_hash(world: World) -> None:
    row, secret = token(world.owner)
    assert bearer(secret).get("/api/v1/me").status_code == 200
    assert secret not in str(row.__dict__)
    assert secret not in " ".join(AuditEvent.objects.values_list("body", flat=True))


@pytest.mark.parametrize("how", ["revoked", "expired", "shut out", "wrong"])
def test_a_token_that_may_not_be_used_is_refused(world: World, how: str) -> None:
    row, secret = token(world.owner)
    if how == "revoked":
        services.revoke_token(actor=world.owner, token=row)
    elif how == "expired":
        ApiToken.objects.update(
            created_at=clock.now() - dt.timedelta(days=2),
            expires_at=clock.now() - dt.timedelta(days=1),
        )
    elif how == "shut out":
        services.lock_out(actor=world.admin, user=world.owner, reason="left the bank")
    else:
        secret = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    answer = bearer(secret).get("/api/v1/me")
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer


def test_a_token_does_no_more_than_its_scopes(world: World) -> None:
    _, secret = token(world.lead)
    answer = bearer(secret).post(
        "/api/v1/providers", {"slug": "x", "name": "X"}, content_type="application/json"
    )
    assert answer.status_code == 403
    assert "scope `write`" in answer.json()["detail"]


def test_a_token_without_the_scope_may_not_decide(world: World) -> None:
    row, _ = token(world.lead, scopes=["read", "write"])
    with pytest.raises(NotAllowed, match="may not decide"):
        services.require_fresh(AuthContext(world.lead, token=row))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scopes", {"scopes": ["root"]}),
        ("scopes", {"scopes": []}),
        ("name", {"name": " "}),
        ("expires_at", {"expires_at": clock.now() - dt.timedelta(days=1)}),
        ("expires_at", {"expires_at": clock.now() + dt.timedelta(days=400)}),
    ],
)
def test_a_bad_token_request_names_the_field(
    world: World, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        token(world.owner, **change)
    assert caught.value.field == field
    assert not ApiToken.objects.exists()


def test_nobody_makes_a_token_for_another_person(world: World) -> None:
    with pytest.raises(NotAllowed):
        token(world.owner, user=world.lead)


def test_the_token_page_shows_the_secret_once(world: World) -> None:
    client = sign_in(world.owner)
    page = client.post("/tokens/new/", {"name": "ci", "scopes": ["gate"], "days": "30"})
    secret = re.search(r"gt_[0-9a-f]{8}_[\w-]{43}", page.content.decode())
    assert secret
    assert secret.group() not in client.get("/sessions/").content.decode()
    assert "no-store" in page["Cache-Control"]


def test_a_bad_token_form_says_so_at_the_field_and_keeps_what_was_typed(world: World) -> None:
    page = sign_in(world.owner).post("/tokens/new/", {"name": "ci-claims", "days": "4000"})
    assert page.status_code == 400
    assert "ci-claims" in page.content.decode()
    assert "366" in page.content.decode()


@pytest.mark.django_db
def test_the_setup_link_makes_one_administrator_and_then_nothing() -> None:
    secret = services.create_setup_link()
    form = {
        "email": "ada@northwind.example",
        "display_name": "Ada",
        "password": PASSWORD,
        "password_again": PASSWORD,
    }
    assert Client().get(f"/setup/{secret}/").status_code == 200
    assert Client().post(f"/setup/{secret}/", form).status_code == 302
    assert Client().get(f"/setup/{secret}/").status_code == 404
    with pytest.raises(NotFound):
        services.open_setup_link(services.create_setup_link())


@pytest.mark.django_db
def test_a_wrong_setup_link_opens_nothing() -> None:
    services.create_setup_link()
    assert Client().get("/setup/guess/").status_code == 404


def test_a_second_factor_is_asked_for_once_it_is_set_up(world: World) -> None:
    from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret
    from allauth.mfa.totp.internal.auth import hotp_value, yield_hotp_counters_from_time

    secret = generate_totp_secret()
    TOTP.activate(world.owner, secret)
    world.owner.set_password(PASSWORD)
    world.owner.save()
    client = Client()
    answer = client.post("/account/login/", {"login": world.owner.email, "password": PASSWORD})
    assert client.get("/sessions/").status_code == 302
    assert "2fa" in answer["Location"]
    counter = next(iter(yield_hotp_counters_from_time()))
    code = format_hotp_value(hotp_value(secret, counter))
    client.post(answer["Location"], {"code": code})
    assert client.get("/sessions/").status_code == 200


def test_a_person_without_a_role_sees_nothing(world: World) -> None:
    _, secret = token(world.outsider)
    assert bearer(secret).get("/api/v1/providers").status_code == 403
