"""Baselines, comparisons and change events, with all that is needed to judge them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import Ref, Row, Strict, name_of
from apps.drift.models import (
    Baseline,
    BrokenAssumption,
    ChangeEvent,
    Comparison,
    ExamplePair,
    MetricResult,
    TopUp,
    Watch,
)
from apps.evaluations.models import Run, SuiteRevision
from apps.registry.models import ModelVersion


class BaselineRow(Row):
    runs: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Baseline
        fields = (
            "id",
            "model_version",
            "suite_revision",
            "runs",
            "created_by",
            "retired_at",
            "summary",
            "created_at",
        )


class NewBaseline(Strict):
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    suite_revision = VisibleField(queryset=SuiteRevision.objects.select_related("suite"))
    runs = VisibleField(
        queryset=Run.objects.all(),
        team_path="model_version__team",
        many=True,
        required=False,
        help_text="Default: the newest complete baseline run.",
    )


class WatchRow(Row):
    class Meta:
        model = Watch
        fields = ("id", "metric_key", "log_e", "max_log_e", "looks", "updated_at")


class TopUpRow(Row):
    """What became of an inconclusive rerun. run: of the answers that were asked for; null: none."""

    class Meta:
        model = TopUp
        fields = ("run", "reason", "created_at")


class ComparisonRow(Row):
    model_version = serializers.SerializerMethodField()
    suite_revision = serializers.SerializerMethodField()
    top_up = serializers.SerializerMethodField()

    class Meta:
        model = Comparison
        fields = (
            "id",
            "baseline",
            "run",
            "model_version",
            "suite_revision",
            "look",
            "verdict",
            "reason",
            "log_e",
            "alpha",
            "method",
            "top_up",
            "created_at",
        )

    @extend_schema_field(TopUpRow(allow_null=True))
    def get_top_up(self, row: Comparison) -> dict[str, Any] | None:
        found = getattr(row, "top_up", None)
        return TopUpRow(found).data if found else None

    @extend_schema_field(Ref)
    def get_model_version(self, row: Comparison) -> dict[str, str]:
        return _ref(row.baseline.model_version)

    @extend_schema_field(Ref)
    def get_suite_revision(self, row: Comparison) -> dict[str, str]:
        return _ref(row.baseline.suite_revision)


class MetricRow(Row):
    class Meta:
        model = MetricResult
        fields = (
            "id",
            "comparison",
            "metric_key",
            "label",
            "unit",
            "baseline_mean",
            "current_mean",
            "effect",
            "low",
            "high",
            "margin",
            "log_e",
            "verdict",
            "reason",
            "more_answers",
        )


class PairRow(Row):
    case = serializers.SerializerMethodField()

    class Meta:
        model = ExamplePair
        fields = (
            "id",
            "comparison",
            "case",
            "rank",
            "baseline_text",
            "current_text",
            "baseline_sample_id",
            "current_sample_id",
            "distance",
            "json_diff",
            "note",
        )

    @extend_schema_field(Ref)
    def get_case(self, pair: ExamplePair) -> dict[str, str]:
        return {"id": str(pair.case_id), "name": pair.case.case_id}


class BrokenRow(Row):
    assumption = serializers.SerializerMethodField()
    sentence = serializers.CharField(source="assumption.sentence", read_only=True)
    criticality = serializers.CharField(source="assumption.criticality", read_only=True)
    use_case = serializers.SerializerMethodField()

    class Meta:
        model = BrokenAssumption
        fields = (
            "id",
            "change_event",
            "comparison",
            "assumption",
            "sentence",
            "criticality",
            "use_case",
            "value_before",
            "value_now",
            "created_at",
        )

    @extend_schema_field(Ref)
    def get_assumption(self, row: BrokenAssumption) -> dict[str, str]:
        return {"id": str(row.assumption_id), "name": row.assumption.code}

    @extend_schema_field(Ref)
    def get_use_case(self, row: BrokenAssumption) -> dict[str, str]:
        return _ref(row.assumption.approval.use_case)


class ChangeRow(Row):
    name = serializers.CharField(source="__str__", read_only=True)
    broken_assumptions = serializers.SerializerMethodField()

    class Meta:
        model = ChangeEvent
        fields = (
            "id",
            "number",
            "name",
            "model_version",
            "kind",
            "state",
            "verdict",
            "window_start",
            "window_end",
            "sentence",
            "broken_assumptions",
            "closed_reason",
            "row_version",
            "created_at",
            "updated_at",
        )

    @extend_schema_field(serializers.IntegerField)
    def get_broken_assumptions(self, event: ChangeEvent) -> int:
        return len(event.broken_assumptions.all())


def _ref(obj: Any) -> dict[str, str]:
    return {"id": str(obj.pk), "name": name_of(obj)}
