"""Prices and budgets."""

from __future__ import annotations

from typing import Any

import django_filters as df
from rest_framework.response import Response

from apps.accounts.api import VisibleResource
from apps.accounts.permissions import require
from apps.core.api import Detailed, FilterSet, Listed, acts, by_id, changes, creates, example
from apps.core.errors import InvalidInput
from apps.core.serializers import Reason
from apps.evaluations import budgets, pricefile, prices
from apps.evaluations.models import Budget, Price
from apps.evaluations.money_serializers import (
    BudgetPatch,
    BudgetRow,
    ImportedPrices,
    NewBudget,
    PriceList,
    PriceRow,
)

SOME_PRICE = {
    "provider": "local-labs",
    "model_name": "assistant-instant",
    "currency": "USD",
    "prompt_per_million": "0.50",
    "completion_per_million": "1.50",
    "valid_from": "2026-11-01T00:00:00Z",
    "source": "The provider's price page of that day",
}


class PriceFilter(FilterSet):
    provider = by_id("provider")
    withdrawn = df.BooleanFilter(
        field_name="withdrawn_at", lookup_expr="isnull", exclude=True, label="Withdrawn ones?"
    )

    class Meta:
        model = Price
        fields = ("model_name", "currency")


class PriceResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = Price.objects.select_related("provider", "recorded_by")
    serializer_class = PriceRow
    filterset_class = PriceFilter
    ordering_fields = ("created_at", "valid_from", "model_name")

    @acts(
        detail=False,
        url_path="import",
        request=PriceList,
        response=ImportedPrices,
        status=201,
        summary="Record prices, all or none",
        examples=[
            example("One price", {"prices": [SOME_PRICE]}),
            example(
                "The text of a CSV file",
                {
                    "file": "provider,model_name,currency,prompt_per_million,"
                    "completion_per_million,valid_from\n"
                    "local-labs,*,USD,0,0,2026-01-01\n"
                },
            ),
        ],
    )
    def import_prices(self, request: Any) -> Response:
        require(request.user, "price.edit")
        body = self.body(PriceList)
        if ("prices" in body) == ("file" in body):
            raise InvalidInput("Give either `prices` or `file`.", field="prices")
        if "file" in body:
            rows = pricefile.parse(body["file"].encode("utf-8", "surrogatepass"))
        else:
            rows = [
                prices.NewPrice(**row, row=number)
                for number, row in enumerate(body["prices"], start=1)
            ]
        recorded, known = prices.import_prices(actor=request.user, prices=rows)
        return Response({"recorded": recorded, "known": known}, status=201)

    @acts(request=Reason, response=PriceRow, summary="Withdraw a price that was wrong")
    def withdraw(self, request: Any, pk: Any = None) -> Any:
        price = self.get_object()
        return self.shown(
            prices.withdraw_price(actor=request.user, price=price, **self.body(Reason))
        )


class BudgetFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    provider = by_id("provider")

    class Meta:
        model = Budget
        fields = ("period", "enabled")


class BudgetResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = Budget.objects.select_related("model_version", "provider", "created_by")
    serializer_class = BudgetRow
    filterset_class = BudgetFilter

    @creates(
        request=NewBudget,
        response=BudgetRow,
        summary="Set the budget of a version, a provider or everything",
        description="There is one for each scope and period: setting it again changes it.",
        examples=[
            example("Everything, each month", {"max_cost": "500", "currency": "USD"}),
            example("Tokens in total", {"max_tokens": 2000000, "period": "total"}),
        ],
    )
    def create(self, request: Any) -> Any:
        return self.shown(
            budgets.set_budget(actor=request.user, **self.body(NewBudget)), status=201
        )

    @changes(
        request=BudgetPatch,
        response=BudgetRow,
        summary="Change a budget, or switch it off",
        examples=[example("Raise it", {"max_cost": "800", "currency": "USD"})],
    )
    def partial_update(self, request: Any, pk: Any = None) -> Any:
        budget = self.get_object()
        version = self.version(budget, required=True)
        wanted = {
            name: getattr(budget, name)
            for name in ("max_tokens", "max_cost", "currency", "enabled")
        } | self.body(BudgetPatch, partial=True)
        return self.shown(
            budgets.set_budget(
                actor=request.user,
                model_version=budget.model_version,
                provider=budget.provider,
                period=budget.period,
                row_version=version,
                **wanted,
            )
        )
