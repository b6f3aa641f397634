"""How the API knows who asks."""

from __future__ import annotations

import datetime as dt
from typing import Any

import structlog
from django.db.models import Q
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.authentication import SessionAuthentication as DrfSessionAuthentication

from apps.access.models import ApiToken
from apps.access.services import secret_hash
from apps.audit.services import current_session_ref
from apps.core import clock

USED_EVERY = dt.timedelta(minutes=1)
CHALLENGE = 'Bearer realm="GovTrack API"'


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer gt_…`. Wrong, revoked, expired and shut-out look alike: 401."""

    def authenticate(self, request: Any) -> tuple[Any, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise exceptions.AuthenticationFailed("Send `Authorization: Bearer TOKEN`.")
        digest = secret_hash(parts[1].decode("latin-1"))
        token = ApiToken.objects.select_related("user").filter(token_hash=digest).first()
        now = clock.now()
        if (
            token is None
            or token.revoked_at is not None
            or token.expires_at <= now
            or not token.user.is_active
        ):
            raise exceptions.AuthenticationFailed(
                "The token is unknown, revoked or expired. Make a new one: Sessions, API tokens."
            )
        self._used(token, now)
        # The session middleware takes both back when the request is over.
        current_session_ref.set(f"token:{token.pk}")
        structlog.contextvars.bind_contextvars(user_id=str(token.user_id), token_id=str(token.pk))
        return token.user, token

    def authenticate_header(self, request: Any) -> str:
        return CHALLENGE

    def _used(self, token: ApiToken, now: dt.datetime) -> None:
        """At most one write a minute, also when many requests come at once."""
        if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
            ApiToken.objects.filter(
                Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_EVERY), pk=token.pk
            ).update(last_used_at=now)


class SessionAuthentication(DrfSessionAuthentication):
    """The browser's own session, with CSRF; the middleware has refused ended ones already."""

    def authenticate(self, request: Any) -> tuple[Any, None] | None:
        if reason := getattr(request._request, "session_was_ended", ""):
            raise exceptions.AuthenticationFailed(f"You were signed out. {reason} Sign in again.")
        return super().authenticate(request)

    def authenticate_header(self, request: Any) -> str:
        return CHALLENGE
