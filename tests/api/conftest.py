"""Clients of the API: one for each person of the world, with a token of theirs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.access import services as access
from apps.accounts.models import User
from apps.core import clock
from tests.api.story import Story, tell
from tests.fixtures.live import live_db, live_template
from tests.world import World, world

__all__ = ["live_db", "live_template", "world"]
ALL_SCOPES = ("read", "write", "run", "gate", "decide", "admin")


@dataclass
class Api:
    """Addresses below /api/v1/, JSON in and out, one person's token."""

    user: User
    scopes: tuple[str, ...] = ALL_SCOPES
    client: APIClient = field(default_factory=lambda: APIClient(raise_request_exception=True))

    def __post_init__(self) -> None:
        _, secret = access.create_token(
            actor=self.user,
            user=self.user,
            name="tests",
            scopes=list(self.scopes),
            expires_at=clock.now() + dt.timedelta(hours=1),
        )
        self.client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.post(
            f"/api/v1/{path}", {} if body is None else body, format="json", headers=headers
        )

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.patch(f"/api/v1/{path}", body, format="json", headers=headers)

    def raw(self, path: str, body: bytes | str, content_type: str = "application/json") -> Any:
        return self.client.post(f"/api/v1/{path}", body, content_type=content_type)


@pytest.fixture(autouse=True)
def _encryption_key(settings: Any) -> None:
    settings.GOVTRACK_ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def api() -> Callable[..., Api]:
    return Api


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def story(world: World) -> Story:
    return tell(world)


@pytest.fixture
def owner(world: World) -> Api:
    return Api(world.owner)


@pytest.fixture
def validator(world: World) -> Api:
    return Api(world.validator)


@pytest.fixture
def lead(world: World) -> Api:
    return Api(world.lead)


@pytest.fixture
def auditor(world: World) -> Api:
    return Api(world.auditor)


@pytest.fixture
def admin(world: World) -> Api:
    return Api(world.admin)


@pytest.fixture
def outsider(world: World) -> Api:
    return Api(world.outsider)


def is_problem(response: Any, status: int, code: str = "", field: str = "") -> dict[str, Any]:
    """An RFC 9457 answer with this status, and this code and field at fault where given."""
    body = response.json()
    assert (response.status_code, response["Content-Type"]) == (
        status,
        "application/problem+json",
    ), body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"urn:govtrack:problem:{body['code']}"
    if code:
        assert body["code"] == code
    if field:
        assert field in [e["field"] for e in body.get("errors", [])], body
    return body
