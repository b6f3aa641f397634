"""What the reruns of an approval's suites can be expected to notice."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.api import ChildResource
from apps.core.api import Listed
from apps.drift.planning import Support, power_of
from apps.registry.models import Approval, Assumption


class PowerRow(serializers.Serializer[Any]):
    assumption = serializers.UUIDField(source="assumption.pk")
    code = serializers.CharField(source="assumption.code")
    support = serializers.ChoiceField(choices=[s.value for s in Support])
    room = serializers.FloatField(
        allow_null=True, help_text="How far the metric may move before this breaks."
    )
    reruns = serializers.IntegerField(
        allow_null=True, help_text="Until that is seen, in half of all lives; null: not expected."
    )
    sentence = serializers.CharField()

    def to_representation(self, instance: Assumption) -> dict[str, Any]:
        return super().to_representation(power_of(instance))


class PowerResource(Listed, ChildResource):
    """Would a rerun notice that an assumption broke? One estimate for each assumption."""

    parent_queryset = Approval.objects
    parent_team_path = "use_case__team"
    parent_field = "approval"
    queryset = Assumption.objects.select_related("approval")
    serializer_class = PowerRow
    ordering = ("code", "id")
    ordering_fields = ("code",)
