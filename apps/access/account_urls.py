"""allauth's pages that people may reach here, and no other.

There is no sign-up, no changing of one's own address, and no password reset unless real mail is
set: a reset link printed to a log would be a key under the mat.
"""

from __future__ import annotations

from allauth.account import views as account
from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

NO_MAIL = ("console", "dummy", "locmem", "filebased")


def mail_is_set() -> bool:
    return not any(f".{kind}." in settings.EMAIL_BACKEND for kind in NO_MAIL)


urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
    path("2fa/", include("allauth.mfa.urls")),
]
if mail_is_set():
    urlpatterns += [
        path("password/reset/", account.password_reset, name="account_reset_password"),
        path(
            "password/reset/done/", account.password_reset_done, name="account_reset_password_done"
        ),
        path(
            "password/reset/key/<uidb36>-<key>/",
            account.password_reset_from_key,
            name="account_reset_password_from_key",
        ),
        path(
            "password/reset/key/done/",
            account.password_reset_from_key_done,
            name="account_reset_password_from_key_done",
        ),
    ]
