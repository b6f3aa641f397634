"""Schedules, runs and the answers that came."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import FiniteFloatField, Ref, Row, Strict
from apps.evaluations import payloads, schedules
from apps.evaluations.models import (
    ObservedIdentity,
    Payload,
    Run,
    Sample,
    Schedule,
    Score,
    SuiteRevision,
)
from apps.registry.models import ModelVersion


class ScheduleRow(Row):
    next_runs = serializers.SerializerMethodField(help_text="The next five starts, in its zone.")

    @extend_schema_field(serializers.ListField(child=serializers.DateTimeField()))
    def get_next_runs(self, schedule: Schedule) -> list[str]:
        return [moment.isoformat() for moment in schedules.upcoming(schedule)]

    class Meta:
        model = Schedule
        fields = (
            "id",
            "model_version",
            "suite_revision",
            "interval_seconds",
            "cron",
            "calendar",
            "timezone",
            "jitter_seconds",
            "blackouts",
            "on_alarm",
            "replicates",
            "catch_up",
            "max_tokens",
            "max_cost",
            "currency",
            "enabled",
            "next_due_at",
            "next_runs",
            "skipped_at",
            "skipped_reason",
            "created_by",
            "row_version",
            "created_at",
            "updated_at",
        )


class Limited(Strict):
    """What one run may use at most; reaching it ends the run as partial."""

    max_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    max_cost = serializers.DecimalField(
        max_digits=14, decimal_places=4, required=False, allow_null=True
    )
    currency = serializers.CharField(max_length=3, required=False, allow_blank=True)


class Due(Strict):
    """When it is due: one of interval, cron and calendar rule."""

    interval_seconds = serializers.IntegerField(
        min_value=1, max_value=366 * 86_400, required=False, allow_null=True
    )
    cron = serializers.CharField(max_length=120, required=False, allow_blank=True)
    calendar = serializers.CharField(
        max_length=120,
        required=False,
        allow_blank=True,
        help_text="In words, e.g. 'weekdays at 02:00' or 'first monday of the month at 02:00'.",
    )
    timezone = serializers.CharField(max_length=64, required=False, help_text="E.g. Europe/Zurich.")
    jitter_seconds = serializers.IntegerField(min_value=0, max_value=12 * 3600, required=False)
    blackouts: Any = serializers.ListField(
        child=serializers.CharField(max_length=100),
        required=False,
        max_length=50,
        help_text="E.g. 'mon-fri 08:00-18:00', 'daily 22:00-04:00', '2026-12-24..2026-12-27'.",
    )


class DueTimes(serializers.Serializer[Any]):
    next_runs: Any = serializers.ListField(child=serializers.DateTimeField())


class VersionToPlan(Strict):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")


class CadenceRow(serializers.Serializer[Any]):
    tier = serializers.IntegerField(allow_null=True, help_text="1 is the highest risk.")
    calendar = serializers.CharField()
    jitter_seconds = serializers.IntegerField()
    replicates = serializers.IntegerField()
    why = serializers.CharField()


class ScheduleTiming(Due, Limited):
    on_alarm = serializers.BooleanField(required=False)
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
            "urgency",
            "reason",
            "replicates",
            "max_tokens",
            "max_cost",
            "currency",
            "state",
            "state_reason",
            "sealed",
            "total_slots",
            "requested_by",
            "started_at",
            "finished_at",
            "client_version",
            "code_version",
            "totals",
            "row_version",
            "created_at",
            "updated_at",
        )


class NewRun(Limited):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    suite_revision = VisibleField(queryset=SuiteRevision.objects.select_related("suite"))
    purpose = serializers.ChoiceField(
        choices=[("baseline", "Baseline"), ("manual", "Asked for")], required=False
    )
    replicates = serializers.IntegerField(min_value=1, max_value=100, required=False)
    urgency = serializers.ChoiceField(choices=Run.Urgency.choices, required=False)
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class MoreReplicates(Strict):
    replicates = serializers.IntegerField(min_value=1, max_value=99)


class WhatToRetry(Strict):
    error_kinds: Any = serializers.ListField(
        child=serializers.CharField(max_length=40),
        required=False,
        max_length=50,
        help_text="Only slots that came to one of these classes; left out: all. A run's progress "
        "names them.",
    )


class RunToEstimate(Limited):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    suite_revision = VisibleField(queryset=SuiteRevision.objects.select_related("suite"))
    replicates = serializers.IntegerField(min_value=1, max_value=100, required=False)


class EstimateRow(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cost = serializers.CharField(allow_null=True, help_text="Null where no price is known.")
    currency = serializers.CharField()
    basis = serializers.CharField(help_text="Where these figures come from.")
    exceeds: Any = serializers.ListField(
        child=serializers.CharField(), help_text="Limits at which the run would be stopped."
    )


class ProgressRow(serializers.Serializer[Any]):
    state = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    answered = serializers.IntegerField()
    errors: Any = serializers.DictField(child=serializers.IntegerField())
    retryable: Any = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Classes of error, and how many slots of each retry-failed would ask once more.",
    )
    prompt_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    per_second = FiniteFloatField(allow_null=True)
    eta_seconds = FiniteFloatField(allow_null=True)
    spent: Any = serializers.DictField(
        child=serializers.CharField(), help_text="Money by currency, where a price is known."
    )
    unpriced = serializers.IntegerField(help_text="Answers without a known price.")


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
            "cached_tokens",
            "cost",
            "currency",
            "latency_ms",
            "first_token_ms",
            "attempts",
            "requested_model",
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
