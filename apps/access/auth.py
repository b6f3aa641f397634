"""By what a request is authenticated: a browser's session or an API token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.access.models import ApiToken, UserSession
from apps.accounts.models import User


@dataclass(frozen=True)
class AuthContext:
    """Who acts and through what. Exactly one of session and token is set for a request."""

    user: User
    session: UserSession | None = None
    token: ApiToken | None = None


def of_request(request: Any) -> AuthContext:
    """The context of a Django or DRF request of a signed-in person."""
    token = getattr(request, "auth", None)
    plain = getattr(request, "_request", request)
    if isinstance(token, ApiToken):
        # A browser's cookie may have come along: the token is what let the request in.
        return AuthContext(user=request.user, token=token)
    return AuthContext(user=request.user, session=getattr(plain, "user_session", None))
