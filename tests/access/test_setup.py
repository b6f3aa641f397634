"""The one-time link by which an empty product gets its first administrator."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client

from apps.access import services
from apps.access.models import SetupLink
from apps.accounts.models import User
from apps.accounts.permissions import roles_of
from apps.core import clock
from apps.core.errors import NotFound
from tests.access.conftest import PASSWORD
from tests.world import World

pytestmark = pytest.mark.django_db
FORM: dict[str, Any] = {
    "email": "ada@northwind.example",
    "display_name": "Ada",
    "password": PASSWORD,
    "password_again": PASSWORD,
}


def test_the_setup_link_makes_one_administrator_and_then_nothing() -> None:
    secret = services.create_setup_link()
    assert Client().get(f"/setup/{secret}/").status_code == 200
    client = Client()
    page = client.post(f"/setup/{secret}/", FORM, follow=True)
    assert "You are the administrator." in page.content.decode()
    assert roles_of(User.objects.get()) == {"administrator"}
    client.post("/account/login/", {"login": FORM["email"], "password": PASSWORD})
    assert client.get("/sessions/").status_code == 200
    again = Client().post(f"/setup/{secret}/", FORM | {"email": "eve@evil.example"})
    assert again.status_code == 404
    assert User.objects.count() == 1


def test_the_stored_link_cannot_be_opened_from_what_is_stored() -> None:
    secret = services.create_setup_link()
    row = SetupLink.objects.get()
    assert secret not in str(row.__dict__)
    assert Client().get(f"/setup/{row.secret_hash}/").status_code == 404


@pytest.mark.parametrize("secret", ["guess", "%00", "x" * 3000, "ü"])
def test_a_wrong_setup_link_opens_nothing_and_says_what_to_do(secret: str) -> None:
    services.create_setup_link()
    page = Client().get(f"/setup/{secret}/")
    assert page.status_code == 404
    assert "govtrack createadmin" in page.content.decode()


def test_an_expired_setup_link_opens_nothing() -> None:
    secret = services.create_setup_link()
    SetupLink.objects.update(expires_at=clock.now() - dt.timedelta(seconds=1))
    assert Client().post(f"/setup/{secret}/", FORM).status_code == 404
    assert not User.objects.exists()


def test_a_newer_setup_link_voids_the_older() -> None:
    older, newer = services.create_setup_link(), services.create_setup_link()
    assert Client().get(f"/setup/{older}/").status_code == 404
    assert Client().get(f"/setup/{newer}/").status_code == 200


def test_a_setup_link_opens_nothing_while_there_is_an_administrator(world: World) -> None:
    secret = services.create_setup_link()
    assert Client().post(f"/setup/{secret}/", FORM).status_code == 404
    with pytest.raises(NotFound):
        services.use_setup_link(
            secret=secret, email="eve@evil.example", display_name="Eve", password=PASSWORD
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "short", "password_again": "short"}, "12 characters"),
        ({"password_again": "another one entirely"}, "The two passwords differ."),
        ({"email": "no address"}, "valid email address"),
        ({"display_name": ""}, "required"),
        ({"display_name": "nul\x00"}, "Null characters"),
    ],
)
def test_a_bad_setup_form_says_so_and_the_link_still_works(
    change: dict[str, str], said: str
) -> None:
    secret = services.create_setup_link()
    page = Client().post(f"/setup/{secret}/", FORM | change)
    assert page.status_code == 400
    assert said in page.content.decode()
    assert not User.objects.exists()
    assert Client().post(f"/setup/{secret}/", FORM).status_code == 302
