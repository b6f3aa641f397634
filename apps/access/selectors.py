"""What the pages at the door show."""

from __future__ import annotations

import datetime as dt

from django.db.models import Case, DateTimeField, F, Q, QuerySet, When

from apps.access import sessions
from apps.access.models import ApiToken, ReauthDemand, UserSession
from apps.accounts.models import User
from apps.core import clock


def live_sessions(user: User | None = None) -> QuerySet[UserSession]:
    """Sessions that would be let in now, last seen first; of everybody for None."""
    rows = UserSession.objects.filter(sessions.live()).select_related("user")
    return (rows if user is None else rows.filter(user=user)).order_by("-last_seen_at", "-id")


def found(rows: QuerySet[UserSession], query: str) -> QuerySet[UserSession]:
    """Those whose person, device or address holds `query`."""
    words = query.replace("\x00", "").strip()
    if not words:
        return rows
    return rows.filter(
        Q(user__display_name__icontains=words)
        | Q(user__email__icontains=words)
        | Q(device__icontains=words)
        | Q(ip_address__startswith=words)
    )


def ended_sessions(user: User) -> QuerySet[UserSession]:
    return UserSession.objects.filter(user=user, ended_at__isnull=False).order_by("-ended_at")


def usable_tokens(user: User) -> QuerySet[ApiToken]:
    now = clock.now()
    return ApiToken.objects.filter(user=user, revoked_at__isnull=True, expires_at__gt=now).order_by(
        "-created_at"
    )


def spent_tokens(user: User) -> QuerySet[ApiToken]:
    """Revoked or expired, the latest first, with the moment of it as `over_at`."""
    over = Case(
        When(revoked_at__isnull=False, then=F("revoked_at")),
        default=F("expires_at"),
        output_field=DateTimeField(),
    )
    return (
        ApiToken.objects.filter(user=user)
        .filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=clock.now()))
        .annotate(over_at=over)
        .order_by("-over_at")
    )


def standing_demand(user: User, proven_at: dt.datetime | None) -> ReauthDemand | None:
    """The latest demand that a sign-in proven at `proven_at` does not meet."""
    rows = ReauthDemand.objects.filter(user=user, lifted_at__isnull=True)
    if proven_at is not None:
        rows = rows.filter(since__gt=proven_at)
    return rows.order_by("-since").first()
