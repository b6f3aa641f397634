"""The one place where a library's signals are heard; each calls a service at once."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import (
    authentication_step_completed,
    password_changed,
    password_reset,
    password_set,
)
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from apps.access import failures, services, sessions
from apps.accounts.models import User


@receiver(user_logged_in)
def _signed_in(sender: Any, request: HttpRequest | None, user: User, **_: Any) -> None:
    if request is not None and hasattr(request, "session"):
        request.user_session = sessions.sign_in(request, user)  # type: ignore[attr-defined]


@receiver(user_logged_out)
def _signed_out(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    row = getattr(request, "user_session", None)
    if user is not None and row is not None:
        sessions.sign_out(row, user)


@receiver(authentication_step_completed)
def _step(sender: Any, request: HttpRequest, user: User, **said: Any) -> None:
    row = getattr(request, "user_session", None)
    if said.get("reauthenticated") and row is not None and row.user_id == user.pk:
        sessions.reauthenticate(row, user)


@receiver((password_changed, password_set, password_reset))
def _password_changed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    row = getattr(request, "user_session", None)
    services.note_password_change(user=user, session=row)


@receiver((authenticator_added, authenticator_removed, authenticator_reset))
def _second_factor(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, signal: Any, **_: Any
) -> None:
    verbs = {authenticator_added: "added", authenticator_removed: "removed"}
    services.note_second_factor(
        user=user,
        verb=verbs.get(signal, "renewed"),
        kind=authenticator.get_type_display(),
    )


@receiver(user_login_failed)
def _not_signed_in(sender: Any, credentials: dict[str, Any], **_: Any) -> None:
    failures.note_failed_sign_in(login=str(credentials.get("email") or ""))


@receiver(authentication_failed)
def _wrong_code(
    sender: Any, request: HttpRequest, user: User, authenticator: Any, **_: Any
) -> None:
    failures.note_failed_sign_in(
        login=user.email, user=user, what=authenticator.get_type_display().lower()
    )
