"""What a token's scopes let through, before any object is looked at."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission

from apps.access.models import ApiToken
from apps.accounts.permissions import can, require, roles_of
from apps.core.errors import NotAllowed


class ScopedPermission(BasePermission):
    """Signed in, with a role, and by a token whose scopes hold the view's `required_scope`."""

    def has_permission(self, request: Any, view: Any) -> bool:
        user = request.user
        if not user or not user.is_authenticated:
            return False
        if not roles_of(user) and not getattr(view, "open_without_role", False):
            raise NotAllowed(
                "You have no role yet, so there is nothing that you may see or do.",
                remedy="Ask an administrator for a role.",
            )
        safe = request.method in ("GET", "HEAD", "OPTIONS")
        scope = getattr(view, "required_scope", "read" if safe else "write")
        if isinstance(request.auth, ApiToken) and scope and scope not in request.auth.scopes:
            raise NotAllowed(
                f"This token lacks the scope `{scope}`.",
                remedy=f"Make a token with the scope `{scope}`.",
            )
        action = getattr(view, "required_action", "")
        if action and not can(user, action):
            require(user, action)
        return True
