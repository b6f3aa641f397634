"""What watches one version, what that costs, what it cannot see, and what its controls say."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api import ChildResource
from apps.drift import blind_spots
from apps.drift.models import Probe
from apps.drift.probes_selectors import (
    ArmView,
    arms_of,
    coverage,
    current_probes,
    freshness,
    spending,
)
from apps.drift.probes_serializers import ProbeRow
from apps.registry.models import ModelVersion


class CoverageRow(serializers.Serializer[Any]):
    rounds = serializers.IntegerField()
    rounds_wanted = serializers.IntegerField()
    days = serializers.FloatField()
    days_wanted = serializers.FloatField()
    quarters = serializers.DictField(
        child=serializers.IntegerField(), help_text="Rounds by quarter of the day, UTC."
    )
    loads = serializers.DictField(
        child=serializers.IntegerField(), help_text="Rounds by requests at once."
    )
    gaps = serializers.ListField(
        child=serializers.CharField(), help_text="Why it is not trusted yet."
    )


class FreshnessRow(serializers.Serializer[Any]):
    inputs = serializers.IntegerField()
    undecided = serializers.IntegerField(help_text="Answered in more than one way of late.")
    rounds = serializers.IntegerField()


class WatchedProbe(serializers.Serializer[Any]):
    probe = ProbeRow()
    coverage = CoverageRow(allow_null=True)
    freshness = FreshnessRow(allow_null=True)
    tokens_a_day = serializers.FloatField(help_text="Over the last seven days.")


class SpotRow(serializers.Serializer[Any]):
    change = serializers.CharField()
    sight = serializers.ChoiceField(choices=[s.value for s in blind_spots.Sight])
    said = serializers.CharField()
    remedy = serializers.CharField(allow_blank=True)


class ArmRow(serializers.Serializer[Any]):
    control_arm = serializers.UUIDField(source="arm.pk")
    control_version = serializers.UUIDField(source="control.pk")
    name = serializers.CharField(source="control.label")
    says = serializers.ChoiceField(
        source="verdict",
        choices=["us", "vendor", "waiting", "quiet", "useless"],
        help_text="us: it moved too. vendor: it stood still. useless: no suite in common.",
    )
    compares = serializers.ListField(child=serializers.CharField(), source="shared")


class VersionWatch(serializers.Serializer[Any]):
    probes = WatchedProbe(many=True)
    tokens_a_day = serializers.FloatField()
    spots = SpotRow(many=True)
    may_alarm_falsely = serializers.ListField(child=serializers.CharField())
    controls = ArmRow(many=True)


class VersionWatchResource(ChildResource):
    parent_queryset = ModelVersion.objects
    parent_team_path = "team"
    parent_field = "model_version"
    queryset = Probe.objects.none()
    serializer_class = VersionWatch
    pagination_class = None

    @extend_schema(
        operation_id="model_versions_watch",
        summary="What watches this version, and what that cannot see",
        responses=VersionWatch,
        filters=False,
    )
    def list(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        version: ModelVersion = self.parent
        rows = current_probes(version)
        arms: list[ArmView] = arms_of(version)
        document = {
            "probes": [
                {
                    "probe": probe,
                    "coverage": coverage(probe),
                    "freshness": freshness(probe),
                    "tokens_a_day": spending([probe]).a_day,
                }
                for probe in rows
            ],
            "tokens_a_day": spending(rows).a_day,
            "spots": blind_spots.spots(version, rows),
            "may_alarm_falsely": blind_spots.may_alarm_falsely(rows),
            "controls": arms,
        }
        return Response(VersionWatch(document, context=self.get_serializer_context()).data)
