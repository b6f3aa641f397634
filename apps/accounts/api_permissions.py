"""The permission table at the door of the API, before anything is looked at.

Services check again, with the object; this keeps whole resources (people, the audit log) from
those without any business there. Kept apart from `api` since the framework loads it early.
"""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission

from apps.accounts.permissions import require


class RoleAllows(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        """Raises NotAllowed naming the roles that may."""
        if needed := getattr(view, "required_action", ""):
            require(request.user, needed)
        return True
