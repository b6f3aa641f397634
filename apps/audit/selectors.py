"""Reads of the history. Callers check `audit.view` (or that the object itself may be seen)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import models
from django.db.models import Q, QuerySet

from apps.audit.models import AuditEvent


@dataclass(frozen=True)
class Filters:
    """What a page or a request asks for; empty means all."""

    actor_id: str = ""
    action: str = ""  # exact, or an app's with a dot at the end: "registry."
    object_type: str = ""
    object_id: str = ""
    session_ref: str = ""
    text: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def history_for(*objects: models.Model) -> QuerySet[AuditEvent]:
    """All entries about these objects, oldest first: one story in order."""
    if not objects:
        return AuditEvent.objects.none()
    about = Q()
    for obj in objects:
        about |= Q(object_type=obj._meta.label_lower, object_id=str(obj.pk))
    return AuditEvent.objects.filter(about).select_related("leaf").order_by("occurred_at", "id")


def page(filters: Filters | None = None) -> QuerySet[AuditEvent]:
    """Entries that match, newest first. Slice it: the log is long."""
    wanted = filters or Filters()
    rows = AuditEvent.objects.select_related("leaf").order_by("-occurred_at", "-id")
    for field in ("actor_id", "object_type", "object_id", "session_ref"):
        if value := getattr(wanted, field):
            rows = rows.filter(**{field: value})
    if wanted.action.endswith("."):
        rows = rows.filter(action__startswith=wanted.action)
    elif wanted.action:
        rows = rows.filter(action=wanted.action)
    if wanted.text:
        # NUL cannot be in the database, so nothing that holds it is found there.
        words = wanted.text.replace("\x00", "").strip()
        rows = rows.filter(
            Q(summary__icontains=words)
            | Q(object_name__icontains=words)
            | Q(actor_name__icontains=words)
        )
    if wanted.since:
        rows = rows.filter(occurred_at__gte=wanted.since)
    if wanted.until:
        rows = rows.filter(occurred_at__lt=wanted.until)
    return rows
