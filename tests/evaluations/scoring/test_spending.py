"""Judges, embeddings and tried cases count against budgets, and end where one is used up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from apps.audit.services import SYSTEM
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import budgets, charging, prices, rescoring, trying
from apps.evaluations.models import Judgement, Run, Scoring, Spending
from apps.evaluations.stored import case_of, frame_of
from apps.registry.models import ModelVersion
from tests.fixtures.evaluations import make_user, make_version
from tests.fixtures.provider import Provider

from .story import answered, judge_at, revision, values

pytestmark = pytest.mark.django_db


def budget(version: ModelVersion, **limits: Any) -> None:
    budgets.set_budget(actor=SYSTEM, model_version=version, **limits)


def texts(count: int) -> list[str]:
    return [f"answer number {i}" for i in range(count)]


def judged(run: Run, judge: ModelVersion) -> Scoring:
    made = rescoring.judge(actor=SYSTEM, run=run, judge=judge)
    rescoring.work()
    made.refresh_from_db()
    return made


def price(version: ModelVersion) -> None:
    from apps.core import clock

    prices.import_prices(
        actor=SYSTEM,
        prices=[
            prices.NewPrice(
                provider=version.endpoint.provider.slug,
                model_name="*",
                currency="USD",
                prompt_per_million=Decimal(1_000_000),
                completion_per_million=Decimal(2_000_000),
                valid_from=clock.now(),
            )
        ],
    )


def test_a_judge_is_charged_to_its_own_version_and_not_to_the_judged_run(
    provider: Provider,
) -> None:
    provider.set(answers={"": "VERDICT: PASS"})
    judge = judge_at(provider.url)
    price(judge)
    budget(judge, max_tokens=10_000_000)
    run = answered(revision(3, mode="pairwise"), *texts(3))
    scoring = judged(run, judge)
    assert scoring.state == "done"

    row = Spending.objects.get()
    assert (row.run_id, row.purpose, row.scoring, row.model_version) == (
        None,
        "judge",
        scoring,
        judge,
    )
    assert row.samples == provider.stats()["total"] == 6  # both orders of three answers
    assert row.tokens > 0
    assert row.cost > row.tokens  # a token of the prompt costs 1 USD, one of the answer 2
    limit = budgets.limit_of(budgets.of_scope(judge.pk, judge.endpoint.provider_id)[0])
    assert (limit.tokens, limit.unpriced) == (row.tokens, 0)
    assert charging.spent_on(scoring) == (row.tokens, {"USD": row.cost})
    assert not Spending.objects.filter(run=run).exists()


def test_a_judge_whose_budget_is_used_up_is_not_asked(provider: Provider) -> None:
    provider.set(answers={"": "VERDICT: PASS"})
    judge = judge_at(provider.url)
    run = answered(revision(1), "one")
    judged(run, judge)
    asked = provider.stats()["total"]
    budget(judge, max_tokens=1)
    with pytest.raises(Conflict, match=r"is used up: .* No scoring is started"):
        rescoring.judge(actor=SYSTEM, run=run, judge=judge)
    assert provider.stats()["total"] == asked


def test_a_limit_of_money_needs_a_price_of_the_judge(provider: Provider) -> None:
    judge = judge_at(provider.url)
    budget(judge, max_cost=Decimal(5), currency="USD")
    with pytest.raises(InvalidInput, match="no price of it is valid now"):
        rescoring.judge(actor=SYSTEM, run=answered(revision(1), "one"), judge=judge)


@pytest.mark.parametrize("by", ["version", "provider", "everything"])
def test_a_budget_ends_a_judge_on_its_way_as_partial_and_it_goes_on_when_raised(
    provider: Provider, by: str
) -> None:
    provider.set(answers={"": "VERDICT: PASS"})
    judge = judge_at(provider.url, endpoint_max_concurrency=1)
    count = 40
    run = answered(revision(count), *texts(count))
    scope: dict[str, Any] = {
        "version": {"model_version": judge},
        "provider": {"provider": judge.endpoint.provider},
        "everything": {},
    }[by]
    budgets.set_budget(actor=SYSTEM, max_tokens=1_000, **scope)
    scoring = judged(run, judge)

    assert scoring.state == Scoring.State.PARTIAL
    assert "is used up" in scoring.state_reason
    assert "Raise the budget, then resume" in scoring.state_reason
    done = len([v for v in values(run, 2, "clear") if v is not None])
    assert 0 < done < count
    # Every answer that was judged is scored, and every one that is paid for is kept.
    assert done == scoring.done == Judgement.objects.count() == provider.stats()["total"]
    spent = Spending.objects.get()
    # One call at a time: the limit is passed by one call at most.
    assert 1_000 <= spent.tokens < 1_000 + 2 * spent.tokens / spent.samples

    with pytest.raises(Conflict, match="used up"):
        rescoring.resume(actor=SYSTEM, scoring=scoring)
    budgets.set_budget(actor=SYSTEM, max_tokens=1_000_000, **scope)
    rescoring.resume(actor=SYSTEM, scoring=scoring)
    rescoring.work()
    scoring.refresh_from_db()
    assert (scoring.state, scoring.done) == ("done", count)
    assert provider.stats()["total"] == count  # nothing was asked twice


def test_a_pair_of_which_one_half_was_asked_is_not_scored_before_the_other(
    provider: Provider,
) -> None:
    provider.set(answers={"": "VERDICT: DRAW"})
    judge = judge_at(provider.url, endpoint_max_concurrency=1)
    run = answered(revision(3, mode="pairwise"), *texts(3))
    judged(run, judge)
    a_call = Spending.objects.get().tokens // 6
    again = answered(revision(3, mode="pairwise"), *texts(3))
    budget(judge, max_tokens=6 * a_call + 3 * a_call - a_call // 2)
    scoring = judged(again, judge)
    assert scoring.state == "partial"
    asked = Judgement.objects.filter(scoring=scoring)
    pairs = [
        s for s in set(asked.values_list("sample_id", flat=True))
        if asked.filter(sample_id=s).count() == 2
    ]  # fmt: skip
    assert asked.count() == 3
    assert len(values(again, 2, "clear")) == len(pairs) == scoring.done == 1


def test_embeddings_are_charged_and_end_at_a_budget(provider: Provider) -> None:
    by = make_version(provider.url, label="embedder")
    budget(by, max_tokens=300)
    run = answered(revision(200), *(f"claim {i} of many words to count" for i in range(200)))
    scoring = rescoring.score_similarity(actor=SYSTEM, run=run, by_version=by)
    rescoring.work()
    scoring.refresh_from_db()
    assert scoring.state == "partial"
    assert 0 < scoring.done < 200
    assert scoring.done == len(values(run, 2, "near"))
    row = Spending.objects.get()
    assert (row.purpose, row.run_id) == ("embedding", None)
    assert row.tokens >= 300


def test_a_tried_case_counts_and_is_refused_when_the_budget_is_used_up(
    provider: Provider,
) -> None:
    user = make_user("administrator")
    version = make_version(provider.url)
    suite = revision(1)
    row = suite.cases.get()
    budget(version, max_tokens=1)

    def tried() -> Any:
        return trying.try_case(
            actor=user,
            model_version=version,
            revision=suite,
            suite=frame_of(suite.pk),
            case=case_of(row),
        )

    first = tried()
    spent = Spending.objects.get()
    assert (spent.purpose, spent.run_id) == ("tried", None)
    assert spent.tokens == first.prompt_tokens + first.completion_tokens
    with pytest.raises(Conflict, match="No case is tried"):
        tried()
    assert provider.stats()["total"] == 1
