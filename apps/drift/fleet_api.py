"""Which of the versions that I may see changed, with a bound on the share of false findings?"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.permissions import visible
from apps.core.api import Resource, example
from apps.drift.fleet import Fleet, flagged
from apps.registry.models import ModelVersion

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


class FlaggedVersion(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    log_e = serializers.FloatField(help_text="Natural logarithm; at the alarm, else now.")


class FlaggedMetric(serializers.Serializer[Any]):
    model_version = serializers.UUIDField()
    suite = serializers.CharField()
    metric_key = serializers.CharField()
    log_e = serializers.FloatField()


class FleetRow(serializers.Serializer[Any]):
    rate = serializers.FloatField(help_text="False discovery rate of each of the two lists.")
    sentence = serializers.CharField()
    versions_tested = serializers.IntegerField()
    versions = FlaggedVersion(many=True)
    metrics_tested = serializers.IntegerField()
    metrics = FlaggedMetric(many=True)


class FleetResource(Resource):
    required_action = "view"
    serializer_class = FleetRow
    pagination_class = None

    @extend_schema(
        summary="Which versions changed, at a false discovery rate of 5 %",
        description="e-BH over the versions that you may see, and over all their watched metrics.",
        responses=FleetRow,
        filters=False,
        examples=[
            example(
                "One of two",
                {
                    "rate": 0.05,
                    "sentence": "1 of 2 watched versions is flagged: assistant-instant (…).",
                    "versions_tested": 2,
                    "versions": [{"id": SOME_ID, "name": "assistant-instant", "log_e": 9.1}],
                    "metrics_tested": 66,
                    "metrics": [],
                },
                response=True,
            )
        ],
    )
    def show(self, request: Any) -> Response:
        seen = visible(request.user, ModelVersion.objects.all(), team_path="team")
        return Response(FleetRow(_row(flagged(seen))).data)


def _row(fleet: Fleet) -> dict[str, Any]:
    return {
        "rate": fleet.rate,
        "sentence": fleet.sentence,
        "versions_tested": fleet.versions_tested,
        "versions": [{"id": v.pk, "name": v.label, "log_e": log_e} for v, log_e in fleet.versions],
        "metrics_tested": fleet.metrics_tested,
        "metrics": [
            {
                "model_version": w.baseline.model_version_id,
                "suite": w.baseline.suite_revision.suite.slug,
                "metric_key": w.metric_key,
                "log_e": w.log_e,
            }
            for w in fleet.metrics
        ],
    }
