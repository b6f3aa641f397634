"""allauth, told how this product signs people in and keeps the secrets of second factors."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from apps.core.errors import Conflict

QUIET = ("logged_in.txt", "logged_out.txt")
ENCRYPTED = "fernet:"


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is not right.",
        "incorrect_password": "The password is not right.",
        "enter_current_password": "This is not your present password.",
        "too_many_login_attempts": "Too many failed sign-ins. Wait five minutes, then try again.",
        "rate_limited": "Too many tries. Wait a minute, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by administrators, never by the people who want in."""
        return False

    def add_message(self, request: HttpRequest, level: int, *args: Any, **kwargs: Any) -> None:
        """The pages say what happened; allauth's “signed in as …” only takes space."""
        template = kwargs.get("message_template") or (args[0] if args else "")
        if isinstance(template, str) and template.endswith(QUIET):
            return
        super().add_message(request, level, *args, **kwargs)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("access:sessions")


class MFAAdapter(DefaultMFAAdapter):
    """Seeds are encrypted with GOVTRACK_ENCRYPTION_KEY, so that the database alone signs nobody in.
    Without a key they are kept as they are (and read so for ever: the prefix tells)."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is not right, or was used already. Wait for the next one.",
    }

    def encrypt(self, text: str) -> str:
        keys = _keys()
        return ENCRYPTED + keys.encrypt(text.encode()).decode() if keys else text

    def decrypt(self, encrypted_text: str) -> str:
        if not encrypted_text.startswith(ENCRYPTED):
            return encrypted_text
        keys = _keys()
        try:
            if keys:
                return keys.decrypt(encrypted_text.removeprefix(ENCRYPTED).encode()).decode()
        except InvalidToken:
            pass
        raise Conflict(
            "Your second factor cannot be read: the product's encryption key is another one now.",
            remedy="Ask your administrator to set the earlier GOVTRACK_ENCRYPTION_KEY beside it.",
        )

    def build_totp_svg(self, url: str) -> str:
        """On white with a quiet zone: the dark theme would make it unreadable to a camera."""
        import qrcode
        from qrcode.image.svg import SvgPathFillImage

        return qrcode.make(url, image_factory=SvgPathFillImage).to_string(encoding="unicode")


def _keys() -> MultiFernet | None:
    given = [key.strip() for key in settings.GOVTRACK_ENCRYPTION_KEY.split(",") if key.strip()]
    return MultiFernet([Fernet(key) for key in given]) if given else None
