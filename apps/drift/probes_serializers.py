"""Probes, their rounds, identity findings, and what production reports."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import FiniteFloatField, Row, Strict
from apps.drift import identity, probing
from apps.drift.models import (
    ControlArm,
    ControlFinding,
    IdentityFinding,
    ObservedTraffic,
    Probe,
    ProbeKind,
    ProbeRound,
)
from apps.registry.models import ModelVersion

WORD = r"^[^\x00-\x1f\x7f]*$"


class ProbeRow(Row):
    alarm_line = serializers.SerializerMethodField(
        help_text="Natural logarithm of the e-value at which it alarms."
    )

    class Meta:
        model = Probe
        fields = (
            "id",
            "model_version",
            "kind",
            "phase",
            "note",
            "enabled",
            "interval_seconds",
            "collect_seconds",
            "days_wanted",
            "rounds_wanted",
            "next_due_at",
            "alpha",
            "log_e",
            "max_log_e",
            "alarm_line",
            "rounds",
            "tokens",
            "alarmed_at",
            "retired_at",
            "row_version",
            "created_at",
            "updated_at",
        )

    @extend_schema_field(serializers.FloatField)
    def get_alarm_line(self, probe: Probe) -> float:
        return probing.alarm_line(probe)


class NewProbes(Strict):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    kinds = serializers.ListField(
        child=serializers.ChoiceField(
            choices=[c for c in ProbeKind.choices if c[0] != ProbeKind.PASSIVE]
        ),
        required=False,
        max_length=10,
        help_text="Default: identity, logprob and, where the version samples, sampling.",
    )
    interval_seconds = serializers.IntegerField(
        min_value=60, max_value=31 * 86_400, required=False, help_text="Default: once a day."
    )
    collect_seconds = serializers.IntegerField(
        min_value=1,
        max_value=7 * 86_400,
        required=False,
        help_text="Between the rounds of its baseline. Default: six hours.",
    )
    days_wanted = FiniteFloatField(
        min_value=0.0,
        max_value=90.0,
        required=False,
        help_text="Days over which the baseline is collected (default 7). Fewer is a risk: a "
        "baseline of one quiet afternoon raises false alarms under load.",
    )


class ProbesStarted(serializers.Serializer[Any]):
    probes = ProbeRow(many=True)


class ProbeReason(Strict):
    reason = serializers.CharField(max_length=500, help_text="The history shows it.")


class RoundRow(Row):
    class Meta:
        model = ProbeRound
        fields = (
            "id",
            "probe",
            "number",
            "due_at",
            "phase",
            "asked",
            "answered",
            "tokens",
            "latency_ms",
            "at_once",
            "ranks",
            "log_e",
            "max_log_e",
            "problem",
            "client_version",
            "started_at",
            "finished_at",
        )


class RoundDetail(RoundRow):
    class Meta:
        model = ProbeRound
        fields = (*RoundRow.Meta.fields, "answers")


class FindingRow(Row):
    sentence = serializers.SerializerMethodField()

    class Meta:
        model = IdentityFinding
        fields = (
            "id",
            "model_version",
            "probe",
            "facet",
            "value",
            "known",
            "surprise",
            "telling",
            "sentence",
            "seen_at",
            "created_at",
        )

    @extend_schema_field(serializers.CharField)
    def get_sentence(self, finding: IdentityFinding) -> str:
        return identity.sentence_of(finding)


class NewObservation(Strict):
    """One call that production made. There is no field for content, on purpose."""

    model_version = serializers.UUIDField(required=False, help_text="Id of the version, or …")
    base_url = serializers.CharField(
        max_length=500, required=False, help_text="… the endpoint's address as registered, and …"
    )
    requested_name = serializers.CharField(
        max_length=300, required=False, help_text="… the name of the model as production asked."
    )
    observed_at = serializers.DateTimeField()
    returned_model = serializers.RegexField(WORD, max_length=300, required=False, allow_blank=True)
    system_fingerprint = serializers.RegexField(
        WORD, max_length=200, required=False, allow_blank=True
    )
    prompt_tokens = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    completion_tokens = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    latency_ms = FiniteFloatField(min_value=0.0, max_value=1e9, required=False)
    error = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "model_version" not in attrs and not (
            attrs.get("base_url") and attrs.get("requested_name")
        ):
            raise serializers.ValidationError(
                {"model_version": ["Give the version's id, or base_url and requested_name."]}
            )
        return attrs


class NewObservations(Strict):
    batch_id = serializers.RegexField(
        r"^[\x21-\x7e]+$", max_length=100, help_text="Of your own making, e.g. a UUID."
    )
    observations = serializers.ListField(
        child=NewObservation(), min_length=1, max_length=1000, help_text="At most 1,000."
    )


class ObservationsTaken(serializers.Serializer[Any]):
    accepted = serializers.IntegerField(help_text="Observations of registered versions.")
    unknown = serializers.IntegerField(help_text="Observations of no version that you may see.")
    replayed = serializers.BooleanField(help_text="The batch had been taken before.")


class TrafficRow(Row):
    mean_latency_ms = serializers.SerializerMethodField()

    class Meta:
        model = ObservedTraffic
        fields = (
            "id",
            "model_version",
            "hour",
            "returned_model",
            "system_fingerprint",
            "requests",
            "errors",
            "prompt_tokens",
            "completion_tokens",
            "mean_latency_ms",
            "first_at",
            "last_at",
        )

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_mean_latency_ms(self, row: ObservedTraffic) -> float | None:
        return row.latency_ms_sum / row.latency_count if row.latency_count else None


class ControlRow(Row):
    class Meta:
        model = ControlArm
        fields = ("id", "model_version", "control_version", "created_by", "created_at")


class NewControl(Strict):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    control_version = VisibleField(
        queryset=ModelVersion.objects.all(),
        team_path="team",
        help_text="Pinned to a snapshot or a digest; needs schedules on the same suites.",
    )


class ControlFindingRow(Row):
    class Meta:
        model = ControlFinding
        fields = (
            "id",
            "change_event",
            "comparison",
            "control_version",
            "together",
            "sentence",
            "created_at",
        )
