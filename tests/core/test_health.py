"""Alive, ready, and numbers for those who may have them."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.test import Client

from apps.core import health
from tests.world import World, world

__all__ = ["world"]


def test_the_process_is_alive_without_a_database() -> None:
    # No `db` fixture: a query here would fail the test.
    answer = Client().get("/healthz")
    assert answer.json() == {"status": "ok"}
    assert "no-cache" in answer["Cache-Control"]


@pytest.mark.django_db
def test_ready_when_database_redis_and_migrations_are_there() -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "migrations": "ok"},
    }


@pytest.mark.django_db
def test_not_ready_without_redis_and_says_what_to_check(settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["redis"].startswith("unreachable: check REDIS_URL")
    assert "hunter2" not in answer.content.decode()


def test_not_ready_without_a_database_and_gives_no_address_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise OperationalError("connection to server at db.internal, user govtrack failed")

    monkeypatch.setattr(health.connection, "cursor", broken)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert checks["migrations"] == "not checked: no database"
    assert "db.internal" not in answer.content.decode()


@pytest.mark.django_db
def test_not_ready_while_migrations_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", {})
    monkeypatch.setattr(health.MigrationExecutor, "migration_plan", lambda *_: [("x", False)])
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert "1 not applied" in answer.json()["checks"]["migrations"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic right", "Bearer \xff"])
def test_metrics_are_not_for_everybody(settings: LazySettings, header: str) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "METRICS_TOKEN": "right"}
    answer = Client().get("/metrics", headers={"authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer ", "Bearer  ", "Bearer None"])
def test_an_unset_metrics_token_lets_nobody_in(settings: LazySettings, header: str) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "METRICS_TOKEN": ""}
    assert Client().get("/metrics", headers={"authorization": header}).status_code == 401


def test_metrics_for_the_bearer_of_the_token(settings: LazySettings) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "METRICS_TOKEN": "right"}
    answer = Client().get("/metrics", headers={"authorization": "Bearer right"})
    assert answer.status_code == 200
    assert b"django_http_requests_before_middlewares_total" in answer.content


def test_metrics_for_an_administrators_session_and_no_other(world: World) -> None:
    for user, status in ((world.admin, 200), (world.lead, 401), (world.outsider, 401)):
        client = Client()
        client.force_login(user)
        assert client.get("/metrics").status_code == status
