"""Forms of the pages on runs, suites and tickets. Services check again and have the last word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django import forms
from django.conf import settings

from apps.accounts.models import User
from apps.evaluations.models import Run, SuiteRevision
from apps.evaluations.services import MAX_REPLICATES
from apps.evaluations.suitefile import MAX_FILE_BYTES
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


class RunForm(forms.Form):
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

    def __init__(self, *args: Any, versions: Any, revisions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version, suite = self.fields["version"], self.fields["suite"]
        assert isinstance(version, VersionField)
        assert isinstance(suite, RevisionField)
        version.queryset, suite.queryset = versions, revisions


def shipped_suites() -> list[tuple[str, str]]:
    """Folder and name of the suites that come with the product."""
    found = []
    for file in sorted(Path(settings.EVALS_DIR).glob("*/suite.yaml")):
        name = file.parent.name
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            name = str(document["name"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            pass  # a damaged file is listed by its folder; importing it says what is wrong
        found.append((file.parent.name, name))
    return found


class SuiteImportForm(forms.Form):
    file = forms.FileField(
        label="Suite file",
        required=False,
        help_text="YAML or JSON, at most 10 MB.",
        widget=forms.ClearableFileInput(attrs={"accept": ".yaml,.yml,.json"}),
    )
    cases = forms.FileField(
        label="Cases in a file of their own",
        required=False,
        help_text="JSON Lines, where the suite file holds no cases itself.",
        widget=forms.ClearableFileInput(attrs={"accept": ".jsonl,.ndjson"}),
    )
    shipped = forms.ChoiceField(label="Or one that ships with GovTrack", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        megabytes = MAX_FILE_BYTES // (1024 * 1024)
        self.fields["file"].help_text = f"YAML or JSON, at most {megabytes} MB."
        shipped = self.fields["shipped"]
        assert isinstance(shipped, forms.ChoiceField)
        shipped.choices = [("", "None of these"), *shipped_suites()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        file, cases, shipped = (data.get(name) for name in ("file", "cases", "shipped"))
        for name, upload in (("file", file), ("cases", cases)):
            if upload and upload.size > MAX_FILE_BYTES:
                size = upload.size / (1024 * 1024)
                self.add_error(
                    name,
                    f"“{upload.name[:80]}” has {size:.1f} MB; {MAX_FILE_BYTES // 1048576} MB are "
                    "allowed. Split the suite into several.",
                )
        if file and shipped:
            self.add_error("shipped", "Choose a file or one of these, not both.")
        elif not file and not shipped and not self.errors:
            self.add_error("file", "Choose a file, or one of the suites that ship below.")
        return data


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
