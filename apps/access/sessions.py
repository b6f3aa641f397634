"""The life of a session row: beginning, being seen, ending by age."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress

from django.conf import settings
from django.http import HttpRequest
from ua_parser import parse

from apps.access.models import UserSession
from apps.accounts.models import User
from apps.core import clock

SEEN_EVERY = dt.timedelta(minutes=1)


def key_hash(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()


def idle_limit() -> dt.timedelta:
    return dt.timedelta(minutes=int(settings.GOVTRACK.get("SESSION_IDLE_MINUTES", 480)))


def absolute_limit() -> dt.timedelta:
    return dt.timedelta(seconds=settings.SESSION_COOKIE_AGE)


def device_of(user_agent: str) -> str:
    """ "Firefox 128 on Linux"; "Unknown browser" where it does not say."""
    found = parse(user_agent[:400]) if user_agent else None
    browser = found.user_agent if found else None
    system = found.os if found else None
    name = f"{browser.family} {browser.major or ''}".strip() if browser else "Unknown browser"
    return (f"{name} on {system.family}" if system else name)[:120]


def address_of(request: HttpRequest) -> str | None:
    """The peer's address; behind a proxy that we trust, the last one it added."""
    given = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        given = request.headers.get("X-Forwarded-For", given).split(",")[-1].strip()
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        return None


def begin(request: HttpRequest, user: User) -> UserSession:
    """The row of this request's session: the stored one, or a new one."""
    assert request.session.session_key
    agent = request.headers.get("User-Agent", "")[:400]
    row, _ = UserSession.objects.get_or_create(
        key_hash=key_hash(request.session.session_key),
        defaults={
            "user": user,
            "ip_address": address_of(request),
            "user_agent": agent.encode("utf-8", "replace").decode().replace("\x00", ""),
            "device": device_of(agent),
        },
    )
    return row


def over(row: UserSession) -> str:
    """Why a session may not go on: "" while it may."""
    now = clock.now()
    if row.ended_at is not None:
        return row.end_reason or "It was ended."
    if now - row.last_seen_at > idle_limit():
        return "Idle for too long."
    if now - row.created_at > absolute_limit():
        return "Signed in for too long."
    return ""


def seen(row: UserSession) -> None:
    now = clock.now()
    if now - row.last_seen_at > SEEN_EVERY:
        UserSession.objects.filter(pk=row.pk, ended_at__isnull=True).update(last_seen_at=now)
        row.last_seen_at = now


def proven_at(request: HttpRequest, row: UserSession) -> None:
    """Take over when the person last proved who they are: allauth keeps it in the session."""
    methods = request.session.get("account_authentication_methods") or []
    latest = max((float(m.get("at", 0)) for m in methods), default=0.0)
    at = dt.datetime.fromtimestamp(latest, dt.UTC)
    if latest and at > row.authenticated_at:
        UserSession.objects.filter(pk=row.pk).update(authenticated_at=at)
        row.authenticated_at = at
