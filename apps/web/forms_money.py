"""Forms of prices and budgets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms

from apps.evaluations.models import Budget
from apps.evaluations.pricefile import MAX_BYTES
from apps.web.forms_inventory import Plain

EVERYTHING = "everything"


class BudgetForm(Plain):
    """`versions` and `providers` are what this person may see."""

    scope = forms.ChoiceField(label="For")
    period = forms.ChoiceField(choices=Budget.Period.choices, label="Within")
    max_tokens = forms.IntegerField(
        required=False, min_value=1, label="Tokens", help_text="Prompts and answers together."
    )
    max_cost = forms.DecimalField(
        required=False,
        max_digits=14,
        decimal_places=4,
        label="Money",
        help_text="Every version under it then needs a price in this currency.",
    )
    currency = forms.CharField(
        required=False, max_length=3, label="Currency", help_text="ISO 4217, e.g. USD."
    )
    enabled = forms.BooleanField(required=False, initial=True, label="Switched on")

    def __init__(self, *args: Any, versions: Any, providers: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows: dict[str, dict[str, Any]] = {EVERYTHING: {}}
        choices = [(EVERYTHING, "Everything")]
        for kind, rows in (("provider", providers), ("model_version", versions)):
            for row in rows:
                key = f"{kind}:{UUID(str(row.pk))}"
                self._rows[key] = {kind: row}
                what = "provider" if kind == "provider" else "version"
                choices.append((key, f"{what} {str(row)[:90]}"))
        scope = self.fields["scope"]
        assert isinstance(scope, forms.ChoiceField)
        scope.choices = choices

    def values(self) -> dict[str, Any]:
        """As `set_budget` takes it."""
        data = self.cleaned_data
        return {
            **self._rows[data["scope"]],
            "period": data["period"],
            "max_tokens": data["max_tokens"],
            "max_cost": data["max_cost"],
            "currency": data["currency"].upper() if data["max_cost"] is not None else "",
            "enabled": data["enabled"],
        }


class PriceForm(Plain):
    file = forms.FileField(
        required=False,
        label="Price list",
        help_text="CSV or JSON, at most 2 MB.",
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.json,text/csv,application/json"}),
    )
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=MAX_BYTES,
        label="Or paste it",
        widget=forms.Textarea({"rows": 5, "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        upload, text = data.get("file"), data.get("text", "")
        if upload and text.strip():
            self.add_error("text", "Choose a file or paste the list, not both.")
        elif not upload and not text.strip() and not self.errors:
            self.add_error("file", "Choose a file, or paste the list below.")
        elif upload and upload.size > MAX_BYTES:
            self.add_error("file", "A price list has at most 2 MB.")
        return data

    def content(self) -> bytes:
        upload = self.cleaned_data.get("file")
        if upload:
            return bytes(upload.read())
        return str(self.cleaned_data["text"]).strip().encode("utf-8", "surrogatepass")
