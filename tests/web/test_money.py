"""Prices and budgets."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.drift.models import TopUp
from apps.evaluations import budgets
from apps.evaluations.models import Budget, Price, Spending
from apps.tickets import policy
from tests.api.story import answered_run, import_suite
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.fixtures.pages import body, heading, page, signed_in
from tests.world import World

pytestmark = pytest.mark.django_db
LIST = (
    "provider,model_name,currency,prompt_per_million,completion_per_million,valid_from,source\n"
    "local-labs,assistant-instant,USD,0.50,1.5,2026-01-01,price page\n"
)


def test_without_a_budget_the_page_says_that_nothing_is_limited(world: World) -> None:
    client = signed_in(world.lead)
    assert heading(client, "/money/") == "No budget is set: runs may use as much as they need."
    assert "No price is recorded" in page(client, "/money/")


def test_a_budget_is_set_for_a_provider_and_shows_what_is_used(world: World) -> None:
    client = signed_in(world.lead)
    scope = f"provider:{world.provider.pk}"
    wanted = {"form": "budget", "scope": scope, "period": "month", "max_tokens": "1000"}
    assert client.post("/money/", wanted | {"enabled": "on"}).status_code == 302
    run = answered_run(world, import_suite(world), "property", 1.0)
    Spending.objects.create(
        run=run, model_version=world.version, month=run.month, currency="", tokens=250, samples=2
    )
    said = heading(client, "/money/")
    assert said == "No budget is used up; the monthly budget of Local Labs is at 25 %."
    assert "250 of 1,000 tokens" in page(client, "/money/")

    client.post("/money/", wanted | {"max_tokens": "200", "enabled": "on"})
    assert Budget.objects.count() == 1
    assert heading(client, "/money/").startswith("One budget is used up")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "limits tokens, money or both"),
        ({"max_tokens": "0"}, "greater than or equal to 1"),
        ({"max_cost": "5"}, "needs its currency"),
        ({"max_tokens": "5", "scope": "provider:nobody"}, "Select a valid choice"),
    ],
)
def test_a_budget_that_makes_no_sense_is_named_at_its_field(
    world: World, changes: dict[str, str], said: str
) -> None:
    wanted = {"form": "budget", "scope": "everything", "period": "month"} | changes
    answer = signed_in(world.lead).post("/money/", wanted)
    assert answer.status_code == 400
    assert said in body(answer)
    assert "field__error" in body(answer) or "alert" in body(answer)
    assert not Budget.objects.exists()


def test_prices_are_pasted_or_uploaded_and_withdrawn(world: World) -> None:
    client = signed_in(world.lead)
    assert client.post("/money/", {"form": "prices", "text": LIST}).status_code == 302
    upload = SimpleUploadedFile("prices.csv", LIST.encode())
    client.post("/money/", {"form": "prices", "file": upload})
    assert Price.objects.count() == 1  # the same list twice
    text = page(client, "/money/")
    assert "assistant-instant" in text
    assert "from 2026-01-01" in text

    one = Price.objects.get()
    client.post("/money/", {"form": "withdraw", "price": str(one.pk), "reason": ""})
    one.refresh_from_db()
    assert one.withdrawn_at is None
    client.post("/money/", {"form": "withdraw", "price": str(one.pk), "reason": "Wrong year."})
    assert "withdrawn: Wrong year." in page(client, "/money/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Choose a file, or paste"),
        (LIST.replace("0.50", "free"), "is not a number"),
        (LIST.replace("local-labs", "nobody"), "There is no provider"),
        ("<script>", "must name its columns"),
    ],
)
def test_a_list_that_cannot_be_read_comes_back_with_the_reason(
    world: World, text: str, said: str
) -> None:
    answer = signed_in(world.lead).post("/money/", {"form": "prices", "text": text})
    assert answer.status_code == 400
    assert said in body(answer)
    assert "<script>" not in answer.content.decode().split("<main")[1]
    assert not Price.objects.exists()


def test_an_owner_reads_and_changes_nothing(world: World) -> None:
    budgets.set_budget(actor=world.lead, max_tokens=5)
    client = signed_in(world.owner)
    text = page(client, "/money/")
    assert "The monthly budget for everything" in text
    assert "Set a budget" not in text
    for form in ("budget", "prices", "withdraw"):
        assert client.post("/money/", {"form": form}).status_code == 403


def test_an_outsider_sees_no_price(world: World) -> None:
    signed_in(world.lead).post("/money/", {"form": "prices", "text": LIST})
    assert "assistant-instant" not in page(signed_in(world.outsider), "/money/")


TOP_UPS = {
    "form": "top_ups",
    "tier": "3",
    "runs": "1",
    "replicates": "4",
    "calls_a_month": "800",
    "reason": "Weekly reruns take too long to settle.",
}


def test_top_ups_of_a_tier_are_allowed_by_a_new_policy(world: World) -> None:
    client = signed_in(world.lead)
    assert "2 until something is settled" in page(client, "/money/")
    before = policy.current()

    assert client.post("/money/", TOP_UPS).status_code == 302

    now = policy.current()
    assert now.number == before.number + 1
    assert now.document["top_ups"]["3"] == {
        "runs": 1,
        "replicates": 4,
        "calls_a_month": 800,
        "urgent": False,
    }
    assert now.document | {"top_ups": 0} == before.document | {"top_ups": 0}
    assert "at most 4 each" in page(client, "/money/")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": "99"}, "must be a whole number from 0 to 10"),
        ({"runs": ""}, "This field is required"),
        ({"tier": "7"}, "Select a valid choice"),
        ({"reason": ""}, "This field is required"),
    ],
)
def test_top_ups_that_make_no_sense_are_named_at_their_field(
    world: World, changes: dict[str, str], said: str
) -> None:
    before = policy.current()
    answer = signed_in(world.lead).post("/money/", TOP_UPS | changes)
    assert answer.status_code == 400
    assert said in body(answer)
    assert policy.current() == before


def test_who_may_not_publish_a_policy_sees_the_top_ups_and_no_form(world: World) -> None:
    client = signed_in(world.auditor)
    shown = page(client, "/money/")
    assert "Top-ups" in shown
    assert "Change a tier" not in shown
    assert client.post("/money/", TOP_UPS).status_code == 403


def test_a_run_and_its_verdict_say_what_was_topped_up(world: World) -> None:
    baseline_of(world, suite())
    told, silent = (compared(run_of(world.version, suite(), seed=s)) for s in (2, 3))
    more = run_of(world.version, suite(), seed=4, purpose="top_up")
    TopUp.objects.create(comparison=told, run=more, reason="Top-up of look 1: 94 were needed.")
    TopUp.objects.create(comparison=silent, reason="No top-up: it would not fit the budget.")
    client = signed_in(world.lead)
    named = f'Top-up of <a href="/comparisons/{told.pk}/">look 1</a>, which was inconclusive'
    assert named in page(client, f"/runs/{more.pk}/")
    for address in (f"/runs/{told.run_id}/", f"/comparisons/{told.pk}/"):
        shown = client.get(address).content.decode()
        assert f'href="/runs/{more.pk}/"' in shown
        assert "94 were needed" in shown
    for address in (f"/runs/{silent.run_id}/", f"/comparisons/{silent.pk}/"):
        assert "it would not fit the budget" in page(client, address)
    assert "Top-up" in page(client, f"/versions/{world.version.pk}/?tab=runs")
