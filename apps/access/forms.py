"""Forms of the door's own pages."""

from __future__ import annotations

import datetime as dt

from django import forms

from apps.access.services import SCOPES
from apps.core import clock


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
    email = forms.EmailField(label="E-mail address")
    display_name = forms.CharField(label="Name", max_length=200)
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="12 characters or more.",
    )
    password_again = forms.CharField(
        label="Password again", widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    def clean(self) -> dict[str, object]:
        data = super().clean() or {}
        if data.get("password") != data.get("password_again"):
            self.add_error("password_again", "The two passwords differ.")
        return data
