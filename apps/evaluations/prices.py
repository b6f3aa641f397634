"""What tokens cost: prices as data with days of validity, and the cost of a sample.

A sample is priced once, when it is stored, by the price that was valid at `answered_at`; a price
that is recorded later changes no stored cost. The name that was asked for counts first, then the
name that was served, then the provider's "*". No price ships as a fact: vendors change them.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations.models import Price
from apps.registry.models import ModelVersion, Provider

ANY_MODEL = "*"
MILLION = Decimal(1_000_000)
STEP = Decimal("0.0000000001")
# A price that another process recorded counts here after this long.
KEPT_SECONDS = 5.0
FIELDS = ("currency", "prompt_per_million", "completion_per_million", "cached_per_million")

_kept: dict[UUID, tuple[float, list[Price]]] = {}


@dataclass(frozen=True)
class Usage:
    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True)
class NewPrice:
    """A price to be recorded; money for a million tokens. `row`: where it stood, for errors."""

    provider: str
    model_name: str
    currency: str
    prompt_per_million: Decimal
    completion_per_million: Decimal
    valid_from: dt.datetime
    cached_per_million: Decimal | None = None
    valid_until: dt.datetime | None = None
    source: str = ""
    row: int = 0


def cost_of(price: Price, usage: Usage) -> Decimal:
    """Money for one call. Cached prompt tokens have a price of their own where one is recorded."""
    cached = min(usage.cached, usage.prompt)
    cached_price = price.cached_per_million
    if cached_price is None:
        cached_price = price.prompt_per_million
    total = (
        (usage.prompt - cached) * price.prompt_per_million
        + cached * cached_price
        + usage.completion * price.completion_per_million
    )
    return (total / MILLION).quantize(STEP)


def at(provider_id: UUID, names: Sequence[str], moment: dt.datetime) -> Price | None:
    """The price in force for the first of `names` that has one, else that of every model."""
    valid = [
        p
        for p in _of_provider(provider_id)
        if p.valid_from <= moment and (p.valid_until is None or moment < p.valid_until)
    ]
    for name in (*names, ANY_MODEL):
        found = [p for p in valid if p.model_name == name]
        if found:
            return max(found, key=lambda p: p.valid_from)
    return None


def of_version(version: ModelVersion, moment: dt.datetime | None = None) -> Price | None:
    return at(version.endpoint.provider_id, [version.requested_name], moment or clock.now())


def _of_provider(provider_id: UUID) -> list[Price]:
    """Kept for a few seconds: the writer asks for every group of answers."""
    known = _kept.get(provider_id)
    if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
        rows = list(Price.objects.filter(provider=provider_id, withdrawn_at__isnull=True))
        known = _kept[provider_id] = (time.monotonic(), rows)
    return known[1]


def import_prices(*, actor: Actor, prices: Iterable[NewPrice]) -> tuple[int, int]:
    """Record prices, all or none. Returns how many are new and how many were known already.

    Raises NotAllowed, and InvalidInput with one problem a row: an unknown provider, a negative
    price, or another price for the same provider, model and day.
    """
    if actor is not SYSTEM:
        require(actor, "price.edit")
    rows = list(prices)
    providers = {p.slug: p for p in Provider.objects.filter(slug__in={r.provider for r in rows})}
    problems: list[dict[str, object]] = []
    created: list[Price] = []
    known = 0
    with transaction.atomic():
        for row in rows:
            provider = providers.get(row.provider)
            said = _problem(row, provider)
            if said[0] or provider is None:
                problems.append({"line": row.row, "path": said[0], "message": said[1]})
                continue
            values: dict[str, Any] = {name: getattr(row, name) for name in FIELDS}
            values["valid_until"] = row.valid_until
            same = Price.objects.filter(
                provider=provider,
                model_name=row.model_name,
                valid_from=row.valid_from,
                withdrawn_at__isnull=True,
            ).first()
            if same is None:
                created.append(
                    Price.objects.create(  # type: ignore[misc]
                        provider=provider,
                        model_name=row.model_name,
                        valid_from=row.valid_from,
                        source=row.source,
                        recorded_by=None if actor is SYSTEM else actor,
                        **values,
                    )
                )
            elif any(getattr(same, name) != value for name, value in values.items()):
                problems.append(
                    {
                        "line": row.row,
                        "path": "valid_from",
                        "message": f"Another price of {same} is recorded from "
                        f"{row.valid_from:%Y-%m-%d}. Withdraw that one, or give a later day.",
                    }
                )
            else:
                known += 1
        if problems:
            first = problems[0]
            raise InvalidInput(
                f"No price was recorded: {len(problems)} of {len(rows)} rows are wrong. The first "
                f"is row {first['line']}, {first['path']}: {first['message']}",
                field="prices",
                remedy="Mend these rows and import again.",
                problems=problems,
            )
        for price in created:
            record(
                "evaluations.price_recorded",
                actor=actor,
                obj=price,
                object_name=str(price),
                summary=f"Recorded a price of {price} from {price.valid_from:%Y-%m-%d}.",
                changes={name: str(getattr(price, name)) for name in FIELDS},
            )
    _kept.clear()
    return len(created), known


def _problem(row: NewPrice, provider: Provider | None) -> tuple[str, str]:
    """Field and sentence of what is wrong, or ("", "")."""
    if provider is None:
        return "provider", f"There is no provider '{row.provider[:60]}'."
    if not row.model_name or len(row.model_name) > 300:
        return "model_name", "Name the model as it is asked for, or * for all of the provider."
    if len(row.currency) != 3 or not row.currency.isascii() or not row.currency.isupper():
        return "currency", "Use the three capital letters of ISO 4217, such as USD."
    for name in FIELDS[1:]:
        value = getattr(row, name)
        if value is not None and (not value.is_finite() or not 0 <= value < 10**9):
            return name, "A price lies between 0 and 1,000,000,000."
    if row.valid_until is not None and row.valid_until <= row.valid_from:
        return "valid_until", "A price must be valid for some time: the end is not after the start."
    return "", ""


def withdraw_price(*, actor: Actor, price: Price, reason: str) -> Price:
    """A price that was wrong counts no more. Costs that are stored keep what they were computed
    with. Raises NotAllowed, InvalidInput and Conflict."""
    if actor is not SYSTEM:
        require(actor, "price.edit")
    if not reason.strip():
        raise InvalidInput("Say why the price is withdrawn.", field="reason")
    with transaction.atomic():
        row = Price.objects.select_for_update().get(pk=price.pk)
        if row.withdrawn_at is not None:
            raise Conflict("This price is withdrawn already.", field="price")
        row.withdrawn_at, row.withdrawn_reason = clock.now(), reason.strip()[:2000]
        row.save(update_fields=["withdrawn_at", "withdrawn_reason"])
        record(
            "evaluations.price_withdrawn",
            actor=actor,
            obj=row,
            object_name=str(row),
            summary=f"Withdrew the price of {row} from {row.valid_from:%Y-%m-%d}. {reason}",
            changes={"reason": reason.strip()[:2000]},
        )
    _kept.clear()
    return row
