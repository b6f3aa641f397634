"""Forms of the pages on runs, suites and tickets. Services check again and have the last word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms

from apps.accounts.models import User
from apps.evaluations.models import Run, SuiteRevision
from apps.evaluations.services import MAX_REPLICATES
from apps.registry.models import Assumption, ModelVersion
from apps.tickets.models import Outcome

PURPOSES = [
    (Run.Purpose.MANUAL.value, "Look now: compare with the baseline where there is one"),
    (Run.Purpose.BASELINE.value, "Baseline: answers that later reruns are compared with"),
]


class VersionField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.label[:90]} · {obj.model.provider.name[:60]}"


class RevisionField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.suite.name[:90]}, revision {obj.number} ({obj.case_count} cases)"


class PersonField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.name)[:80]


class LimitsForm(forms.Form):
    """A run's own budget."""

    max_tokens = forms.IntegerField(
        label="Stop at so many tokens",
        required=False,
        min_value=1,
        help_text="Prompts and answers together. The run then ends as partial, with what it has.",
    )
    max_cost = forms.DecimalField(
        label="Stop at so much money",
        required=False,
        max_digits=14,
        decimal_places=4,
        help_text="Needs a price in this currency.",
    )
    currency = forms.CharField(label="Currency", required=False, max_length=3, strip=True)

    def limits(self) -> dict[str, Any]:
        data = self.cleaned_data
        cost = data.get("max_cost")
        return {
            "max_tokens": data.get("max_tokens"),
            "max_cost": cost,
            "currency": data.get("currency", "").upper() if cost is not None else "",
        }


class RunForm(LimitsForm):
    """`versions` and `revisions` are what this person may run."""

    version = VersionField(
        queryset=ModelVersion.objects.none(), label="Model version", empty_label="Choose a version"
    )
    suite = RevisionField(
        queryset=SuiteRevision.objects.none(),
        label="Suite",
        empty_label="Choose a suite",
        help_text="The newest revision of each suite.",
    )
    purpose = forms.ChoiceField(
        choices=PURPOSES, widget=forms.RadioSelect, initial=Run.Purpose.MANUAL
    )
    replicates = forms.IntegerField(
        label="Answers to each case",
        min_value=1,
        max_value=MAX_REPLICATES,
        initial=1,
        help_text="One is enough for a rerun. A baseline needs 3 to 5: they show the model's own "
        "randomness.",
    )

    urgent = forms.BooleanField(label="Urgent: before all other work", required=False)
    reason = forms.CharField(
        label="Why", required=False, max_length=2000, help_text="The run and the history show it."
    )

    def __init__(self, *args: Any, versions: Any, revisions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version, suite = self.fields["version"], self.fields["suite"]
        assert isinstance(version, VersionField)
        assert isinstance(suite, RevisionField)
        version.queryset, suite.queryset = versions, revisions


class ExtendForm(forms.Form):
    """In the dialog of a run's page."""

    replicates = forms.IntegerField(
        label="More answers to each case", min_value=1, max_value=MAX_REPLICATES - 1, initial=1
    )


class RetryForm(forms.Form):
    """In the dialog of a run's page, where slots came to errors of several classes."""

    by_class = forms.CharField(widget=forms.HiddenInput, initial="1")
    error_kinds = forms.MultipleChoiceField(
        label="Errors to ask about once more", widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, counts: Mapping[str, str], **kwargs: Any) -> None:
        """`counts`: class → how it is called, and how many slots it has."""
        super().__init__(*args, **kwargs)
        kinds = self.fields["error_kinds"]
        assert isinstance(kinds, forms.MultipleChoiceField)
        kinds.choices = list(counts.items())
        kinds.initial = list(counts)


OUTCOMES: dict[str, str] = {
    Outcome.REAPPROVE: "The changed model is fit: a new approval on new answers, with the broken "
    "assumptions restated or dropped.",
    Outcome.CONDITIONS: "Fit under conditions that the users must keep.",
    Outcome.SUSPEND: "Not fit for now: the gate denies until somebody approves anew.",
    Outcome.RETIRE: "Not fit any more: the approvals are revoked.",
    Outcome.FALSE_ALARM: "Nothing changed: the approvals are released and the watch begins again.",
}


@dataclass(frozen=True)
class BrokenRow:
    """An assumption that no longer holds, with the fields that restate or drop it."""

    assumption: Assumption
    approvals: str
    value_now: float | None
    threshold: Any
    drop: Any


class DecisionForm(forms.Form):
    """`broken`: assumptions of approvals in force that no longer hold, with their value now."""

    outcome = forms.ChoiceField(choices=Outcome.choices, widget=forms.RadioSelect)
    rationale = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="For the second person, and for whoever reads this in two years.",
    )
    conditions = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What users must keep to. Needed for “approve with conditions”.",
    )
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        broken: Iterable[tuple[Assumption, float | None]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # One code may stand in several approvals: what is said of it counts for all of them.
        self._broken: dict[str, tuple[Assumption, float | None]] = {}
        self._approvals: dict[str, list[str]] = {}
        for assumption, value in broken:
            self._broken.setdefault(assumption.code, (assumption, value))
            self._approvals.setdefault(assumption.code, []).append(str(assumption.approval))
        for code, (assumption, value) in self._broken.items():
            comparator = assumption.get_comparator_display()
            now = "" if value is None else f"It is {value:.3g} now."
            self.fields[f"threshold_{code}"] = forms.FloatField(
                label=f"{code}: new threshold ({comparator})", required=False, help_text=now
            )
            self.fields[f"drop_{code}"] = forms.BooleanField(label=f"Drop {code}", required=False)

    def broken_rows(self) -> list[BrokenRow]:
        return [
            BrokenRow(
                assumption=assumption,
                approvals=", ".join(self._approvals[code]),
                value_now=value,
                threshold=self[f"threshold_{code}"],
                drop=self[f"drop_{code}"],
            )
            for code, (assumption, value) in self._broken.items()
        ]

    def outcomes(self) -> list[dict[str, Any]]:
        """The radio buttons with a line each on what follows."""
        chosen = self["outcome"].value()
        return [
            {"value": value, "label": label, "help": OUTCOMES[value], "checked": value == chosen}
            for value, label in Outcome.choices
        ]

    def assumption_changes(self) -> list[dict[str, Any]]:
        """As `propose_decision` takes them."""
        changes: list[dict[str, Any]] = []
        for code in self._broken:
            if self.cleaned_data.get(f"drop_{code}"):
                changes.append({"code": code, "drop": True})
            elif (threshold := self.cleaned_data.get(f"threshold_{code}")) is not None:
                changes.append({"code": code, "threshold": threshold})
        return changes

    def add_problems(self, problems: Iterable[Mapping[str, Any]]) -> bool:
        """Errors of a re-approval at the assumption that each names; False where none fits."""
        placed = False
        for problem in problems:
            name = f"threshold_{str(problem.get('field', '')).rpartition('.')[2]}"
            if name in self.fields:
                self.add_error(name, str(problem["message"]))
                placed = True
        return placed


class AnswerForm(forms.Form):
    """The second person's answer. `decision`: the proposal that was read, to refuse another."""

    reason = forms.CharField(label="Note", required=False, widget=forms.Textarea(attrs={"rows": 2}))
    decision = forms.UUIDField(required=False, widget=forms.HiddenInput)


class SendBackForm(AnswerForm):
    """What the proposer is to mend, in words."""

    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}))


class CommentForm(forms.Form):
    text = forms.CharField(label="Comment", widget=forms.Textarea(attrs={"rows": 3}))


class AssignForm(forms.Form):
    assignee = PersonField(queryset=User.objects.none(), required=False, empty_label="Nobody")
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, people: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assignee = self.fields["assignee"]
        assert isinstance(assignee, PersonField)
        assignee.queryset = people
