"""Suites, schedules, runs and the answers that came."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import FiniteFloatField, Ref, Row, Strict
from apps.evaluations import payloads
from apps.evaluations.models import (
    ObservedIdentity,
    Payload,
    Run,
    Sample,
    Schedule,
    Score,
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
            "created_at",
        )


class CaseRow(Row):
    class Meta:
        model = SuiteCase
        fields = ("id", "position", "case_id", "content_hash", "document")


class SuiteUpload(serializers.Serializer[Any]):
    """A suite file, and its cases as JSON Lines where they are in a file of their own."""

    file = serializers.FileField(help_text="The suite: YAML or JSON.")
    cases = serializers.FileField(required=False, help_text="JSON Lines, one case a line.")


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


class ScheduleRow(Row):
    class Meta:
        model = Schedule
        fields = (
            "id",
            "model_version",
            "suite_revision",
            "interval_seconds",
            "cron",
            "timezone",
            "replicates",
            "catch_up",
            "enabled",
            "next_due_at",
            "created_by",
            "row_version",
            "created_at",
            "updated_at",
        )


class ScheduleTiming(Strict):
    interval_seconds = serializers.IntegerField(
        min_value=1, max_value=366 * 86_400, required=False, allow_null=True
    )
    cron = serializers.CharField(max_length=120, required=False, allow_blank=True)
    timezone = serializers.CharField(max_length=64, required=False, help_text="E.g. Europe/Zurich.")
    replicates = serializers.IntegerField(min_value=1, max_value=100, required=False)
    catch_up = serializers.ChoiceField(choices=Schedule.CatchUp.choices, required=False)


class NewSchedule(ScheduleTiming):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    suite_revision = VisibleField(queryset=SuiteRevision.objects.select_related("suite"))


class SchedulePatch(ScheduleTiming):
    suite_revision = VisibleField(
        queryset=SuiteRevision.objects.select_related("suite"), required=False
    )
    enabled = serializers.BooleanField(required=False)


class RunRow(Row):
    class Meta:
        model = Run
        fields = (
            "id",
            "model_version",
            "suite_revision",
            "schedule",
            "due_at",
            "purpose",
            "replicates",
            "state",
            "state_reason",
            "total_slots",
            "requested_by",
            "started_at",
            "finished_at",
            "client_version",
            "totals",
            "row_version",
            "created_at",
            "updated_at",
        )


class NewRun(Strict):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    suite_revision = VisibleField(queryset=SuiteRevision.objects.select_related("suite"))
    purpose = serializers.ChoiceField(
        choices=[("baseline", "Baseline"), ("manual", "Asked for")], required=False
    )
    replicates = serializers.IntegerField(min_value=1, max_value=100, required=False)


class ProgressRow(serializers.Serializer[Any]):
    state = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    answered = serializers.IntegerField()
    errors: Any = serializers.DictField(child=serializers.IntegerField())
    prompt_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    per_second = FiniteFloatField(allow_null=True)
    eta_seconds = FiniteFloatField(allow_null=True)


class SampleRow(Row):
    case = serializers.SerializerMethodField()

    class Meta:
        model = Sample
        fields = (
            "id",
            "case",
            "replicate",
            "status",
            "error_kind",
            "error_message",
            "text",
            "tool_calls",
            "finish_reason",
            "prompt_tokens",
            "completion_tokens",
            "latency_ms",
            "attempts",
            "returned_model",
            "system_fingerprint",
            "headers",
            "style",
            "answered_at",
        )

    @extend_schema_field(Ref)
    def get_case(self, sample: Sample) -> dict[str, str]:
        return {"id": str(sample.case_id), "name": sample.case.case_id}


class ScoreRow(Row):
    case = serializers.SerializerMethodField()
    sample_id = serializers.UUIDField(read_only=True)

    class Meta:
        model = Score
        fields = (
            "id",
            "case",
            "sample_id",
            "replicate",
            "scoring_revision",
            "metric_key",
            "value",
            "explanation",
            "detail",
        )

    @extend_schema_field(Ref)
    def get_case(self, score: Score) -> dict[str, str]:
        return {"id": str(score.case_id), "name": score.case.case_id}


class SampleDetail(SampleRow):
    request = serializers.SerializerMethodField(help_text="As it was sent.")
    response = serializers.SerializerMethodField(help_text="As it came; null where none did.")

    class Meta(SampleRow.Meta):
        fields = (*SampleRow.Meta.fields, "request", "response")  # type: ignore[assignment]

    @extend_schema_field(OpenApiTypes.ANY)
    def get_request(self, sample: Sample) -> Any:
        return _payload(sample.request_digest)

    @extend_schema_field(OpenApiTypes.ANY)
    def get_response(self, sample: Sample) -> Any:
        return _payload(sample.response_digest) if sample.response_digest else None


def _payload(digest: Any) -> Any:
    """As JSON where it is JSON (without NaN), else as text."""
    try:
        text = payloads.get(digest).decode("utf-8", "replace")
    except Payload.DoesNotExist:
        return None
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


class IdentityRow(Row):
    class Meta:
        model = ObservedIdentity
        fields = (
            "id",
            "model_version",
            "returned_model",
            "system_fingerprint",
            "first_seen_at",
            "last_seen_at",
            "count",
        )
