"""A request id for every answer and log line; our errors as pages."""

from __future__ import annotations

import re

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from apps.access import services
from apps.core.errors import Conflict
from apps.core.middleware import ErrorPageMiddleware, RequestIdMiddleware
from tests.world import World, world

__all__ = ["world"]


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 65, "bad id\nX-Evil: 1", "ümlaut-long-enough"]
)
def test_a_request_id_is_made_where_none_that_is_safe_was_given(given: str) -> None:
    answer = Client().get("/healthz", headers={"x-request-id": given} if given else {})
    assert re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-Id"])


def test_a_safe_request_id_is_kept_and_bound_to_the_logs() -> None:
    seen: list[dict[str, object]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(structlog.contextvars.get_contextvars())
        return HttpResponse()

    request = RequestFactory().get("/", headers={"x-request-id": "trace-12345678"})
    answer = RequestIdMiddleware(view)(request)
    assert answer["X-Request-Id"] == "trace-12345678"
    assert seen[0]["request_id"] == "trace-12345678"
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_no_person_of_one_request_stays_in_the_logs_of_the_next(world: World) -> None:
    client = Client()
    client.force_login(world.owner)
    client.get("/sessions/")
    assert "user_id" not in structlog.contextvars.get_contextvars()


def test_our_error_is_a_page_with_its_remedy(world: World) -> None:
    client = Client()
    client.force_login(world.owner)
    page = client.get("/sessions/all/")
    assert page.status_code == 403
    text = page.content.decode()
    assert "Your role does not allow this: it needs administrator." in text
    assert "Ask a governance lead or an administrator." in text


def test_text_of_an_error_is_not_markup(db: None) -> None:
    page = Client().get("/setup/<b>x<b>/")
    assert "<b>x" not in page.content.decode()


def test_other_errors_are_left_to_the_server(rf: RequestFactory) -> None:
    middleware = ErrorPageMiddleware(lambda request: HttpResponse())
    assert middleware.process_exception(rf.get("/"), ValueError("bug")) is None


def test_an_error_page_has_the_errors_own_status(db: None) -> None:
    request = RequestFactory().get("/")
    page = ErrorPageMiddleware(lambda r: HttpResponse()).process_exception(
        request, Conflict("Somebody was faster.", remedy="Reload.")
    )
    assert page is not None
    assert page.status_code == 409


def test_an_error_in_the_setup_keeps_its_words(db: None) -> None:
    services.create_setup_link()
    page = Client().get("/setup/guess/").content.decode()
    assert "This set-up link is used, expired or wrong." in page
