"""Decisions need a fresh proof of who decides: of a session, or a token made since."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import LazySettings

from apps.access import services
from apps.access.auth import AuthContext
from apps.access.models import ApiToken, ReauthDemand, UserSession
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import NotAllowed, ReauthenticationRequired
from tests.access.conftest import PASSWORD, make_token, row_of, sign_in
from tests.world import World

CONFIRM = "/account/reauthenticate/"
A_DECIDING_TOKEN = {"name": "decider", "scopes": ["decide"], "days": "1"}


def demand(user: User, since: dt.datetime | None = None) -> ReauthDemand:
    return services.demand_reauth(
        user=user,
        since=since or clock.now(),
        reason="assistant-instant changed severely.",
        source="ticket:1",
    )


def test_a_demand_blocks_until_the_person_signs_in_afresh(world: World) -> None:
    client = sign_in(world.lead)
    auth = AuthContext(world.lead, session=row_of(client))
    services.require_fresh(auth)
    demand(world.lead)
    with pytest.raises(ReauthenticationRequired, match="changed severely") as caught:
        services.require_fresh(auth)
    assert "Confirm that it is you" in caught.value.remedy
    client.post(CONFIRM, {"password": PASSWORD})
    services.require_fresh(auth)
    assert AuditEvent.objects.filter(action="access.reauthenticated").count() == 1


def test_signing_in_again_meets_a_demand_for_that_session_only(world: World) -> None:
    before = sign_in(world.lead)
    demand(world.lead)
    after = sign_in(world.lead)
    services.require_fresh(AuthContext(world.lead, session=row_of(after)))
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row_of(before)))


def test_a_demand_counts_from_its_moment_on(world: World) -> None:
    session = row_of(sign_in(world.lead))
    demand(world.lead, since=session.authenticated_at)
    services.require_fresh(AuthContext(world.lead, session=session))


def test_a_wrong_password_does_not_make_a_session_fresh(world: World) -> None:
    client = sign_in(world.lead)
    demand(world.lead)
    page = client.post(CONFIRM, {"password": "not this one"})
    assert "The password is not right." in page.content.decode()
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row_of(client)))


def test_guessing_the_password_in_a_stolen_session_is_slowed_down(world: World) -> None:
    client = sign_in(world.lead)
    for _ in range(5):
        client.post(CONFIRM, {"password": "guess"})
    client.post(CONFIRM, {"password": PASSWORD})
    demand(world.lead)
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row_of(client)))


def test_the_demand_of_one_person_binds_no_other(world: World) -> None:
    demand(world.lead)
    services.require_fresh(AuthContext(world.validator, session=row_of(sign_in(world.validator))))


def test_a_demand_is_made_once_for_a_source_and_lifted_by_a_named_person(world: World) -> None:
    session = row_of(sign_in(world.lead))
    first, second = demand(world.lead), demand(world.lead)
    assert first == second
    with pytest.raises(NotAllowed):
        services.lift_reauth(actor=world.auditor, demand=first, reason="please")
    for _ in range(2):
        services.lift_reauth(actor=world.admin, demand=first, reason="false alarm")
    assert first.lifted_by == world.admin
    assert AuditEvent.objects.filter(action="access.reauth_lifted").count() == 1
    services.require_fresh(AuthContext(world.lead, session=session))
    assert demand(world.lead).lifted_at


def test_a_lead_lifts_no_demand_on_themselves(world: World) -> None:
    own = demand(world.lead)
    with pytest.raises(NotAllowed, match="on themselves"):
        services.lift_reauth(actor=world.lead, demand=own, reason="it is only me")
    own.refresh_from_db()
    assert own.lifted_at is None
    services.lift_reauth(actor=world.second_lead, demand=own, reason="false alarm")


def test_a_sign_in_of_yesterday_may_read_but_not_decide(world: World) -> None:
    client = sign_in(world.lead)
    UserSession.objects.update(authenticated_at=clock.now() - dt.timedelta(hours=12, minutes=1))
    assert client.get("/sessions/").status_code == 200
    with pytest.raises(ReauthenticationRequired, match="too long ago"):
        services.require_fresh(AuthContext(world.lead, session=row_of(client)))


def test_how_old_a_sign_in_may_be_is_a_setting(world: World, settings: LazySettings) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "DECISION_MAX_AGE_MINUTES": 10}
    client = sign_in(world.lead)
    UserSession.objects.update(authenticated_at=clock.now() - dt.timedelta(minutes=11))
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row_of(client)))


def test_an_ended_session_decides_nothing_even_within_its_last_request(world: World) -> None:
    session = row_of(sign_in(world.lead))
    services.end_session(actor=world.admin, session=row_of(sign_in(world.lead)), reason="x")
    services.require_fresh(AuthContext(world.lead, session=session))
    UserSession.objects.update(ended_at=clock.now())
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=session))


def test_a_session_of_another_person_proves_nothing(world: World) -> None:
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, session=row_of(sign_in(world.owner))))


def test_nobody_decides_without_session_or_token(world: World) -> None:
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead))


def test_a_token_decides_with_the_scope_and_made_after_the_demand(world: World) -> None:
    old, _ = make_token(world.lead, scopes=["decide"])
    services.require_fresh(AuthContext(world.lead, token=old))
    demand(world.lead)
    with pytest.raises(ReauthenticationRequired) as caught:
        services.require_fresh(AuthContext(world.lead, token=old))
    assert "new token" in caught.value.remedy
    new, _ = make_token(world.lead, scopes=["decide"])
    services.require_fresh(AuthContext(world.lead, token=new))
    ApiToken.objects.update(revoked_at=clock.now())
    with pytest.raises(ReauthenticationRequired):
        services.require_fresh(AuthContext(world.lead, token=new))


def test_a_token_without_the_scope_may_not_decide(world: World) -> None:
    token, _ = make_token(world.lead, scopes=["read", "write", "admin"])
    with pytest.raises(NotAllowed, match="may not decide"):
        services.require_fresh(AuthContext(world.lead, token=token))


def test_a_page_asks_for_the_password_with_the_reason_and_then_does_what_was_asked(
    world: World,
) -> None:
    client = sign_in(world.lead)
    demand(world.lead)
    page = client.post("/tokens/new/", A_DECIDING_TOKEN, follow=True)
    assert page.redirect_chain[-1][0].startswith(CONFIRM)
    assert "assistant-instant changed severely." in page.content.decode()
    assert not ApiToken.objects.exists()
    done = client.post(CONFIRM, {"password": PASSWORD, "next": "/tokens/new/"})
    assert "Copy the token now" in done.content.decode()
    token = ApiToken.objects.get()
    services.require_fresh(AuthContext(world.lead, token=token))


def test_a_part_of_a_page_that_must_be_fresh_sends_the_whole_page_to_confirm(world: World) -> None:
    client = sign_in(world.lead)
    demand(world.lead)
    part = {"HX-Request": "true", "HX-Current-URL": "https://evil.example/tickets/1/"}
    answer = client.post("/tokens/new/", A_DECIDING_TOKEN, headers=part)
    assert answer["HX-Redirect"] == f"{CONFIRM}?next=%2Ftickets%2F1%2F"


def test_the_sessions_page_says_that_a_confirmation_is_due(world: World) -> None:
    client = sign_in(world.lead)
    demand(world.lead)
    page = client.get("/sessions/").content.decode()
    assert "assistant-instant changed severely." in page
    assert f"{CONFIRM}?next=/sessions/" in page
    client.post(CONFIRM, {"password": PASSWORD})
    assert "changed severely" not in client.get("/sessions/").content.decode()


def test_the_api_says_that_a_fresh_sign_in_is_needed(world: World) -> None:
    client = sign_in(world.lead)
    demand(world.lead)
    body = {"name": "d", "scopes": ["decide"], "expires_at": clock.now() + dt.timedelta(days=1)}
    answer = client.post("/api/v1/tokens", body, content_type="application/json")
    assert answer.status_code == 403
    assert answer.json()["code"] == "reauthentication_required"
    assert "changed severely" in answer.json()["detail"]
    assert not ApiToken.objects.exists()
