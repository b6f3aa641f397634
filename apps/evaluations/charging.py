"""Calls that are no slots of a run (a judge's, for embeddings, a case that is tried) and budgets.

They count against the budgets of the version that is called, of its provider and of everything, as
a run's answers do. `Allowance` is what is left, looked up before a batch of calls and kept up in
the event loop, where the database cannot be asked: with it no call begins once a limit is
reached. `charge` writes what was used to `Spending`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import connection

from apps.core import clock
from apps.evaluations import budgets, prices
from apps.evaluations.models import Scoring, Spending
from apps.registry.models import ModelVersion

if TYPE_CHECKING:
    from apps.evaluations.runner.client import Outcome

ADD = """
INSERT INTO evaluations_spending
  (purpose, scoring_id, model_version_id, month, currency, cost, tokens, samples)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (purpose, model_version_id, scoring_id, month, currency) WHERE run_id IS NULL
DO UPDATE SET cost = evaluations_spending.cost + excluded.cost,
              tokens = evaluations_spending.tokens + excluded.tokens,
              samples = evaluations_spending.samples + excluded.samples
"""


@dataclass
class Used:
    """What one call used. The cost is filled in by `charge`."""

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    returned_model: str
    answered_at: dt.datetime = field(default_factory=clock.now)
    cost: Decimal | None = None
    currency: str = ""

    @property
    def tokens(self) -> int:
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


def used(outcome: Outcome) -> Used:
    parsed = outcome.parsed
    return Used(
        parsed.prompt_tokens,
        parsed.completion_tokens,
        parsed.cached_tokens,
        parsed.returned_model,
    )


class Allowance:
    """What a version's budgets leave for further calls, and what these used."""

    def __init__(self, version: ModelVersion) -> None:
        self._version = version
        scope = budgets.of_scope(version.pk, version.endpoint.provider_id)
        self._limits = [budgets.limit_of(budget) for budget in scope]
        self._price = prices.of_version(version)
        self._used: list[Used] = []

    @property
    def reached(self) -> str:
        """The sentence of the first limit that is used up; "" while there is something left."""
        return next((said for limit in self._limits if (said := limit.reached)), "")

    def note(self, outcome: Outcome) -> None:
        """A call has ended."""
        call = used(outcome)
        if not call.tokens:
            return
        self._used.append(call)
        cost, currency = Decimal(0), ""
        if self._price is not None:
            usage = prices.Usage(
                call.prompt_tokens or 0, call.completion_tokens or 0, call.cached_tokens or 0
            )
            cost, currency = prices.cost_of(self._price, usage), self._price.currency
        self._limits = [
            replace(
                limit,
                tokens=limit.tokens + call.tokens,
                cost=limit.cost + (cost if currency and currency == limit.currency else 0),
            )
            for limit in self._limits
        ]

    def charge(self, *, purpose: str, scoring: Scoring | None = None) -> None:
        """Write down what was used since the last time."""
        calls, self._used = self._used, []
        charge(self._version, calls, purpose=purpose, scoring=scoring)


def charge(
    version: ModelVersion, calls: Sequence[Used], *, purpose: str, scoring: Scoring | None = None
) -> None:
    """Count calls of a version against its budgets. Sorted: one lock order."""
    sums: dict[tuple[dt.date, str], list[Decimal | int]] = {}
    for call in calls:
        if not call.tokens:
            continue
        names = (version.requested_name, call.returned_model)
        budgets.price(call, version.endpoint.provider_id, names)
        entry = sums.setdefault(
            (clock.month_of(call.answered_at), call.currency), [Decimal(0), 0, 0]
        )
        entry[0] += call.cost or 0
        entry[1] += call.tokens
        entry[2] += 1
    with connection.cursor() as cursor:
        for (month, currency), totals in sorted(sums.items()):
            whose = scoring.pk if scoring else None
            values = (Spending.Purpose(purpose).value, whose, version.pk, month, currency)
            cursor.execute(ADD, (*values, *totals))


def spent_on(scoring: Scoring) -> tuple[int, dict[str, Decimal]]:
    """Tokens, and money by currency, that a scoring used so far."""
    tokens = 0
    money: dict[str, Decimal] = {}
    for row in Spending.objects.filter(scoring=scoring).order_by("currency"):
        tokens += row.tokens
        if row.currency:
            money[row.currency] = money.get(row.currency, Decimal(0)) + row.cost
    return tokens, money
