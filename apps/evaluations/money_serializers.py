"""Prices and budgets."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import Row, Strict
from apps.evaluations import budgets
from apps.evaluations.models import Budget, Price
from apps.evaluations.serializers import Limited
from apps.registry.models import ModelVersion, Provider


class PriceRow(Row):
    class Meta:
        model = Price
        fields = (
            "id",
            "provider",
            "model_name",
            "currency",
            "prompt_per_million",
            "completion_per_million",
            "cached_per_million",
            "valid_from",
            "valid_until",
            "source",
            "recorded_by",
            "withdrawn_at",
            "withdrawn_reason",
            "created_at",
        )


class PriceIn(Strict):
    """Numbers may be text, so that no digit is lost."""

    provider = serializers.CharField(max_length=80, help_text="Its slug.")
    model_name = serializers.CharField(
        max_length=300, help_text="As it is asked for; * for every model without its own price."
    )
    currency = serializers.CharField(max_length=3, help_text="ISO 4217, e.g. USD.")
    prompt_per_million = serializers.DecimalField(max_digits=16, decimal_places=6, min_value=0)
    completion_per_million = serializers.DecimalField(max_digits=16, decimal_places=6, min_value=0)
    cached_per_million = serializers.DecimalField(
        max_digits=16, decimal_places=6, min_value=0, required=False, allow_null=True
    )
    valid_from = serializers.DateTimeField()
    valid_until = serializers.DateTimeField(required=False, allow_null=True)
    # "source" names the data a field comes from in the framework, so this one is declared apart.

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "source": serializers.CharField(max_length=300, required=False, allow_blank=True),
        }


class PriceList(Strict):
    """Either as objects, or as the text of a CSV or JSON file."""

    prices = PriceIn(many=True, required=False)
    file = serializers.CharField(required=False, max_length=2 * 1024 * 1024)


class ImportedPrices(serializers.Serializer[Any]):
    recorded = serializers.IntegerField()
    known = serializers.IntegerField(help_text="Recorded before, exactly so.")


class BudgetRow(Row):
    name = serializers.SerializerMethodField()
    used_tokens = serializers.SerializerMethodField()
    used_cost = serializers.SerializerMethodField(help_text="In the budget's currency.")
    reached = serializers.SerializerMethodField(help_text="A sentence once it is used up.")

    class Meta:
        model = Budget
        fields = (
            "id",
            "name",
            "model_version",
            "provider",
            "period",
            "max_tokens",
            "max_cost",
            "currency",
            "enabled",
            "used_tokens",
            "used_cost",
            "reached",
            "created_by",
            "row_version",
            "created_at",
            "updated_at",
        )

    def get_name(self, budget: Budget) -> str:
        return budgets.name_of(budget)

    def get_used_tokens(self, budget: Budget) -> int:
        return self._used(budget).tokens

    @extend_schema_field(serializers.CharField())
    def get_used_cost(self, budget: Budget) -> str:
        return str(self._used(budget).cost)

    def get_reached(self, budget: Budget) -> str:
        return self._used(budget).reached

    def _used(self, budget: Budget) -> budgets.Limit:
        known: budgets.Limit | None = getattr(budget, "_used", None)
        if known is None:
            known = budget._used = budgets.limit_of(budget)  # type: ignore[attr-defined]
        return known


class NewBudget(Limited):
    model_version = VisibleField(
        queryset=ModelVersion.objects.all(), team_path="team", required=False, allow_null=True
    )
    provider = VisibleField(queryset=Provider.objects.all(), required=False, allow_null=True)
    period = serializers.ChoiceField(choices=Budget.Period.choices, required=False)
    enabled = serializers.BooleanField(required=False)


class BudgetPatch(Limited):
    enabled = serializers.BooleanField(required=False)
