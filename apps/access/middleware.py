"""Every request belongs to a live session; one that was ended is signed out on its next request."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from apps.access import sessions
from apps.audit.services import current_session_ref


class UserSessionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        if not user.is_authenticated or not request.session.session_key:
            return self.get_response(request)
        row = sessions.begin(request, user)
        reason = sessions.over(row)
        if reason or row.user_id != user.pk:
            return self._signed_out(request, reason or "It belonged to somebody else.")
        sessions.seen(row)
        sessions.proven_at(request, row)
        request.user_session = row  # type: ignore[attr-defined]
        token = current_session_ref.set(str(row.pk))
        try:
            with structlog.contextvars.bound_contextvars(user_id=str(user.pk)):
                return self.get_response(request)
        finally:
            current_session_ref.reset(token)

    def _signed_out(self, request: HttpRequest, reason: str) -> HttpResponse:
        logout(request)
        request.session_was_ended = reason  # type: ignore[attr-defined]
        if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/static/")):
            return self.get_response(request)
        return redirect(f"{reverse('account_login')}?ended=1")
