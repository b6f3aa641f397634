"""What may be used: budgets of a run, a version, a provider and everything; tokens and money.

Every group of answers adds to `Spending` in the transaction that stores it; then the limits of its
run are looked at, on these few rows. A run that reaches one makes no new call: what is under way is
stored, and the run ends as partial. So a limit is passed by the calls in flight at most.

A calendar month is one of UTC, by the time of the answer. Money of another currency than the
limit's is not converted; a run under a limit of money needs a price in that currency.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Q, Sum

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import prices
from apps.evaluations.models import Budget, Run, Sample, Spending
from apps.registry.models import ModelVersion, Provider

# A budget that another process set counts here after this long.
KEPT_SECONDS = 1.0
# What the writer adds to `Spending` for the group of answers "a" that it stores, in its own
# statement; `charge` does the same for samples that are stored otherwise.
ADD_FROM = """
  INSERT INTO evaluations_spending
    (run_id, model_version_id, month, currency, cost, tokens, samples)
  SELECT %(run)s, %(version)s, date_trunc('month', answered_at AT TIME ZONE 'UTC')::date, currency,
         coalesce(sum(cost), 0), sum(tokens), count(*)
"""
ADD_CONFLICT = """
  ON CONFLICT (run_id, month, currency) DO UPDATE
    SET cost = evaluations_spending.cost + excluded.cost,
        tokens = evaluations_spending.tokens + excluded.tokens,
        samples = evaluations_spending.samples + excluded.samples
"""
ADD = f"""
INSERT INTO evaluations_spending (run_id, model_version_id, month, currency, cost, tokens, samples)
VALUES (%s, %s, %s, %s, %s, %s, %s)
{ADD_CONFLICT}
"""  # noqa: S608
_kept: dict[tuple[UUID, UUID], tuple[float, list[Budget]]] = {}


@dataclass(frozen=True)
class Limit:
    """One limit and what is used of it. Tokens are prompt and completion together."""

    name: str
    max_tokens: int | None
    max_cost: Decimal | None
    currency: str
    tokens: int
    cost: Decimal
    unpriced: int
    """Answers without a known price: a limit of money cannot see them."""
    budget: Budget | None = None

    @property
    def reached(self) -> str:
        """The sentence that ends a run; "" while there is something left."""
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            return (
                f"{self.name} is used up: {self.tokens:,} of {self.max_tokens:,} tokens are spent."
            )
        if self.max_cost is not None and self.cost >= self.max_cost:
            return f"{self.name} is used up: {money(self.cost, self.currency)} of " + (
                f"{money(self.max_cost, self.currency)} are spent."
            )
        return ""

    @property
    def share(self) -> float:
        """How much is used, 1.0 for all of it."""
        shares = [0.0]
        if self.max_tokens is not None:
            shares.append(self.tokens / self.max_tokens if self.max_tokens else 1.0)
        if self.max_cost is not None:
            shares.append(float(self.cost / self.max_cost) if self.max_cost else 1.0)
        return max(shares)


def money(value: Decimal, currency: str) -> str:
    """ "0.0042 USD", "12.50 EUR": two places, more for small sums."""
    places = 2 if value == 0 or abs(value) >= 1 else 4 if abs(value) >= Decimal("0.01") else 6
    return f"{value:,.{places}f} {currency}".strip()


def of_scope(version_id: UUID, provider_id: UUID) -> list[Budget]:
    """The budgets that a version's answers count against."""
    known = _kept.get((version_id, provider_id))
    if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
        rows = Budget.objects.filter(
            Q(model_version=version_id)
            | Q(provider=provider_id)
            | Q(model_version__isnull=True, provider__isnull=True),
            enabled=True,
        ).select_related("model_version", "provider")
        known = (time.monotonic(), list(rows.order_by("created_at")))
        _kept[version_id, provider_id] = known
    return known[1]


def applies(run: Run) -> bool:
    """Is there any limit on this run? Then its calls are counted one by one."""
    if run.max_tokens is not None or run.max_cost is not None:
        return True
    version = run.model_version
    return bool(of_scope(version.pk, version.endpoint.provider_id))


def price(sample: Any, provider_id: UUID, names: Iterable[str]) -> None:
    """Put the cost on a sample (or the row of one) that is about to be stored, where a price is
    known."""
    if sample.prompt_tokens is None and sample.completion_tokens is None:
        return
    found = prices.at(provider_id, [n for n in names if n], sample.answered_at)
    if found is None:
        return
    usage = prices.Usage(
        sample.prompt_tokens or 0, sample.completion_tokens or 0, sample.cached_tokens or 0
    )
    sample.cost, sample.currency = prices.cost_of(found, usage), found.currency


def charge(run: Run, samples: Iterable[Sample]) -> None:
    """Count stored samples; inside the transaction that stores them. Sorted: one lock order."""
    sums: dict[tuple[dt.date, str], list[Any]] = {}
    for sample in samples:
        tokens = (sample.prompt_tokens or 0) + (sample.completion_tokens or 0)
        if not tokens:
            continue
        key = (clock.month_of(sample.answered_at), sample.currency)
        entry = sums.setdefault(key, [Decimal(0), 0, 0])
        entry[0] += sample.cost or 0
        entry[1] += tokens
        entry[2] += 1
    with connection.cursor() as cursor:
        for (month, currency), (cost, tokens, count) in sorted(sums.items()):
            cursor.execute(
                ADD, [run.pk, run.model_version_id, month, currency, cost, tokens, count]
            )


def reached(run: Run) -> str:
    """The sentence of the first limit that this run has reached, or ""."""
    if not applies(run):
        return ""
    for limit in limits_of(run):
        if said := limit.reached:
            return said
        if limit.max_cost is not None and limit.budget is None and limit.unpriced:
            return (
                "No price is valid for these answers, so the run's limit of money cannot be kept."
            )
    return ""


def limits_of(run: Run) -> list[Limit]:
    """The limits on a run with what is used of them now. One small query each."""
    found = []
    if run.max_tokens is not None or run.max_cost is not None:
        found.append(
            _limit(
                "The run's own budget",
                run,
                Spending.objects.filter(run=run),
            )
        )
    version = run.model_version
    return found + [
        limit_of(budget) for budget in of_scope(version.pk, version.endpoint.provider_id)
    ]


def limit_of(budget: Budget, moment: dt.datetime | None = None) -> Limit:
    rows = Spending.objects.all()
    if budget.model_version_id:
        rows = rows.filter(model_version=budget.model_version_id)
    if budget.provider_id:
        rows = rows.filter(model_version__endpoint__provider=budget.provider_id)
    if budget.period == Budget.Period.MONTH:
        rows = rows.filter(month=clock.month_of(moment or clock.now()))
    return _limit(name_of(budget), budget, rows, budget)


def _limit(name: str, source: Any, rows: Any, budget: Budget | None = None) -> Limit:
    used = rows.aggregate(
        tokens=Sum("tokens"),
        cost=Sum("cost", filter=Q(currency=source.currency) & ~Q(currency="")),
        unpriced=Sum("samples", filter=Q(currency="")),
    )
    return Limit(
        name=name,
        max_tokens=source.max_tokens,
        max_cost=source.max_cost,
        currency=source.currency,
        tokens=int(used["tokens"] or 0),
        cost=used["cost"] or Decimal(0),
        unpriced=int(used["unpriced"] or 0),
        budget=budget,
    )


def name_of(budget: Budget) -> str:
    """ "The monthly budget of assistant-instant"."""
    if budget.model_version is not None:
        whose = f" of {budget.model_version}"
    elif budget.provider is not None:
        whose = f" of {budget.provider.name}"
    else:
        whose = " for everything"
    return f"The {'monthly' if budget.period == Budget.Period.MONTH else 'total'} budget{whose}"


def check_open(
    version: ModelVersion,
    *,
    max_cost: Decimal | None = None,
    currency: str = "",
    refused: str = "No run is started.",
) -> None:
    """May calls of this version begin? `refused` says what does not. Raises Conflict where a budget
    is used up already, and InvalidInput where a limit of money could not be kept for want of a
    price."""
    found = of_scope(version.pk, version.endpoint.provider_id)
    for budget in found:
        if said := limit_of(budget).reached:
            raise Conflict(
                f"{said} {refused}",
                field="budget",
                remedy="Raise the budget, or wait for the next month where it is a monthly one.",
                code="budget_used_up",
            )
    asked = [("max_cost", currency)] if max_cost is not None else []
    asked += [("budget", b.currency) for b in found if b.max_cost is not None]
    if not asked:
        return
    valid = prices.of_version(version)
    for field, wanted in asked:
        if valid is None or valid.currency != wanted:
            known = f"its price is in {valid.currency}" if valid else "no price of it is valid now"
            raise InvalidInput(
                f"A budget in {wanted or 'money'} cannot be kept for {version}: {known}.",
                field=field,
                remedy="Import the price of this model (`govtrack price import`), or limit tokens.",
            )


def check_limits(*, max_tokens: int | None, max_cost: Decimal | None, currency: str) -> None:
    """Raises InvalidInput naming the field, for limits that make no sense."""
    if max_tokens is not None and not 1 <= max_tokens < 2**62:
        raise InvalidInput("A limit of tokens is at least 1.", field="max_tokens")
    if max_cost is not None and not (max_cost.is_finite() and 0 < max_cost < 10**10):
        raise InvalidInput("A limit of money is more than 0.", field="max_cost")
    letters = len(currency) == 3 and currency.isascii() and currency.isupper()
    if (max_cost is not None) != bool(currency) or (currency and not letters):
        raise InvalidInput(
            "A limit of money needs its currency, and only that.",
            field="currency",
            remedy="Use the three capital letters of ISO 4217, such as USD.",
        )


def set_budget(
    *,
    actor: Actor,
    model_version: ModelVersion | None = None,
    provider: Provider | None = None,
    period: str = "month",
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
    enabled: bool = True,
    row_version: int | None = None,
) -> Budget:
    """Set the budget of a version, a provider or (neither) everything; there is one for each
    period. Raises NotAllowed, InvalidInput naming the field, and StaleVersion."""
    if actor is not SYSTEM:
        require(actor, "budget.edit", model_version)
    if model_version is not None and provider is not None:
        raise InvalidInput(
            "A budget is for a version or for a provider, not both.",
            field="provider",
            remedy="Set two budgets: both count.",
        )
    if period not in Budget.Period.values:
        raise InvalidInput("A budget is for a month or in total.", field="period")
    if max_tokens is None and max_cost is None:
        raise InvalidInput(
            "A budget limits tokens, money or both.",
            field="max_tokens",
            remedy="Give max_tokens, or max_cost with its currency.",
        )
    check_limits(max_tokens=max_tokens, max_cost=max_cost, currency=currency)
    values = {
        "max_tokens": max_tokens,
        "max_cost": max_cost,
        "currency": currency,
        "enabled": enabled,
    }
    scope = {"model_version": model_version, "provider": provider, "period": period}
    try:
        with transaction.atomic():
            row = Budget.objects.select_for_update().filter(**scope).first()
            before: dict[str, Any] = {}
            if row is None:
                person = None if actor is SYSTEM else actor
                row = Budget.objects.create(**scope, **values, created_by=person)  # type: ignore[misc]
            else:
                before = {name: getattr(row, name) for name in values}
                row.row_version = row.row_version if row_version is None else row_version
                for name, value in values.items():
                    setattr(row, name, value)
                row.save_versioned(*values)
            record(
                "evaluations.budget_set",
                actor=actor,
                obj=row,
                object_name=name_of(row),
                summary=f"Set {name_of(row)[0].lower()}{name_of(row)[1:]}.",
                changes={
                    k: [_plain(before.get(k)), _plain(v)]
                    for k, v in values.items()
                    if before.get(k) != v
                },
            )
    except IntegrityError:
        raise Conflict(
            "Somebody else set this budget at the same moment.",
            field="budget",
            remedy="Reload to see it.",
        ) from None
    _kept.clear()
    return row


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
