"""Pages of people's own work: scorings, blind reviews, money, schedules, revisions of a suite.

The rating itself is done in the browser, by two people who do not see each other's ratings.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from apps.accounts.models import User
from apps.core import clock
from apps.drift import probing
from apps.drift import services as drift
from apps.drift.models import Probe, ProbeRound
from apps.evaluations import budgets, prices, reviews, services, suitefile
from apps.evaluations.models import Budget, Review, Run
from apps.registry.models import ModelVersion
from tests.api.story import SUITE
from tests.drift.story import run_of
from tests.drift.story import suite as drift_suite
from tests.e2e.conftest import Stage, Visitor, look_at
from tests.evaluations.scoring.story import answered, revision
from tests.world import World

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@dataclass
class Work:
    run: Run
    review: Review
    pairs: Review
    watched: ModelVersion


@pytest.fixture(scope="module", autouse=True)
def work(stage: Stage) -> Work:
    """Autouse, so that its rows are made before the browser starts."""
    world = stage.story.world
    suite = revision(3, slug="letters", name="Letters to policyholders")
    texts = (
        "We will send an adjuster on Tuesday.",
        "Your motor claim was received.\nNothing else is known yet.",
        "Please call us, and have the number of the claim at hand.",
    )
    run = answered(suite, *texts, version=world.version)
    before = answered(suite, *(text.upper() for text in texts), version=world.version)
    review = reviews.start_review(actor=world.lead, run=run, metric_key="clear")
    pairs = reviews.start_review(
        actor=world.lead, run=run, other_run=before, question="Which letter is the clearer one?"
    )
    prices.import_prices(
        actor=world.lead,
        prices=[
            prices.NewPrice(
                provider=world.provider.slug,
                model_name="assistant-instant",
                currency="USD",
                prompt_per_million=Decimal("0.5"),
                completion_per_million=Decimal("1.5"),
                valid_from=clock.now() - dt.timedelta(days=30),
                source="The provider's list of November",
            )
        ],
    )
    budgets.set_budget(
        actor=world.lead, provider=world.provider, period=Budget.Period.MONTH, max_tokens=100_000
    )
    cases = [
        {**SUITE["cases"][0], "expect": "house"},
        {"id": "c3", "vars": {"claim": "A stolen bicycle"}, "expect": "property"},
    ]
    document = json.dumps({**SUITE, "cases": cases}).encode()
    services.import_suite(
        actor=world.owner,
        suite=suitefile.parse_suite_bytes(document, filename="suite.json"),
    )
    return Work(run, review, pairs, _watched(world))


def _watched(world: World) -> ModelVersion:
    """A version whose reruns and probes began to differ a day ago."""
    version = world.another_version()
    revision = drift_suite("watched", name="Letters, watched")
    first = run_of(version, revision, purpose="baseline", replicates=3)
    at_days_ago(first, 12)
    drift.create_baseline(
        actor=world.owner, model_version=version, suite_revision=revision, runs=[first]
    )
    for days in (9, 6, 3, 1):
        run = run_of(version, revision, seed=days, changed=days == 1)
        comparison = drift.compare_run(run=run)
        assert comparison is not None
        at_days_ago(run, days)
    drift.open_or_extend_change_event(comparison=comparison)
    for probe in probing.start_probes(
        actor=world.owner, model_version=version, kinds=("identity", "logprob", "border")
    ):
        alarmed = {"alarmed_at": clock.now(), "max_log_e": 6.5} if probe.kind == "logprob" else {}
        Probe.objects.filter(pk=probe.pk).update(
            phase="watching",
            rounds=12,
            next_due_at=clock.now() + dt.timedelta(hours=9),
            created_at=clock.now() - dt.timedelta(days=12),
            **alarmed,
        )
        for number in range(1, 13):
            at = clock.now() - dt.timedelta(days=12 - number, hours=2 * number)
            log_e = 6.5 if probe.kind == "logprob" and number == 12 else 0.1 * (number % 4)
            ProbeRound.objects.create(
                probe=probe,
                number=number,
                due_at=at,
                phase="reference" if number < 4 else "watching",
                asked=20,
                answered=20,
                tokens=193,
                latency_ms=40.0 + number,
                at_once=(1, 2, 4)[number % 3],
                log_e=log_e,
                max_log_e=log_e,
                started_at=at,
                finished_at=at,
            )
    return version


def at_days_ago(run: Run, days: int) -> None:
    at = clock.now() - dt.timedelta(days=days)
    Run.objects.filter(pk=run.pk).update(created_at=at, started_at=at, finished_at=at)
    run.refresh_from_db()


def _between(version: ModelVersion) -> str:
    old, new = (f"{clock.now() - dt.timedelta(days=d):%Y-%m-%dT%H:%M}" for d in (5, 0))
    return f"/versions/{version.pk}/compare/?from={old}&to={new}"


PAGES: dict[str, Callable[[Stage, Work], str]] = {
    "probes": lambda s, w: f"/versions/{w.watched.pk}/probes/",
    "version-watched": lambda s, w: f"/versions/{w.watched.pk}/",
    "version-between": lambda s, w: _between(w.watched),
    "run-scorings": lambda s, w: f"/runs/{w.run.pk}/",
    "scoring-new": lambda s, w: f"/runs/{w.run.pk}/scorings/new/",
    "review-new": lambda s, w: f"/runs/{w.run.pk}/reviews/new/",
    "reviews": lambda s, w: "/reviews/",
    "review": lambda s, w: f"/reviews/{w.review.pk}/",
    "review-rate": lambda s, w: f"/reviews/{w.review.pk}/rate/",
    "review-pairs": lambda s, w: f"/reviews/{w.pairs.pk}/rate/",
    "money": lambda s, w: "/money/",
    "schedules": lambda s, w: "/schedules/",
    "schedule": lambda s, w: f"/schedules/{s.story.schedule.pk}/",
    "suite-compare": lambda s, w: "/suites/claims-triage/compare/?revision=2&against=1",
}

# A governance lead rates nothing.
RATERS = {"review-rate", "review-pairs"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_work_answers_quietly_fits_a_phone_and_is_accessible(
    name: str, signed_in: Callable[[User], Visitor], stage: Stage, work: Work
) -> None:
    world = stage.story.world
    who = signed_in(world.validator if name in RATERS else world.lead)
    look_at(who, PAGES[name](stage, work), name)


def test_two_people_rate_blind_and_side_by_side_and_the_page_says_how_far_they_agree(
    signed_in: Callable[[User], Visitor], stage: Stage, work: Work
) -> None:
    world = stage.story.world
    for user in (world.owner, world.validator):
        who = signed_in(user)
        who.page.set_viewport_size({"width": 1280, "height": 800})
        assert who.go(f"/reviews/{work.pairs.pk}/rate/") == 200
        for left in (3, 2, 1):
            # Blind: neither the run nor the version is named beside an answer.
            assert str(work.run.pk)[:8] not in who.text
            assert world.version.label not in who.text
            buttons = who.page.locator("main form button[name=says]")
            assert buttons.count() == 3, (left, who.text)
            buttons.first.click()
            who.page.wait_for_load_state("load")
    who.go(f"/reviews/{work.pairs.pk}/")
    expect(who.page.locator("main")).to_contain_text("agree")
    assert stage.sql("SELECT 1 FROM evaluations_rating") == 6
