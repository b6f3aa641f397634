"""Live sessions: listed, followed, ended, and refused at their next request."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import LazySettings
from django.test import Client

from apps.access import services, sessions
from apps.access.auth import AuthContext
from apps.access.models import UserSession
from apps.access.tasks import end_overdue
from apps.accounts import services as accounts
from apps.audit.models import AuditEvent
from apps.core import clock
from tests.access.conftest import PASSWORD, bearer, make_token, row_of, sign_in
from tests.world import World

LOGIN = "/account/login/"


def is_out(client: Client) -> bool:
    answer = client.get("/sessions/")
    return answer.status_code == 302 and answer["Location"].startswith(LOGIN)


def test_signing_in_lists_the_session_and_writes_it_down(world: World) -> None:
    client = sign_in(world.owner)
    page = client.get("/sessions/").content.decode()
    assert "You are signed in on 1 device." in page
    assert "this session" in page
    assert "Firefox 128 on Linux" in page
    entry = AuditEvent.objects.get(action="access.signed_in", actor_id=str(world.owner.pk))
    assert "127.0.0.1" not in entry.body


def test_this_session_comes_first(world: World) -> None:
    here = sign_in(world.owner)
    sign_in(world.owner, agent="curl/8.1")
    page = here.get("/sessions/").content.decode()
    assert "You are signed in on 2 devices." in page
    assert page.index("Firefox 128") < page.index("curl 8")


def test_a_session_that_was_ended_is_out_at_its_next_request(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    assert here.post(f"/sessions/{row_of(there).pk}/end/").status_code == 302
    assert is_out(there)
    assert not is_out(here)


def test_an_ended_session_is_told_why_and_comes_back_to_where_it_was(world: World) -> None:
    client = sign_in(world.owner)
    services.end_session(actor=world.admin, session=row_of(client), reason="Laptop was stolen.")
    page = client.get("/sessions/?q=1", follow=True)
    assert "You were signed out. Laptop was stolen." in page.content.decode()
    client.post(page.redirect_chain[-1][0], {"login": world.owner.email, "password": PASSWORD})
    assert not is_out(client)


def test_an_ended_session_gets_401_and_the_reason_from_the_api(world: World) -> None:
    client = sign_in(world.owner)
    services.end_session(actor=world.admin, session=row_of(client), reason="Laptop was stolen.")
    answer = client.get("/api/v1/me")
    assert answer.status_code == 401
    assert "Laptop was stolen." in answer.json()["detail"]
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert client.get("/api/v1/me").status_code == 401


def test_a_part_of_a_page_that_asks_for_itself_sends_the_whole_page_to_sign_in(
    world: World,
) -> None:
    client = sign_in(world.owner)
    services.end_session(actor=world.owner, session=row_of(client), reason="Done.")
    part = {"HX-Request": "true", "HX-Current-URL": "https://evil.example/tickets/1/?a=b"}
    answer = client.get("/sessions/", headers=part)
    assert answer["HX-Redirect"] == "/account/login/?next=%2Ftickets%2F1%2F%3Fa%3Db"


def test_whoever_signs_in_over_an_ended_session_is_not_stopped(world: World) -> None:
    client = sign_in(world.owner)
    services.end_session(actor=world.owner, session=row_of(client), reason="Done.")
    answer = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
    assert answer["Location"] == "/"
    assert not is_out(client)


def test_ending_a_session_twice_is_written_down_once(world: World) -> None:
    row = row_of(sign_in(world.owner))
    for reason in ("first", "second"):
        services.end_session(actor=world.owner, session=row, reason=reason)
    assert row.end_reason == "first"
    assert AuditEvent.objects.filter(action="access.session_ended").count() == 1


def test_logging_out_all_others_keeps_this_one(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    other_person = sign_in(world.lead)
    here.post("/sessions/end-others/")
    assert (is_out(here), is_out(there), is_out(other_person)) == (False, True, False)


def test_nobody_ends_the_session_of_another_person(world: World) -> None:
    mine, theirs = sign_in(world.owner), sign_in(world.lead)
    assert mine.post(f"/sessions/{row_of(theirs).pk}/end/").status_code == 404
    assert mine.post(f"/sessions/of/{world.lead.pk}/end/").status_code == 403
    assert mine.get("/sessions/all/").status_code == 403
    assert not is_out(theirs)


def test_an_administrator_finds_and_ends_the_session_of_anybody(world: World) -> None:
    admin, theirs = sign_in(world.admin), sign_in(world.lead)
    assert world.lead.email in admin.get("/sessions/all/").content.decode()
    found = admin.get("/sessions/all/", {"q": world.lead.email}).content.decode()
    assert "1 live session matches" in found
    assert "Log out everywhere" in found
    admin.post(f"/sessions/{row_of(theirs).pk}/end/", {"reason": "Left the bank."})
    assert is_out(theirs)
    ended = UserSession.objects.get(user=world.lead)
    assert ended.end_reason == "Left the bank."


def test_an_administrator_logs_a_person_out_everywhere(world: World) -> None:
    admin = sign_in(world.admin)
    theirs = [sign_in(world.lead), sign_in(world.lead)]
    admin.post(f"/sessions/of/{world.lead.pk}/end/", {"reason": "Phone lost.\x00\n"})
    assert all(is_out(client) for client in theirs)
    assert not is_out(admin)


@pytest.mark.parametrize("search", ["\x00", "%", "'; --", "x" * 5000, "127.0.0.1"])
def test_the_search_for_sessions_survives_any_text(world: World, search: str) -> None:
    assert sign_in(world.admin).get("/sessions/all/", {"q": search}).status_code == 200


def test_an_idle_session_is_over(world: World) -> None:
    client = sign_in(world.owner)
    UserSession.objects.update(last_seen_at=clock.now() - dt.timedelta(hours=8, minutes=1))
    page = client.get("/sessions/", follow=True).content.decode()
    assert "It was idle for more than 8 hours." in page
    assert UserSession.objects.get(user=world.owner).ended_at


def test_a_session_that_is_used_lasts_no_longer_than_its_days(world: World) -> None:
    client = sign_in(world.owner)
    UserSession.objects.update(created_at=clock.now() - dt.timedelta(days=14, minutes=1))
    page = client.get("/sessions/", follow=True).content.decode()
    assert "A sign-in lasts 14 days." in page


def test_the_limits_are_settings(world: World, settings: LazySettings) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "SESSION_IDLE_MINUTES": 5}
    client = sign_in(world.owner)
    UserSession.objects.update(last_seen_at=clock.now() - dt.timedelta(minutes=6))
    assert is_out(client)


def test_overdue_sessions_are_not_shown_as_live_and_are_swept(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    UserSession.objects.filter(pk=row_of(there).pk).update(
        last_seen_at=clock.now() - dt.timedelta(hours=9)
    )
    assert "signed in on 1 device." in here.get("/sessions/").content.decode()
    assert end_overdue() == 1
    assert end_overdue() == 0
    assert "It was idle for more than 8 hours." in here.get("/sessions/").content.decode()


def test_being_seen_is_written_at_most_once_a_minute(world: World) -> None:
    client = sign_in(world.owner)
    before = row_of(client).last_seen_at
    client.get("/sessions/")
    assert row_of(client).last_seen_at == before
    UserSession.objects.update(last_seen_at=before - dt.timedelta(seconds=61))
    client.get("/sessions/")
    assert row_of(client).last_seen_at > before


def test_a_copied_cookie_of_an_ended_session_opens_nothing(world: World) -> None:
    client = sign_in(world.owner)
    cookie = client.cookies["govtrack_session"].value
    client.post("/account/logout/")
    thief = Client()
    thief.cookies["govtrack_session"] = cookie
    assert is_out(thief)
    assert UserSession.objects.get(user=world.owner).end_reason == "Signed out."


def test_the_stored_row_does_not_hold_the_session_key(world: World) -> None:
    client = sign_in(world.owner)
    assert client.cookies["govtrack_session"].value not in str(row_of(client).__dict__)


def test_a_new_password_ends_the_other_sessions_and_keeps_this_row(world: World) -> None:
    here, there = sign_in(world.owner), sign_in(world.owner)
    row, key = row_of(here), here.cookies["govtrack_session"].value
    new = "quite another passphrase"
    form = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert here.post("/account/password/change/", form)["Location"] == "/sessions/"
    page = here.get("/sessions/").content.decode()
    assert "signed in on 1 device." in page
    assert here.cookies["govtrack_session"].value != key
    assert row_of(here).pk == row.pk
    assert "The password was changed." in there.get("/sessions/", follow=True).content.decode()
    assert AuditEvent.objects.filter(action="access.password_changed").count() == 1


def test_whoever_is_locked_out_is_out_at_the_next_request(world: World) -> None:
    client = sign_in(world.owner)
    services.lock_out(actor=world.admin, user=world.owner, reason="Left the bank.")
    assert is_out(client)
    assert UserSession.objects.get(user=world.owner).end_reason == "Left the bank."


def test_a_shut_account_is_out_even_if_nobody_ended_its_sessions(world: World) -> None:
    client = sign_in(world.owner)
    accounts.deactivate_user(actor=world.admin, user=world.owner, reason="Left the bank.")
    assert client.get("/api/v1/me").status_code == 401
    assert UserSession.objects.get(user=world.owner).ended_at


def test_a_session_without_a_row_gets_one_that_may_not_decide(world: World) -> None:
    client = sign_in(world.lead)
    UserSession.objects.all().delete()
    assert not is_out(client)
    assert not is_out(client)
    row = UserSession.objects.get(user=world.lead)
    with pytest.raises(services.FreshSignInRequired):
        services.require_fresh(AuthContext(world.lead, session=row))


def test_what_a_request_does_is_written_down_with_its_session_or_token(world: World) -> None:
    client = sign_in(world.admin)
    client.post("/tokens/new/", {"name": "by page", "scopes": ["read"], "days": "1"})
    entry = AuditEvent.objects.get(action="access.token_created")
    assert entry.session_ref == str(row_of(client).pk)
    token, secret = make_token(world.admin, scopes=["admin", "read"])
    bearer(secret).post("/api/v1/teams", {"name": "Claims"}, content_type="application/json")
    assert AuditEvent.objects.get(action="accounts.team_created").session_ref == f"token:{token.pk}"
    make_token(world.admin)
    assert AuditEvent.objects.order_by("-id")[0].session_ref == ""


def test_forms_without_the_csrf_token_are_refused(world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.owner)
    assert client.post("/sessions/end-others/").status_code == 403
    answer = client.post("/api/v1/sessions/end_others", {}, content_type="application/json")
    assert answer.status_code in (403, 404)
    assert not is_out(client)


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("", "Unknown browser"),
        ("\x00\ud800 odd", "Unknown browser"),
        ("curl/8.1.0", "curl 8"),
        ("(" * 5000, "Unknown browser"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "Mobile Safari 17 on iOS",
        ),
    ],
)
def test_a_device_is_named_for_people(agent: str, device: str) -> None:
    assert sessions.device_of(agent) == device
