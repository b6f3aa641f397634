"""The life of a session: it begins at a sign-in, is seen, and ends by name or by age.

Django's session remembers the id of its row here. So the row follows when the session key is
cycled (sign-in, password change), and what ends a row needs no key: the middleware looks at the
row on every request.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from ua_parser import parse

from apps.access.models import UserSession
from apps.accounts.models import User
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock

ROW = "govtrack_session"
SEEN_EVERY = dt.timedelta(minutes=1)
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHUT = "The account was shut, or its password was changed."


def idle_limit() -> dt.timedelta:
    return dt.timedelta(minutes=settings.GOVTRACK.get("SESSION_IDLE_MINUTES", 8 * 60))


def absolute_limit() -> dt.timedelta:
    return dt.timedelta(days=settings.GOVTRACK.get("SESSION_DAYS", 14))


def live(now: dt.datetime | None = None) -> Q:
    """Rows that would be let in now: not ended, not idle for too long, not too old."""
    now = now or clock.now()
    return Q(
        ended_at__isnull=True,
        last_seen_at__gte=now - idle_limit(),
        created_at__gte=now - absolute_limit(),
        user__is_active=True,
    )


@transaction.atomic
def sign_in(request: HttpRequest, user: User) -> UserSession:
    """Who they are was just proven in full: the row begins, or (the same person signs in again in
    the same browser) goes on as fresh."""
    if not request.session.session_key:
        request.session.save()
    row = find(request)
    if row is None or row.user_id != user.pk or row.ended_at is not None:
        row = _create(request, user, proven_at=clock.now())
    else:
        row.authenticated_at = row.last_seen_at = clock.now()
        row.save(update_fields=["authenticated_at", "last_seen_at"])
        _follow_key(request, row)
    _note("signed_in", row, user, f"{user.name} signed in on {row.device}.")
    return row


@transaction.atomic
def sign_out(row: UserSession, user: User) -> None:
    if _end(row, "Signed out."):
        _note("signed_out", row, user, f"{user.name} signed out on {row.device}.")


@transaction.atomic
def reauthenticate(row: UserSession, user: User) -> None:
    """They proved again, in the middle of a session, who they are."""
    row.authenticated_at = clock.now()
    UserSession.objects.filter(pk=row.pk).update(authenticated_at=row.authenticated_at)
    _note("reauthenticated", row, user, f"{user.name} confirmed on {row.device} who they are.")


@transaction.atomic
def adopt(request: HttpRequest, user: User) -> UserSession:
    """The row of a signed-in session that has none yet. When its person last proved who they are
    is not known here, so it may not decide before they do."""
    row = _create(request, user, proven_at=NEVER)
    _note("session_found", row, user, f"A session of {user.name} on {row.device} was found.")
    return row


def find(request: HttpRequest) -> UserSession | None:
    """The row that this request's session names, live or ended."""
    if not request.session.session_key:
        return None
    named = request.session.get(ROW)
    rows = UserSession.objects.select_related("user")
    return rows.filter(
        Q(pk=named) if named else Q(key_hash=key_hash(request.session.session_key))
    ).first()


def seen(request: HttpRequest, row: UserSession) -> None:
    """At most one write a minute, unless the session's key was cycled."""
    now = clock.now()
    _follow_key(request, row)
    if now - row.last_seen_at > SEEN_EVERY:
        row.last_seen_at, row.ip_address = now, address_of(request)
        UserSession.objects.filter(pk=row.pk, ended_at__isnull=True).update(
            last_seen_at=now, ip_address=row.ip_address
        )


def over(row: UserSession) -> str:
    """Why a session may not go on, in a sentence: "" while it may."""
    if row.ended_at is not None:
        return row.end_reason or "It was ended."
    now = clock.now()
    if now - row.last_seen_at > idle_limit():
        return f"It was idle for more than {_span(idle_limit())}."
    if now - row.created_at > absolute_limit():
        return f"A sign-in lasts {_span(absolute_limit())}."
    return ""


@transaction.atomic
def expire(row: UserSession, reason: str) -> None:
    """Write down that a session is over by itself. Idempotent."""
    if _end(row, reason):
        _note("session_expired", row, SYSTEM, f"A session of {row.user.name} ended: {reason}")


def end_overdue(rows: QuerySet[UserSession] | None = None) -> int:
    """End the rows that outlived their limits. The middleware refuses them anyway; this is so that
    lists are right. Safe to run anywhere, any number of times."""
    found = (UserSession.objects.all() if rows is None else rows).filter(ended_at__isnull=True)
    overdue = list(found.exclude(live()).select_related("user")[:500])
    for row in overdue:
        expire(row, over(row) or SHUT)
    return len(overdue)


def key_hash(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()


def device_of(user_agent: str) -> str:
    """ "Firefox 128 on Linux"; "Unknown browser" where it does not say."""
    said = printable(user_agent)
    found = parse(said) if said else None
    browser = found.user_agent if found else None
    system = found.os if found else None
    name = f"{browser.family} {browser.major or ''}".strip() if browser else "Unknown browser"
    return (f"{name} on {system.family}" if system else name)[:120]


def printable(user_agent: str) -> str:
    return "".join(c for c in user_agent if c.isprintable())[:400]


def address_of(request: HttpRequest) -> str | None:
    """The client's address as the rate limits see it (ALLAUTH_TRUSTED_PROXY_COUNT)."""
    try:
        return get_adapter().get_client_ip(request)
    except (PermissionDenied, ImproperlyConfigured):
        return None


# ------------------------------------------------------------------------------------- inside


def _create(request: HttpRequest, user: User, *, proven_at: dt.datetime) -> UserSession:
    assert request.session.session_key
    agent = printable(request.headers.get("User-Agent", ""))
    # Two first requests of one session at the same time find one row.
    row, _ = UserSession.objects.select_related("user").get_or_create(
        key_hash=key_hash(request.session.session_key),
        defaults={
            "user": user,
            "ip_address": address_of(request),
            "user_agent": agent,
            "device": device_of(agent),
            "authenticated_at": proven_at,
        },
    )
    request.session[ROW] = str(row.pk)
    return row


def _follow_key(request: HttpRequest, row: UserSession) -> None:
    digest = key_hash(request.session.session_key or "")
    if row.key_hash != digest:
        row.key_hash = digest
        UserSession.objects.filter(pk=row.pk).update(key_hash=digest)
    request.session.setdefault(ROW, str(row.pk))


def _end(row: UserSession, reason: str) -> bool:
    now = clock.now()
    ended = UserSession.objects.filter(pk=row.pk, ended_at__isnull=True).update(
        ended_at=now, end_reason=reason[:200]
    )
    if ended:
        row.ended_at, row.end_reason = now, reason[:200]
    return bool(ended)


def _note(verb: str, row: UserSession, actor: Actor, summary: str, **changes: Any) -> None:
    record(
        f"access.{verb}",
        actor=actor,
        obj=row,
        object_name=printed(row),
        summary=summary,
        changes=changes,
    )


def printed(row: UserSession) -> str:
    return f"{row.user.name} on {row.device or 'an unknown device'}"


def _span(length: dt.timedelta) -> str:
    for seconds, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count, rest = divmod(int(length.total_seconds()), seconds)
        if count and not rest:
            return f"{count} {noun}{'' if count == 1 else 's'}"
    return f"{int(length.total_seconds())} seconds"
