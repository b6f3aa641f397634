"""Forms of scorings and reviews. Services check again and have the last word."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.evaluations.models import Run, Scoring
from apps.evaluations.reviews import MAX_ITEMS
from apps.registry.models import ModelVersion
from apps.web.forms_work import VersionField

KINDS = {
    "rules": (Scoring.Kind.RULES.value, "The suite's rules, as they are in the code today"),
    "embedding": (Scoring.Kind.EMBEDDING.value, "Embedding similarity"),
    "judge": (Scoring.Kind.JUDGE.value, "A model as judge, by the suite's rubrics"),
}


class ScoringForm(forms.Form):
    """`ways`: the kinds that the run's suite has metrics for; `versions`: what may score."""

    kind = forms.ChoiceField(label="How", widget=forms.RadioSelect)
    by_version = VersionField(
        queryset=ModelVersion.objects.none(),
        label="By which version",
        required=False,
        empty_label="Nobody (rules), or the local embedding model",
        help_text="A judge must be pinned: a snapshot or a digest. Judges and endpoints are called "
        "and may cost money; rules and the local model are not.",
    )
    reason = forms.CharField(label="Why", required=False, max_length=2000, widget=forms.Textarea)

    def __init__(self, *args: Any, ways: dict[str, bool], versions: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = [KINDS[way] for way, there in ways.items() if there]
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined]
        self.fields["kind"].initial = kinds[0][0] if kinds else None
        self.fields["by_version"].queryset = versions  # type: ignore[attr-defined]
        self.fields["reason"].widget.attrs["rows"] = 3


class RunField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.model_version.label[:60]} on {obj.suite_revision}, {obj.created_at:%d %b %Y}"


class ReviewForm(forms.Form):
    """`metrics`: those that people can rate; `runs`: what may stand beside this run."""

    metric_key = forms.ChoiceField(label="Metric", required=False)
    question = forms.CharField(
        label="Question",
        required=False,
        max_length=10_000,
        widget=forms.Textarea,
        help_text="What raters are asked. Empty: the rubric of the metric.",
    )
    other_run = RunField(
        queryset=Run.objects.none(),
        label="Beside the answers of",
        required=False,
        empty_label="Nobody: each answer alone, pass or fail",
    )
    items = forms.IntegerField(
        label="Answers",
        min_value=1,
        max_value=MAX_ITEMS,
        initial=40,
        help_text="Drawn by lot. Two people rate each; ten are the least for an interval.",
    )

    def __init__(
        self, *args: Any, metrics: list[tuple[str, str]], runs: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        choices = [*metrics, ("", "None: nothing is scored, only looked at")]
        self.fields["metric_key"].choices = choices  # type: ignore[attr-defined]
        self.fields["metric_key"].initial = choices[0][0]
        self.fields["other_run"].queryset = runs  # type: ignore[attr-defined]
        self.fields["question"].widget.attrs["rows"] = 3
