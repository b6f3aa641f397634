"""Browsers that sign in, and tokens, for the tests of the door."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from apps.access import services
from apps.access.models import ApiToken, UserSession
from apps.accounts.models import User
from apps.core import clock
from tests.world import World, world

__all__ = ["World", "world"]
PASSWORD = "a long enough passphrase"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: LazySettings) -> None:
    """Hashing is slow on purpose. Rate limits are kept apart in tests/conftest.py."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]


def with_password(user: User) -> User:
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    return user


def sign_in(user: User, agent: str = FIREFOX) -> Client:
    if not (user.password.startswith("md5") and user.check_password(PASSWORD)):
        with_password(user)
    client = Client(headers={"user-agent": agent})
    answer = client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302, answer.content.decode()[:2000]
    return client


def row_of(client: Client) -> UserSession:
    return UserSession.objects.select_related("user").get(pk=client.session["govtrack_session"])


def make_token(owner: User, **change: Any) -> tuple[ApiToken, str]:
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
