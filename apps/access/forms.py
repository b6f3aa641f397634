"""Forms of the door: allauth's in our words, tokens, first set-up."""

from __future__ import annotations

import datetime as dt
from typing import Any

from allauth.account import forms as account
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from django import forms

from apps.access.services import SCOPES
from apps.core import clock

PASSWORD_RULES = "12 characters or more; no common password, nothing like your name or address."  # noqa: S105


class _Worded(forms.Form):
    """A label says what a field is; a placeholder that repeats it only vanishes while typing."""

    words: dict[str, tuple[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            if name in self.words:
                field.label, field.help_text = self.words[name]
            if name == "code":
                field.widget.attrs.update(inputmode="text", autofocus=True, spellcheck="false")


class SignInForm(_Worded, account.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "E-mail address"


class ReauthenticateForm(_Worded, account.ReauthenticateForm):
    pass


class ChangePasswordForm(_Worded, account.ChangePasswordForm):
    words = {
        "oldpassword": ("Present password", ""),
        "password1": ("New password", PASSWORD_RULES),
        "password2": ("New password again", ""),
    }


class CodeForm(_Worded, mfa.AuthenticateForm):
    words = {"code": ("Code", "Six digits from your authenticator app, or a recovery code.")}


class ReauthenticateCodeForm(_Worded, mfa.ReauthenticateForm):
    words = CodeForm.words


class ActivateTOTPForm(_Worded, totp.ActivateTOTPForm):
    words = {"code": ("Code", "The six digits that the app shows now.")}


class TokenForm(forms.Form):
    name = forms.CharField(max_length=120, help_text="What it is for, for example ci-claims.")
    scopes = forms.MultipleChoiceField(
        choices=[(key, f"{key}: {what}") for key, what in SCOPES.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="No more than it needs. Your own role bounds it too.",
    )
    days = forms.IntegerField(
        label="Valid for days", min_value=1, max_value=366, initial=90, help_text="At most 366."
    )

    def expires_at(self) -> dt.datetime:
        return clock.now() + dt.timedelta(days=self.cleaned_data["days"])


class SetupForm(forms.Form):
    email = forms.EmailField(
        label="E-mail address",
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
        help_text="You sign in with it.",
    )
    display_name = forms.CharField(
        label="Name", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=PASSWORD_RULES,
    )
    password_again = forms.CharField(
        label="Password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, object]:
        data = super().clean() or {}
        if data.get("password") != data.get("password_again"):
            self.add_error("password_again", "The two passwords differ.")
        return data
