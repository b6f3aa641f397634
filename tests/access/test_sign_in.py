"""The way in: what it tells, what it lets through, where it leads."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from cryptography.fernet import Fernet
from django.conf import LazySettings
from django.test import Client

from apps.access import failures, services
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from tests.access.conftest import PASSWORD, sign_in, with_password
from tests.world import World

LOGIN = "/account/login/"


def try_password(client: Client, login: str, password: str) -> str:
    """What the page says, without what differs for every request."""
    page = client.post(LOGIN, {"login": login, "password": password}).content.decode()
    text = re.sub(r'value="[^"]*"|CSRFToken": "\w+"', "", page)
    return text.replace(login, "")


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def test_wrong_password_unknown_address_and_shut_account_look_the_same(world: World) -> None:
    services.lock_out(actor=world.admin, user=with_password(world.auditor), reason="Left.")
    said = {
        try_password(Client(), login, "wrong wrong wrong")
        for login in (world.owner.email, world.auditor.email, "nobody@northwind.example")
    }
    assert len(said) == 1
    assert "The e-mail address or the password is not right." in said.pop()


def test_a_shut_account_does_not_sign_in_with_the_right_password(world: World) -> None:
    services.lock_out(actor=world.admin, user=with_password(world.owner), reason="Left.")
    client = Client()
    page = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD}, follow=True)
    assert "Your account is shut." in page.content.decode()
    assert client.get("/sessions/").status_code == 302


def test_guessing_passwords_is_slowed_down_for_everybody_who_guesses_at_one_account(
    world: World,
) -> None:
    with_password(world.owner)
    for _ in range(5):
        try_password(Client(), world.owner.email, "guess it")
    said = try_password(Client(), world.owner.email, PASSWORD)
    assert "Too many failed sign-ins." in said
    sign_in(world.lead)


def test_a_failed_sign_in_is_on_record_with_the_account_and_without_what_was_typed(
    world: World,
) -> None:
    with_password(world.owner)
    try_password(Client(), world.owner.email.upper(), "hunter2-hunter2")
    entry = AuditEvent.objects.get(action="access.sign_in_failed")
    assert (entry.object_id, entry.object_name) == (str(world.owner.pk), world.owner.name)
    assert "password" in entry.summary
    assert "hunter2" not in entry.body


def test_a_name_that_no_account_has_is_kept_as_a_digest_only(world: World) -> None:
    for name in (
        "my-passphrase@typed.example",
        "my-passphrase@typed.example",
        "else@typed.example",
    ):
        try_password(Client(), name, "wrong wrong wrong")
    entries = AuditEvent.objects.filter(action="access.sign_in_failed").order_by("occurred_at")
    digests = [re.search(r'"name_digest":"(\w+)"', entry.body)[1] for entry in entries]  # type: ignore[index]
    assert digests[0] == digests[1] != digests[2]
    assert all("typed.example" not in entry.body for entry in entries)


def test_guessing_does_not_fill_the_log(world: World) -> None:
    written = [failures.note_failed_sign_in(login=world.owner.email) for _ in range(14)]
    assert written == [True] * failures.MOST + [False] * 4
    entries = AuditEvent.objects.filter(action="access.sign_in_failed")
    assert entries.count() == failures.MOST
    assert "not written one by one" in entries.order_by("-occurred_at", "-id")[0].summary
    assert failures.note_failed_sign_in(login=world.lead.email)


def test_the_session_key_changes_at_sign_in(world: World) -> None:
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key or ""
    with_password(world.owner)
    client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
    thief = Client()
    thief.cookies["govtrack_session"] = planted
    assert thief.get("/sessions/").status_code == 302
    assert client.get("/sessions/").status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "http:///evil.example",
        "javascript:alert(1)",
        "https://testserver@evil.example/",
    ],
)
def test_sign_in_and_confirming_lead_to_no_other_site(world: World, target: str) -> None:
    with_password(world.owner)
    client = Client()
    form = {"login": world.owner.email, "password": PASSWORD, "next": target}
    assert client.post(f"{LOGIN}?next={target}", form)["Location"] == "/"
    answer = client.post("/account/reauthenticate/", {"password": PASSWORD, "next": target})
    assert answer["Location"] == "/"
    assert client.post("/account/logout/", {"next": target})["Location"] == "/"


def test_sign_in_leads_to_the_page_that_was_asked_for(world: World) -> None:
    with_password(world.owner)
    client = Client()
    page = client.get("/sessions/", follow=True)
    assert 'name="next" value="/sessions/"' in page.content.decode()
    form = {"login": world.owner.email, "password": PASSWORD, "next": "/sessions/"}
    assert client.post(LOGIN, form)["Location"] == "/sessions/"


@pytest.mark.parametrize("page", ["signup", "password/reset", "email", "3rdparty", "login/code"])
def test_pages_that_would_open_another_way_in_do_not_exist(page: str, db: None) -> None:
    assert Client().get(f"/account/{page}/").status_code == 404


def test_signing_out_takes_a_form_not_a_link(world: World) -> None:
    client = sign_in(world.owner)
    assert "Sign out of this device?" in client.get("/account/logout/").content.decode()
    assert client.get("/sessions/").status_code == 200
    client.post("/account/logout/")
    assert client.get("/sessions/").status_code == 302


def second_factor(user: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(with_password(user), secret)
    return str(secret)


def test_a_second_factor_is_asked_for_once_it_is_set_up(world: World) -> None:
    secret = second_factor(world.owner)
    client = Client()
    answer = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
    assert client.get("/sessions/").status_code == 302
    assert client.get("/api/v1/me").status_code == 401
    wrong = client.post(answer["Location"], {"code": "000000"})
    assert "This code is not right" in wrong.content.decode()
    assert client.get("/sessions/").status_code == 302
    client.post(answer["Location"], {"code": code_of(secret)})
    assert client.get("/sessions/").status_code == 200


def test_a_recovery_code_signs_in_once(world: World) -> None:
    second_factor(world.owner)
    code = RecoveryCodes.activate(world.owner).get_unused_codes()[0]
    for works in (True, False):
        client = Client()
        answer = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
        client.post(answer["Location"], {"code": code})
        assert (client.get("/sessions/").status_code == 200) is works


def test_the_seed_of_a_second_factor_is_not_readable_in_the_database(
    world: World, settings: LazySettings
) -> None:
    settings.GOVTRACK_ENCRYPTION_KEY = Fernet.generate_key().decode()
    secret = second_factor(world.owner)
    stored = Authenticator.objects.get(user=world.owner).data["secret"]
    assert secret not in stored
    assert stored.startswith("fernet:")
    newer = Fernet.generate_key().decode()
    settings.GOVTRACK_ENCRYPTION_KEY = f"{newer},{settings.GOVTRACK_ENCRYPTION_KEY}"
    client = Client()
    answer = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
    client.post(answer["Location"], {"code": code_of(secret)})
    assert client.get("/sessions/").status_code == 200


def test_a_lost_encryption_key_is_said_and_lets_nobody_in(
    world: World, settings: LazySettings
) -> None:
    settings.GOVTRACK_ENCRYPTION_KEY = Fernet.generate_key().decode()
    secret = second_factor(world.owner)
    settings.GOVTRACK_ENCRYPTION_KEY = Fernet.generate_key().decode()
    client = Client()
    answer = client.post(LOGIN, {"login": world.owner.email, "password": PASSWORD})
    page = client.post(answer["Location"], {"code": code_of(secret)})
    assert page.status_code == 409
    assert "GOVTRACK_ENCRYPTION_KEY" in page.content.decode()
    assert client.get("/sessions/").status_code == 302


def test_a_person_sets_a_second_factor_up_and_takes_it_away(world: World) -> None:
    client = sign_in(world.owner)
    page = client.get("/account/2fa/totp/activate/", follow=True)
    assert "Confirm that it is you" in page.content.decode()
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    form = client.get("/account/2fa/totp/activate/").content.decode()
    secret = re.search(r'data-copy="([A-Z2-7]{32})"', form)
    assert secret
    client.post("/account/2fa/totp/activate/", {"code": code_of(secret.group(1))})
    assert "A code from your app" in client.get("/account/2fa/").content.decode()
    codes = client.get("/account/2fa/recovery-codes/").content.decode()
    assert "10 of 10 recovery codes are left." in codes
    client.post("/account/2fa/totp/deactivate/")
    assert "Your password alone signs you in." in client.get("/account/2fa/").content.decode()
    told = AuditEvent.objects.filter(action="access.second_factor_changed")
    assert told.count() >= 2


ACCOUNT_PAGES = [
    "/account/logout/",
    "/account/inactive/",
    "/account/reauthenticate/",
    "/account/password/change/",
    "/account/2fa/",
    "/account/2fa/reauthenticate/",
    "/account/2fa/totp/activate/",
    "/account/2fa/totp/deactivate/",
    "/account/2fa/recovery-codes/",
    "/account/2fa/recovery-codes/generate/",
    "/sessions/",
    "/sessions/all/",
]


@pytest.mark.parametrize("path", ACCOUNT_PAGES)
def test_account_pages_are_ours_and_keep_to_the_content_policy(world: World, path: str) -> None:
    client = sign_in(world.admin)
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    if "activate" not in path or "deactivate" in path:
        TOTP.activate(world.admin, generate_totp_secret())
        RecoveryCodes.activate(world.admin)
    page = client.get(path)
    assert page.status_code == 200
    keeps_to_policy(page.content.decode())
    assert "script-src 'self'" in page["Content-Security-Policy"]


def test_the_sign_in_page_keeps_to_the_content_policy(db: None) -> None:
    keeps_to_policy(Client().get(LOGIN).content.decode())


def keeps_to_policy(text: str) -> None:
    assert "/static/css/govtrack.css" in text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    for script in re.findall(r"<script\b[^>]*>", text):
        assert 'src="/static/' in script
    assert len(re.findall(r"<h1\b", text)) == 1
