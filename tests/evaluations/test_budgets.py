"""Budgets: the estimate before, the hard stop at the limit, and what a partial run is good for."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed, StaleVersion
from apps.drift.services import compare_run, create_baseline
from apps.evaluations import budgets, estimating, finishing, prices, schedules, services
from apps.evaluations.models import Budget, Run, RunState, Schedule, Spending
from apps.evaluations.totals import of_run
from tests.evaluations.helpers import samples, start, work
from tests.fixtures.evaluations import make_owner, make_revision, make_user, make_version
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live")
NOWHERE = "http://127.0.0.1:9/v1"
A_CALL = 5  # tokens: four words asked, one answered


@pytest.fixture
def provider(provider: Provider) -> Provider:
    provider.set(answers={"Case": "motor"}, latency=0.01)
    return provider


def priced(run: Run, *, prompt: str = "1000", completion: str = "1000") -> None:
    """A call of four and one tokens then costs 0.005 USD."""
    endpoint = run.model_version.endpoint
    prices.import_prices(
        actor=SYSTEM,
        prices=[
            prices.NewPrice(
                provider=endpoint.provider.slug,
                model_name=run.model_version.requested_name,
                currency="USD",
                prompt_per_million=Decimal(prompt),
                completion_per_million=Decimal(completion),
                valid_from=clock.now() - dt.timedelta(days=1),
            )
        ],
    )


def limited(provider: Provider, *, concurrency: int = 4, cases: int = 60, **limits: Any) -> Run:
    run = start(provider, cases=cases, endpoint_max_concurrency=concurrency)
    Run.objects.filter(pk=run.pk).update(**limits)
    return run


def ended(run: Run) -> Run:
    """What a worker and then a tick make of it."""
    work(run)
    finishing.end_stopped()
    run.refresh_from_db()
    return run


def test_a_run_stops_at_its_token_limit_and_passes_it_by_the_calls_in_flight_at_most(
    provider: Provider,
) -> None:
    run = ended(limited(provider, max_tokens=100))

    assert run.state == RunState.PARTIAL
    assert "The run's own budget is used up" in run.state_reason
    stored = samples(run).count()
    assert 100 / A_CALL <= stored <= 100 / A_CALL + 4
    assert provider.stats()["total"] == stored  # nothing that was paid for is lost
    assert run.totals["answered"] == stored


def test_a_limit_of_money_stops_a_run_too(provider: Provider) -> None:
    run = limited(provider, max_cost=Decimal("0.1"), currency="USD")
    priced(run)

    ended(run)

    assert run.state == RunState.PARTIAL
    assert "of 0.1000 USD are spent" in run.state_reason
    assert 20 <= samples(run).count() <= 24


def test_every_sample_holds_its_cost_at_the_price_of_its_day(provider: Provider) -> None:
    run = start(provider, cases=3)
    priced(run)

    work(run)

    assert {(s.cost, s.currency) for s in samples(run)} == {(Decimal("0.005"), "USD")}
    spent = Spending.objects.get(run=run)
    assert (spent.cost, spent.tokens, spent.samples) == (Decimal("0.015"), 15, 3)
    assert run.totals["cost"] == {"USD": "0.015"}


def test_without_a_price_a_sample_has_no_cost_rather_than_none_to_pay(provider: Provider) -> None:
    run = work(start(provider, cases=2))

    assert {s.cost for s in samples(run)} == {None}
    assert run.totals["cost"] == {}
    assert run.totals["unpriced"] == 2


@pytest.mark.parametrize("scope", ["version", "provider", "everything"])
def test_a_monthly_budget_counts_all_runs_in_its_scope(provider: Provider, scope: str) -> None:
    first = start(provider, cases=6)
    version = first.model_version
    work(first)
    before = sum(s.tokens for s in Spending.objects.all())
    whose: dict[str, Any] = {
        "version": {"model_version": version},
        "provider": {"provider": version.endpoint.provider},
        "everything": {},
    }[scope]
    used = before if scope == "everything" else 30
    budget = budgets.set_budget(actor=SYSTEM, max_tokens=used + 20, **whose)

    second = services.start_run(
        actor=SYSTEM, model_version=version, suite_revision=make_revision(40)
    )
    try:
        ended(second)
        assert second.state == RunState.PARTIAL
        assert budgets.name_of(budget) in second.state_reason
        assert 4 <= samples(second).count() <= 4 + version.endpoint.max_concurrency

        with pytest.raises(Conflict, match="used up") as caught:
            services.start_run(actor=SYSTEM, model_version=version, suite_revision=make_revision(2))
        assert caught.value.code == "budget_used_up"
    finally:
        Budget.objects.all().delete()


def test_last_month_s_use_does_not_count_against_this_month(provider: Provider) -> None:
    run = work(start(provider, cases=2))
    budget = budgets.set_budget(actor=SYSTEM, model_version=run.model_version, max_tokens=10)
    assert budgets.limit_of(budget).reached

    Spending.objects.filter(run=run).update(month=dt.date(2020, 1, 1))

    assert not budgets.limit_of(budget).reached
    budget.period = "total"
    assert budgets.limit_of(budget).reached


def test_a_partial_run_is_no_baseline_and_is_not_compared_and_says_why(provider: Provider) -> None:
    run = ended(limited(provider, max_tokens=50))

    assert compare_run(run=run) is None
    with pytest.raises(InvalidInput, match="is partial, not complete"):
        create_baseline(
            actor=make_owner(),
            model_version=run.model_version,
            suite_revision=run.suite_revision,
            runs=[run],
        )
    assert "A partial run proves nothing" in run.state_reason
    assert AuditEvent.objects.filter(action="evaluations.run_spend", object_id=str(run.pk)).exists()


def test_a_partial_run_goes_on_where_it_stopped_once_there_is_budget_again(
    provider: Provider,
) -> None:
    run = ended(limited(provider, cases=30, max_tokens=50))
    with pytest.raises(Conflict, match="is used up"):
        services.retry_failed(actor=SYSTEM, run=run)
    with pytest.raises(NotAllowed):
        services.change_budget(actor=make_user(Role.AUDITOR), run=run, max_tokens=10_000)
    services.change_budget(actor=make_owner(), run=run, max_tokens=10_000)

    services.retry_failed(actor=SYSTEM, run=run)
    work(run)

    assert run.state == RunState.COMPLETE
    assert set(provider.stats()["calls"].values()) == {1}  # no answer was asked for again
    with pytest.raises(Conflict, match="counts no more"):
        services.change_budget(actor=make_owner(), run=run, max_tokens=1)


def test_a_limit_reached_by_the_very_last_answer_completes_the_run(provider: Provider) -> None:
    run = ended(limited(provider, cases=4, max_tokens=4 * A_CALL))

    assert run.state == RunState.COMPLETE


def test_a_limit_of_money_needs_a_price_in_its_currency() -> None:
    version = make_version(NOWHERE)
    asked = {
        "actor": SYSTEM,
        "model_version": version,
        "suite_revision": make_revision(2),
        "max_cost": Decimal(1),
        "currency": "EUR",
    }
    with pytest.raises(InvalidInput, match="no price of it is valid now") as caught:
        services.start_run(**asked)
    assert caught.value.field == "max_cost"

    run = services.start_run(**asked | {"max_cost": None, "currency": ""})
    priced(run)
    with pytest.raises(InvalidInput, match="its price is in USD"):
        services.start_run(**asked)
    assert services.start_run(**asked | {"currency": "USD"}).max_cost == 1


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_cost": Decimal(-1), "currency": "USD"}, "max_cost"),
        ({"max_cost": Decimal("NaN"), "currency": "USD"}, "max_cost"),
        ({"max_cost": Decimal(1)}, "currency"),
        ({"max_tokens": 5, "currency": "USD"}, "currency"),
        ({"max_tokens": 5, "period": "week"}, "period"),
    ],
)
def test_a_budget_that_makes_no_sense_names_its_field(limits: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        budgets.set_budget(actor=SYSTEM, model_version=make_version(NOWHERE), **limits)

    assert caught.value.field == field


def test_a_budget_is_changed_by_those_who_may_and_never_over_somebody_else_s_change() -> None:
    version = make_version(NOWHERE)
    with pytest.raises(NotAllowed):
        budgets.set_budget(actor=make_owner(), model_version=version, max_tokens=5)
    lead = make_user(Role.GOVERNANCE_LEAD)
    made = budgets.set_budget(actor=lead, model_version=version, max_tokens=5)

    changed = budgets.set_budget(actor=lead, model_version=version, max_tokens=9, row_version=1)

    assert (changed.pk, changed.max_tokens) == (made.pk, 9)
    with pytest.raises(StaleVersion):
        budgets.set_budget(actor=lead, model_version=version, max_tokens=7, row_version=1)


def test_a_schedule_whose_budget_is_used_up_makes_no_run_and_says_so(provider: Provider) -> None:
    run = work(start(provider, cases=2))
    plan = services.create_schedule(
        actor=SYSTEM,
        model_version=run.model_version,
        suite_revision=run.suite_revision,
        interval_seconds=600,
    )
    budgets.set_budget(actor=SYSTEM, model_version=run.model_version, max_tokens=1)
    Schedule.objects.filter(pk=plan.pk).update(next_due_at=clock.now() - dt.timedelta(seconds=1))

    assert schedules.claim_due() == []

    plan.refresh_from_db()
    assert "is used up" in plan.skipped_reason


# Before the run


def test_an_estimate_counts_characters_until_a_run_has_ended(provider: Provider) -> None:
    run = start(provider, cases=23)  # a suite that no other test has run
    before = estimating.estimate(
        model_version=run.model_version, suite_revision=run.suite_revision, replicates=2
    )
    assert before.calls == 46
    assert before.basis.startswith("A rough count")
    # "Case c0: which department?" has 26 characters, from c10 on 27; 20 tokens of answer at most.
    assert before.prompt_tokens == round(2 * (10 * 26 + 13 * 27) / 4)
    assert before.completion_tokens == 46 * 20
    assert before.cost is None

    work(run)
    after = estimating.estimate(
        model_version=run.model_version, suite_revision=run.suite_revision, replicates=2
    )
    assert after.basis == "From this version's last 1 run of this suite."
    assert (after.prompt_tokens, after.completion_tokens) == (46 * 4, 46)


def test_an_estimate_costs_money_and_names_the_limits_that_it_would_pass(
    provider: Provider,
) -> None:
    run = start(provider, cases=2)
    priced(run)
    work(run)
    budgets.set_budget(actor=SYSTEM, model_version=run.model_version, max_tokens=15)

    found = estimating.estimate(
        model_version=run.model_version,
        suite_revision=run.suite_revision,
        max_cost=Decimal("0.001"),
        currency="USD",
        replicates=3,
    )

    assert found.cost == Decimal("0.03")
    assert found.exceeds == [
        "The run's own budget has 0.001000 USD left.",
        "The monthly budget of assistant has 5 tokens left.",
    ]


def test_totals_say_what_a_run_cost(provider: Provider) -> None:
    run = start(provider, cases=2)
    work(run)

    assert of_run(run)["cost"] == {}
