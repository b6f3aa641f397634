"""The one place where a library's signals are heard; each calls a service at once."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed, password_set
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from apps.access import auth, services, sessions
from apps.access.models import UserSession
from apps.accounts.models import User
from apps.audit.services import record
from apps.core import clock


@receiver(user_logged_in)
@transaction.atomic
def _signed_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    if request is None or not hasattr(request, "session"):
        return
    if not request.session.session_key:
        request.session.save()
    row = sessions.begin(request, user)
    request.user_session = row  # type: ignore[attr-defined]
    record(
        "access.signed_in",
        actor=user,
        obj=row,
        object_name=f"{user.name} on {row.device}",
        summary=f"{user.name} signed in on {row.device}.",
    )


@receiver(user_logged_out)
@transaction.atomic
def _signed_out(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    row = getattr(request, "user_session", None)
    if user is None or row is None:
        return
    ended = UserSession.objects.filter(pk=row.pk, ended_at__isnull=True).update(
        ended_at=clock.now(), end_reason="Signed out."
    )
    if ended:
        record(
            "access.signed_out",
            actor=user,
            obj=row,
            object_name=f"{user.name} on {row.device}",
            summary=f"{user.name} signed out on {row.device}.",
        )


@receiver(password_changed)
@receiver(password_set)
def _password_changed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    services.end_other_sessions(auth=auth.of_request(request), reason="The password was changed.")
