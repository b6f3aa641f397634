"""Reads of vendors."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from apps.accounts.permissions import roles_of
from apps.registry.models import Provider
from apps.vendors.models import Notice


def notices(user: Any, provider: Provider | None = None) -> QuerySet[Notice]:
    """What vendors announced, newest first; open to anybody with a role."""
    rows = Notice.objects.select_related("provider").order_by("-announced_at", "-id")
    if not roles_of(user):
        return rows.none()
    return rows if provider is None else rows.filter(provider=provider)
