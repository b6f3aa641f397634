"""Every request belongs to a live session; one that was ended is signed out on its next request."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.contrib.messages.storage import default_storage
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from apps.access import sessions
from apps.access.models import UserSession
from apps.audit.services import current_session_ref

Respond = Callable[[HttpRequest], HttpResponse]
# These answer for themselves when nobody is signed in; a browser's redirect would not help them.
ANSWER_THEMSELVES = ("/api/", "/healthz", "/readyz", "/metrics", "/static/")


class UserSessionMiddleware:
    """Sets `request.user_session` (None for nobody) and says to audit and logs who acts.

    `request.session_was_ended` holds the reason where the session that came was turned away.
    """

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        row, reason = self._enter(request)
        request.user_session = row  # type: ignore[attr-defined]
        request.session_was_ended = reason  # type: ignore[attr-defined]
        if reason:
            logout(request)
            if not self._goes_on(request):
                return self._to_sign_in(request, reason)
        held = current_session_ref.set(str(row.pk) if row else "")
        if row:
            structlog.contextvars.bind_contextvars(user_id=str(row.user_id))
        try:
            return self.get_response(request)
        finally:
            current_session_ref.reset(held)
            # Also what a token's authentication bound further in.
            structlog.contextvars.unbind_contextvars("user_id", "token_id")

    def _enter(self, request: HttpRequest) -> tuple[UserSession | None, str]:
        """The live row of this request, or why there is none ("" where nobody came in)."""
        if not request.session.session_key:
            return None, ""
        # Before the user is looked at: Django throws away a session whose password changed.
        named = bool(request.session.get(sessions.ROW))
        row = sessions.find(request) if named else None
        user = request.user
        if not user.is_authenticated:
            if row is None:
                return None, ""
            sessions.expire(row, sessions.SHUT)
            return None, sessions.over(row)
        row = row or sessions.find(request) or sessions.adopt(request, user)
        if row.user_id != user.pk:
            return None, "It belonged to somebody else."
        if reason := sessions.over(row):
            sessions.expire(row, reason)
            return None, reason
        sessions.seen(request, row)
        return row, ""

    def _goes_on(self, request: HttpRequest) -> bool:
        if request.path.startswith(ANSWER_THEMSELVES):
            return True
        # Somebody who is signing in already need not be told to.
        return request.method == "POST" and request.path == reverse("account_login")

    def _to_sign_in(self, request: HttpRequest, reason: str) -> HttpResponse:
        target = reverse("account_login")
        if request.method == "GET" and request.path != target:
            back = request.get_full_path()
            if at := request.headers.get("HX-Current-URL"):
                back = urlsplit(at)._replace(scheme="", netloc="").geturl()
            target += "?" + urlencode({REDIRECT_FIELD_NAME: back})
        response: HttpResponse
        if request.headers.get("HX-Request"):
            # htmx would put the sign-in page into a corner of the old one.
            response = HttpResponse(headers={"HX-Redirect": target})
        else:
            response = HttpResponseRedirect(target)
        storage = default_storage(request)
        storage.add(messages.WARNING, f"You were signed out. {reason}")
        storage.update(response)
        return response
