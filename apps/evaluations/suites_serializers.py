"""Suites, their revisions and their cases."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import Row, Strict
from apps.evaluations.imports import FORMATS
from apps.evaluations.models import (
    Suite,
    SuiteCase,
    SuiteRevision,
)
from apps.registry.models import ModelVersion


class SuiteRow(Row):
    class Meta:
        model = Suite
        fields = (
            "id",
            "slug",
            "name",
            "summary",
            "archived",
            "row_version",
            "created_at",
            "updated_at",
        )


class RevisionRow(Row):
    class Meta:
        model = SuiteRevision
        fields = (
            "id",
            "suite",
            "number",
            "content_hash",
            "case_count",
            "document",
            "imported_by",
            "reason",
            "origin",
            "created_at",
        )


class CaseRow(Row):
    class Meta:
        model = SuiteCase
        fields = ("id", "position", "case_id", "content_hash", "document")


class SuiteUpload(serializers.Serializer[Any]):
    """A suite file, and its cases as JSON Lines where they are in a file of their own; or a file
    of another tool, with its `format` and what a suite must say of itself."""

    file = serializers.FileField(help_text="The suite: YAML or JSON; or a file of another tool.")
    cases = serializers.FileField(required=False, help_text="JSON Lines, one case a line.")
    format = serializers.ChoiceField(
        choices=[("govtrack", "GovTrack suite"), *((f.name, f.label) for f in FORMATS.values())],
        default="govtrack",
    )
    slug = serializers.SlugField(required=False, max_length=64, allow_blank=True)
    name = serializers.CharField(required=False, max_length=100, allow_blank=True)
    summary = serializers.CharField(required=False, max_length=2000, allow_blank=True)
    not_measured = serializers.CharField(required=False, max_length=2000, allow_blank=True)
    license = serializers.CharField(
        required=False, max_length=100, allow_blank=True, help_text="Of the data: SPDX."
    )
    source = serializers.CharField(  # type: ignore[assignment]  # a field here, no option
        required=False, max_length=2000, allow_blank=True
    )
    personal_data = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Whether cases hold any."
    )
    scorer = serializers.CharField(
        required=False,
        max_length=20,
        allow_blank=True,
        help_text="How answers are judged where the file does not say: match, includes, exact, "
        "numeric, choice, json, none; recordings also know marked.",
    )
    prompt = serializers.CharField(
        required=False, max_length=20000, allow_blank=True, help_text="Template for a table."
    )
    reason = serializers.CharField(required=False, max_length=2000, allow_blank=True)


class ImportedRow(serializers.Serializer[Any]):
    created = serializers.BooleanField(help_text="False: this very content was stored already.")
    revision = RevisionRow()


class CheckedRow(serializers.Serializer[Any]):
    """A suite that could be imported as it is."""

    slug = serializers.CharField()
    name = serializers.CharField()
    cases = serializers.IntegerField()
    metrics = serializers.ListField(child=serializers.CharField())
    content_hash = serializers.CharField()
    origin = serializers.JSONField(
        help_text="Of a file of another tool: what was carried over, and what was left out and why."
    )


class Revise(Strict):
    """Changes on the newest revision: cases to set or remove, other keys of the document."""

    reason = serializers.CharField(max_length=2000)
    set_cases = serializers.ListField(
        child=serializers.DictField(), default=list, max_length=1000, help_text="Whole cases."
    )
    remove_cases = serializers.ListField(
        child=serializers.CharField(max_length=120), default=list, max_length=1000
    )
    changes = serializers.DictField(
        default=dict, help_text="name, summary, prompt, defaults, scorers, metrics and the like."
    )


class TryCase(Strict):
    """A case of the revision by its id, or a whole case that is not stored."""

    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    case_id = serializers.CharField(max_length=120, required=False)
    case = serializers.DictField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("case_id" in attrs) == ("case" in attrs):
            raise serializers.ValidationError({"case": ["Give 'case' or 'case_id', one of them."]})
        return attrs


class TriedRow(serializers.Serializer[Any]):
    """What one call came to. Nothing of it is stored."""

    status = serializers.CharField()
    text = serializers.CharField()
    tool_calls = serializers.JSONField()
    problem = serializers.CharField()
    scores = serializers.SerializerMethodField()
    profile = serializers.JSONField(source="style", help_text="The style of the answer.")
    latency_ms = serializers.FloatField(allow_null=True)
    prompt_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    returned_model = serializers.CharField()

    @extend_schema_field(serializers.JSONField())
    def get_scores(self, obj: Any) -> dict[str, Any]:
        return {
            key: {"value": r.value, "explanation": r.explanation} for key, r in obj.scores.items()
        }


class DifferenceRow(serializers.Serializer[Any]):
    """One revision against another."""

    sentence = serializers.CharField()
    comparable = serializers.CharField(help_text="Which cases a comparison over both may use.")
    same_cases = serializers.ListField(child=serializers.CharField())
    metrics = serializers.ListField(child=serializers.CharField(), help_text="Measured alike.")
    difference = serializers.JSONField()
