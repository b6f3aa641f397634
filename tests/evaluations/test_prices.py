"""Prices as data: importing them, their days of validity, and what a sample costs."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.evaluations import pricefile, prices
from apps.evaluations.models import Price
from apps.registry.models import Provider
from tests.fixtures.evaluations import make_user, make_version

HEADER = (
    "provider,model_name,currency,prompt_per_million,completion_per_million,cached_per_million,"
    "valid_from,valid_until,source\n"
)
NOWHERE = "http://127.0.0.1:9/v1"


def day(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def price(**fields: Any) -> Price:
    values = {
        "currency": "USD",
        "prompt_per_million": Decimal(2),
        "completion_per_million": Decimal(8),
        "cached_per_million": None,
    }
    return Price(**values | fields)


# Without a database


def test_a_call_costs_its_tokens_with_cached_ones_at_their_own_price() -> None:
    usage = prices.Usage(prompt=1000, completion=500, cached=400)

    assert prices.cost_of(price(), usage) == Decimal("0.006")
    cheaper = price(cached_per_million=Decimal("0.5"))
    assert prices.cost_of(cheaper, usage) == Decimal("0.0054")


def test_more_cached_tokens_than_prompt_tokens_never_make_a_call_cheaper_than_its_prompt() -> None:
    odd = prices.Usage(prompt=10, completion=0, cached=1000)
    free = price(cached_per_million=Decimal(0))

    assert prices.cost_of(free, odd) == 0
    assert prices.cost_of(price(), odd) == Decimal("0.00002")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_usage_has_a_negative_cost(prompt: int, completion: int, cached: int) -> None:
    found = prices.cost_of(
        price(cached_per_million=Decimal("0.1")), prices.Usage(prompt, completion, cached)
    )
    assert found >= 0


def test_a_csv_and_a_json_list_say_the_same() -> None:
    row = "labs,big-1,USD,2.5,10,,2026-01-01,,price page\n"
    as_json = json.dumps(
        [
            {
                "provider": "labs",
                "model_name": "big-1",
                "currency": "USD",
                "prompt_per_million": 2.5,
                "completion_per_million": 10,
                "valid_from": "2026-01-01",
                "source": "price page",
            }
        ]
    )

    (one,) = pricefile.parse((HEADER + row).encode())
    (two,) = pricefile.parse(as_json.encode())

    assert one.prompt_per_million == Decimal("2.5")
    assert one.valid_from == day("2026-01-01")
    assert {**one.__dict__, "row": 0} == {**two.__dict__, "row": 0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the CSV must name its columns"),
        (b"\xff\xfe", "UTF-8"),
        (b"[1]", "a list of objects"),
        (b"{nonsense", "not JSON"),
        (b"provider,model_name\nlabs,big", "currency is not among them"),
        (HEADER.encode(), "holds no price"),
        (f"{HEADER}labs,big,USD,cheap,1,,2026-01-01,,".encode(), "'cheap' is not a number"),
        (f"{HEADER}labs,big,USD,NaN,1,,2026-01-01,,".encode(), "not a finite number"),
        (f"{HEADER}labs,big,USD,1,1,,tomorrow,,".encode(), "'tomorrow' is not a day"),
        (f"{HEADER}labs,,USD,1,1,,2026-01-01,,".encode(), "model_name: This is empty"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(content: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        pricefile.parse(content)

    assert said in caught.value.message


# Recording


def record(provider: Provider, rows: str) -> tuple[int, int]:
    content = HEADER + rows.replace("labs", provider.slug)
    return prices.import_prices(actor=SYSTEM, prices=pricefile.parse(content.encode()))


@pytest.mark.django_db
def test_the_price_of_the_day_counts_by_name_then_for_every_model() -> None:
    version = make_version(NOWHERE, requested_name="big-1")
    provider = version.endpoint.provider
    record(
        provider,
        "labs,big-1,USD,2,8,,2026-01-01,,\nlabs,big-1,USD,1,4,,2026-06-01,,\n"
        "labs,*,USD,9,9,,2026-01-01,2026-07-01,\n",
    )

    def at(when: str, *names: str) -> Decimal | None:
        found = prices.at(provider.pk, names, day(when))
        return found and found.prompt_per_million

    assert at("2025-12-31", "big-1") is None
    assert at("2026-05-31T23:59:59", "big-1") == 2
    assert at("2026-06-01", "big-1") == 1
    assert at("2026-06-01", "small", "big-1") == 1
    assert at("2026-06-30", "small") == 9
    assert at("2026-07-01", "small") is None


@pytest.mark.django_db
def test_the_same_list_twice_records_once_and_another_price_for_the_day_is_refused() -> None:
    provider = make_version(NOWHERE).endpoint.provider
    assert record(provider, "labs,big-1,USD,2,8,,2026-01-01,,\n") == (1, 0)
    assert record(provider, "labs,big-1,USD,2.00,8,,2026-01-01,,\n") == (0, 1)

    with pytest.raises(InvalidInput, match="Another price of big-1") as caught:
        record(provider, "labs,new,USD,1,1,,2026-01-01,,\nlabs,big-1,USD,3,8,,2026-01-01,,\n")

    assert caught.value.problems[0]["line"] == 3
    assert Price.objects.count() == 1  # all or none
    assert AuditEvent.objects.filter(action="evaluations.price_recorded").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("nobody,big,USD,1,1,,2026-01-01,,", "provider"),
        ("labs,big,dollar,1,1,,2026-01-01,,", "currency"),
        ("labs,big,USD,-1,1,,2026-01-01,,", "prompt_per_million"),
        ("labs,big,USD,1,1e12,,2026-01-01,,", "completion_per_million"),
        ("labs,big,USD,1,1,,2026-01-01,2025-01-01,", "valid_until"),
    ],
)
def test_a_price_that_cannot_be_names_its_row_and_field(row: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        record(make_version(NOWHERE).endpoint.provider, row)

    assert caught.value.problems[0]["path"] == field
    assert caught.value.problems[0]["line"] == 2


@pytest.mark.django_db
def test_a_wrong_price_is_withdrawn_with_a_reason_and_may_be_recorded_anew() -> None:
    provider = make_version(NOWHERE).endpoint.provider
    record(provider, "labs,big-1,USD,200,8,,2026-01-01,,\n")
    row = Price.objects.get()
    with pytest.raises(InvalidInput):
        prices.withdraw_price(actor=SYSTEM, price=row, reason=" ")

    prices.withdraw_price(actor=SYSTEM, price=row, reason="Two zeros too many.")

    assert prices.at(provider.pk, ["big-1"], day("2026-02-01")) is None
    assert record(provider, "labs,big-1,USD,2,8,,2026-01-01,,\n") == (1, 0)
    with pytest.raises(Conflict):
        prices.withdraw_price(actor=SYSTEM, price=row, reason="Again.")


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.MODEL_OWNER, Role.AUDITOR, Role.SERVICE])
def test_only_administrators_and_leads_record_prices(role: Role) -> None:
    with pytest.raises(NotAllowed):
        prices.import_prices(actor=make_user(role), prices=[])
