"""The forms of schedules: when a version is asked again, and what that may take."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.evaluations.calendar import EXAMPLES
from apps.evaluations.models import Schedule, Suite, SuiteRevision
from apps.web.forms_inventory import Plain

UNITS = (("60", "minutes"), ("3600", "hours"), ("86400", "days"), ("1", "seconds"))
# What may stand in the form: one of them says when, or none for "only on an alarm".
RHYTHMS = ("calendar", "every", "cron")


class ScheduleForm(Plain):
    suite_revision: forms.ModelChoiceField[Any] = forms.ModelChoiceField(
        queryset=None, empty_label=None, label="Suite"
    )
    calendar = forms.CharField(
        required=False,
        max_length=120,
        label="When, in words",
        widget=forms.TextInput({"placeholder": EXAMPLES[1], "list": "rules"}),
        help_text="Such as “weekdays at 02:00”, “monday and thursday at 03:15” or “first monday of "
        "the month at 02:00”.",
    )
    every = forms.IntegerField(
        required=False, min_value=1, max_value=100_000, label="Or again every"
    )
    unit = forms.ChoiceField(choices=UNITS, label="Unit")
    cron = forms.CharField(
        required=False,
        max_length=120,
        label="Or by cron",
        widget=forms.TextInput({"placeholder": "0 2 * * 1-5"}),
        help_text="minute hour day month weekday. Fill in one of the three.",
    )
    timezone = forms.CharField(
        max_length=64, initial="UTC", label="Time zone", help_text="E.g. Europe/Berlin."
    )
    jitter = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=720,
        label="Start up to so many minutes later",
        help_text="Spreads many schedules over the minutes after a full hour. The same delay for "
        "the same due time, so that it can be foretold.",
    )
    blackouts = forms.CharField(
        required=False,
        max_length=5000,
        label="Blackout windows",
        widget=forms.Textarea({"rows": 3, "placeholder": "mon-fri 08:00-18:00"}),
        help_text="One in a line: “mon-fri 08:00-18:00”, “daily 22:00-04:00”, "
        "“2026-12-24..2026-12-27”. Nothing is due within; only an alarm still starts a run.",
    )
    on_alarm = forms.BooleanField(
        required=False,
        initial=True,
        label="Also at once when a cheaper layer alarms",
        help_text="Identity, passive observations and probes watch in between. Leave all times "
        "empty and this ticked for a suite that runs on alarms alone.",
    )
    replicates = forms.IntegerField(
        initial=1,
        min_value=1,
        max_value=100,
        label="Answers per case",
        help_text="One is enough for a rerun; the baseline holds the model's own noise.",
    )
    catch_up = forms.ChoiceField(choices=Schedule.CatchUp.choices, label="After downtime")

    max_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        label="Stop each run at so many tokens",
        help_text="Prompts and answers together. Such a run ends as partial and proves nothing.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        newest = (
            SuiteRevision.objects.filter(suite__archived=False)
            .order_by("suite_id", "-number")
            .distinct("suite_id")
        )
        ids = [r.pk for r in newest.only("pk", "suite_id")]
        if current := self.initial.get("suite_revision"):
            ids.append(current)
        choices = SuiteRevision.objects.filter(pk__in=ids).select_related("suite")
        field = self.fields["suite_revision"]
        field.queryset = choices.order_by("suite__name", "-number")  # type: ignore[attr-defined]
        field.label_from_instance = (  # type: ignore[attr-defined]
            lambda r: f"{r.suite.name} r{r.number} · {r.case_count} cases"
        )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        given = [name for name in RHYTHMS if data.get(name)]
        if len(given) > 1:
            self.add_error(given[1], "Fill in one of words, interval and cron, not both.")
        if not given and not data.get("on_alarm") and not self.errors:
            self.add_error("calendar", "Say how often, or let it run on alarms.")
        return data

    def timing(self) -> dict[str, Any]:
        """As `schedules.preview` takes it."""
        data = self.cleaned_data
        every = data.get("every")
        return {
            "interval_seconds": every * int(data["unit"]) if every else None,
            "cron": data["cron"],
            "calendar": data["calendar"],
            "timezone": data["timezone"],
            "jitter_seconds": 60 * (data.get("jitter") or 0),
            "blackouts": [line for line in data["blackouts"].splitlines() if line.strip()],
        }

    @property
    def planned(self) -> bool:
        return any(self.cleaned_data.get(name) for name in RHYTHMS)

    def values(self) -> dict[str, Any]:
        data = self.cleaned_data
        names = ("suite_revision", "replicates", "catch_up", "on_alarm", "max_tokens")
        return self.timing() | {name: data[name] for name in names}


class ScheduleEditForm(ScheduleForm):
    row_version = forms.IntegerField(widget=forms.HiddenInput)


def interval_parts(seconds: int | None) -> dict[str, Any]:
    """7200 → every 2 hours, in the largest unit that fits."""
    if seconds is None:
        return {"unit": "3600"}
    unit = next(u for u in (86400, 3600, 60, 1) if seconds % u == 0)
    return {"every": seconds // unit, "unit": str(unit)}


def has_suites() -> bool:
    return Suite.objects.filter(archived=False, revisions__isnull=False).exists()
