"""Forms of the inventory. They shape what was typed; the services judge it."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from apps.accounts.models import Role, Team
from apps.registry import selectors
from apps.registry.models import Assumption, Endpoint, ModelVersion, UseCase

TIERS = ((1, "1 – highest risk"), (2, "2"), (3, "3"), (4, "4 – lowest risk"))


def _area(rows: int, **attrs: str) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, **attrs})


class Plain(forms.Form):
    """Errors come back beside what was typed; a form that was changed elsewhere says so."""

    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)


class JSONText(forms.CharField):
    """JSON as text: kept as typed when it does not parse."""

    def __init__(self, kind: type, **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(widget=_area(4, spellcheck="false"), required=False, **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return self.kind()
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {str(error)[:200]}.") from None
        if not isinstance(parsed, self.kind):
            shape = "an object, {…}" if self.kind is dict else "a list, […]"
            raise forms.ValidationError(f"This must be {shape}.")
        return parsed


class ProviderForm(Plain):
    name = forms.CharField(max_length=200, help_text="As people call it.")
    website = forms.CharField(max_length=200, required=False)
    terms = forms.CharField(
        widget=_area(4),
        required=False,
        label="Terms of use",
        help_text="What a user must know of; shown wherever a model of this provider is chosen.",
    )


class NewProviderForm(ProviderForm):
    slug = forms.CharField(
        max_length=80, label="Short name", help_text="In addresses, e.g. local-labs."
    )
    field_order = ("name", "slug", "website", "terms")


class ProviderEditForm(ProviderForm):
    row_version = forms.IntegerField(widget=forms.HiddenInput)


class EndpointForm(Plain):
    name = forms.CharField(max_length=200, help_text="E.g. eu-west, or gateway.")
    base_url = forms.CharField(
        max_length=500, label="Address", help_text="E.g. https://api.example.com/v1"
    )
    api_style = forms.ChoiceField(choices=Endpoint.ApiStyle.choices, label="API style")
    credential = forms.CharField(
        required=False,
        label="API key or reference",
        max_length=4000,
        strip=True,
        # Goes in and never comes out, not even after an error.
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="A reference, env:NAME or file:/path, is read at each call and never stored. "
        "Anything else is taken as the key itself and stored encrypted. It is never shown again.",
    )
    region = forms.CharField(max_length=80, required=False)
    max_concurrency = forms.IntegerField(initial=4, label="Calls at once", min_value=1)
    requests_per_minute = forms.IntegerField(required=False, min_value=1)
    tokens_per_minute = forms.IntegerField(required=False, min_value=1)
    timeout_seconds = forms.IntegerField(initial=60, label="Time-out in seconds", min_value=1)
    allow_private_address = forms.BooleanField(
        required=False,
        label="Allow a private or loopback address",
        help_text="Needs an administrator.",
    )

    def values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        typed = values["credential"]
        if typed and typed.partition(":")[0] not in ("env", "file", "plain"):
            values["credential"] = f"plain:{typed}"
        return values


class EndpointEditForm(EndpointForm):
    remove_credential = forms.BooleanField(required=False, label="Remove the stored credential")
    active = forms.BooleanField(required=False, label="In use")
    row_version = forms.IntegerField(widget=forms.HiddenInput)

    def values(self) -> dict[str, Any]:
        values = super().values()
        remove = values.pop("remove_credential")
        if not values["credential"] and not remove:
            del values["credential"]  # left empty: the stored one stays
        return values


class ModelForm(Plain):
    name = forms.CharField(max_length=200, help_text="The family, as the vendor names it.")
    description = forms.CharField(widget=_area(2), required=False)


class VersionForm(Plain):
    label = forms.CharField(max_length=200, help_text="What people here call it.")
    model: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None, empty_label="Choose a model"
    )
    endpoint: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None, empty_label="Choose an endpoint"
    )
    requested_name = forms.CharField(
        max_length=300, label="Name sent to the endpoint", help_text="To the letter."
    )
    pin_kind = forms.ChoiceField(
        choices=ModelVersion.PinKind.choices,
        label="What the name pins",
        help_text="An alias may be moved by the vendor at any time: what it serves cannot be "
        "verified by its name, only by its answers. A snapshot or digest should stay.",
    )
    parameters = JSONText(dict, help_text='E.g. {"temperature": 0, "max_tokens": 64}')
    system_prompt = forms.CharField(
        widget=_area(5), required=False, strip=False, max_length=100_000
    )
    tools = JSONText(list, help_text="Tool definitions as a JSON list, if any.")

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = selectors.models(user).select_related("provider")
        self.fields["model"].queryset = models  # type: ignore[attr-defined]
        self.fields["model"].label_from_instance = (  # type: ignore[attr-defined]
            lambda m: f"{m.provider} · {m}"
        )
        self.fields["endpoint"].queryset = (  # type: ignore[attr-defined]
            selectors.endpoints(user).select_related("provider")
        )


class UseCaseForm(Plain):
    name = forms.CharField(max_length=200)
    risk_tier = forms.TypedChoiceField(
        choices=TIERS,
        coerce=int,
        help_text="Tiers 1 and 2 need a validator besides the approver.",
    )
    model_role = forms.ChoiceField(
        choices=UseCase.ModelRole.choices, label="What the model does there"
    )
    description = forms.CharField(widget=_area(3), required=False)
    process = forms.CharField(max_length=200, required=False, label="Business process")
    regulations = forms.CharField(
        required=False, help_text="Separated by commas, e.g. EU AI Act, SR 11-7."
    )
    gate_fails_open = forms.BooleanField(
        required=False,
        label="Allow calls when the gate cannot decide",
        help_text="Off: when the product's database does not answer, the gate denies.",
    )

    def values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        names = values["regulations"].split(",")
        return values | {"regulations": [n.strip() for n in names if n.strip()]}


class NewUseCaseForm(UseCaseForm):
    slug = forms.CharField(
        max_length=80, label="Short name", help_text="In addresses and gate calls: claims-triage."
    )
    field_order = ("name", "slug")


class UseCaseEditForm(UseCaseForm):
    row_version = forms.IntegerField(widget=forms.HiddenInput)


class ApprovalForm(Plain):
    use_case: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None, empty_label="Choose a use case"
    )
    model_version: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None, empty_label="Choose a version", label="Model version"
    )
    rationale = forms.CharField(
        widget=_area(3), max_length=20_000, help_text="Why this version is fit for this use."
    )
    conditions = forms.CharField(
        widget=_area(2),
        required=False,
        help_text="Limits under which it may be used; with them the approval is conditional.",
    )
    expires_at = forms.DateTimeField(
        required=False,
        label="Ends (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="Empty: until it is ended by a person or by a change.",
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["use_case"].queryset = selectors.use_cases(user)  # type: ignore[attr-defined]
        self.fields["model_version"].queryset = selectors.versions(  # type: ignore[attr-defined]
            user
        )


class AssumptionForm(Plain):
    """One row; a row without sentence, metric and threshold is left out."""

    code = forms.CharField(max_length=20, required=False)
    sentence = forms.CharField(
        widget=_area(2), required=False, max_length=1000, help_text="What must stay true."
    )
    suite_slug = forms.CharField(
        max_length=80, required=False, label="Suite", widget=forms.TextInput({"list": "suites"})
    )
    metric_key = forms.CharField(
        max_length=120, required=False, label="Metric", widget=forms.TextInput({"list": "metrics"})
    )
    comparator = forms.ChoiceField(choices=Assumption.Comparator.choices, label="Must be")
    threshold = forms.FloatField(
        required=False, widget=forms.NumberInput({"step": "any", "inputmode": "decimal"})
    )
    tolerance = forms.FloatField(
        required=False,
        min_value=0,
        widget=forms.NumberInput({"step": "any", "inputmode": "decimal"}),
    )
    criticality = forms.ChoiceField(choices=Assumption.Criticality.choices, initial="medium")
    SAID = ("sentence", "suite_slug", "metric_key", "threshold")

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        self.blank = all(
            data.get(n) in (None, "") and n not in self.errors for n in (*self.SAID, "tolerance")
        )
        if not self.blank:
            for name in ("code", *self.SAID):
                if data.get(name) in (None, "") and name not in self.errors:
                    self.add_error(name, "Fill this in, or empty the whole row.")
        return data

    def values(self) -> dict[str, Any]:
        return self.cleaned_data | {"tolerance": self.cleaned_data.get("tolerance") or 0.0}


AssumptionRows = forms.formset_factory(
    AssumptionForm, extra=0, absolute_max=100, max_num=100, validate_max=True
)


class PersonForm(Plain):
    display_name = forms.CharField(max_length=200, label="Name")
    email = forms.CharField(max_length=254, label="E-mail address")
    password = forms.CharField(
        strip=False,
        max_length=4096,
        label="First password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters; hand it over in person, they change it on signing in.",
    )
    roles = forms.MultipleChoiceField(
        choices=[c for c in Role.choices if c[0] != Role.SERVICE],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="Over everything. Without a role a person sees nothing.",
    )


class GrantForm(Plain):
    role = forms.ChoiceField()
    team: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None,
        required=False,
        empty_label="Everything",
        label="Over",
        help_text="A role over a team covers that team's versions and use cases only.",
    )
    reason = forms.CharField(max_length=200, help_text="For whoever asks in two years.")

    def __init__(self, *args: Any, is_service: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = (Role.SERVICE, Role.AUDITOR) if is_service else tuple(Role)
        self.fields["role"].choices = [  # type: ignore[attr-defined]
            ("", "Choose a role"),
            *((r.value, r.label) for r in allowed if is_service or r != Role.SERVICE),
        ]
        self.fields["team"].queryset = Team.objects.order_by("name")  # type: ignore[attr-defined]
