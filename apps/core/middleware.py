"""A request id in every log line and response; our errors as pages instead of a 500."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode

from apps.core.errors import GovTrackError, ReauthenticationRequired

Respond = Callable[[HttpRequest], HttpResponse]
SAFE_ID = re.compile(r"^[A-Za-z0-9._-]{8,64}$")


class RequestIdMiddleware:
    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if SAFE_ID.match(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


class ErrorPageMiddleware:
    """A GovTrackError that no view turned into an inline message becomes a clear page.

    One that asks for a fresh sign-in goes on to the account pages, with the reason on top.
    """

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, ReauthenticationRequired):
            return self._to_reauthenticate(request, error)
        if not isinstance(error, GovTrackError):
            return None
        return render(request, "problem.html", {"error": error}, status=error.status)

    def _to_reauthenticate(
        self, request: HttpRequest, error: ReauthenticationRequired
    ) -> HttpResponse | None:
        messages.warning(request, error.message)
        if not request.headers.get("HX-Request"):
            # The account middleware, which comes next, keeps what was sent and redirects.
            return None
        page = request.headers.get("HX-Current-URL", "")
        back = urlsplit(page)._replace(scheme="", netloc="").geturl() or "/"
        target = f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: back})}"
        return HttpResponse(headers={"HX-Redirect": target})
