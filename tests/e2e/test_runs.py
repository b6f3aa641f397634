"""A run from its form to its end, with real calls: a local provider, a Celery worker and a beat."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.evaluations import services
from apps.registry.models import Endpoint
from tests.e2e.conftest import Stage, Visitor, shoot
from tests.faults.stack import Stack, broker_for
from tests.fixtures.evaluations import make_suite
from tests.fixtures.provider import Provider

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
CASES = 40
FAST, SLOW = 0.02, 0.4


@pytest.fixture(scope="module", autouse=True)
def provider(stage: Stage, tmp_path_factory: Any) -> Iterator[Provider]:
    """Autouse, so that its rows are made before the browser starts."""
    world = stage.story.world
    with Provider(latency=SLOW, models=["assistant-instant"]) as running:
        Endpoint.objects.filter(pk=world.endpoint.pk).update(
            base_url=running.url, max_concurrency=4
        )
        services.import_suite(
            actor=world.owner, suite=make_suite(CASES, slug="forty", name="Forty")
        )
        broker = broker_for(
            os.environ["REDIS_URL"], os.environ.get("PYTEST_XDIST_WORKER", "master")
        )
        stack = Stack(stage.database_url, broker, tmp_path_factory.mktemp("stack"))
        try:
            stack.worker()
            stack.beat()
            yield running
        finally:
            stack.stop()


@pytest.fixture
def olga(signed_in: Callable[[User], Visitor], stage: Stage, provider: Provider) -> Visitor:
    provider.set(latency=SLOW, faults=[], answers={})
    return signed_in(stage.story.world.owner)


def start(who: Visitor) -> Page:
    """By the form; the page of the new run."""
    who.go("/runs/new/?suite=forty")
    page = who.page
    # The story has one version: there is nothing to choose.
    expect(page.locator("[name=version] option:checked")).to_contain_text("assistant-instant")
    expect(page.locator("[name=suite] option:checked")).to_contain_text("Forty, revision 1")
    page.get_by_role("button", name="Estimate first").click()
    expect(page.locator("main").get_by_role("status")).to_contain_text(f"About {CASES} calls")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/$"))
    return page


def sentence(page: Page, text: str, seconds: float = 40) -> None:
    expect(page.locator("#run-sentence")).to_contain_text(text, timeout=1000 * seconds)


def done(page: Page) -> int:
    return int(page.locator("#run-progress progress").first.evaluate("bar => bar.value"))


def complete(page: Page, answers: int = CASES) -> None:
    sentence(page, f"All {answers} answers are in")


def test_a_run_is_followed_live_paused_resumed_and_complete(
    olga: Visitor, provider: Provider
) -> None:
    page = start(olga)
    sentence(page, "is on its way")
    page.evaluate("window.sameDocument = true")
    first = done(page)
    page.wait_for_function(
        "n => document.querySelector('#run-progress progress').value >= n + 3", arg=first
    )
    assert page.evaluate("window.sameDocument"), "the page was loaded again instead of by htmx"
    expect(page.get_by_role("heading", name="Newest answers")).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    sentence(page, "is paused")
    expect(page.locator("main")).to_contain_text("Paused. Calls that were under way are kept.")
    time.sleep(1.5)
    calls = provider.stats()["total"]
    time.sleep(1.5)
    assert provider.stats()["total"] == calls < CASES

    provider.set(latency=FAST)
    page.get_by_role("button", name="Resume").click()
    complete(page)
    assert provider.stats()["total"] == CASES, "an answer was asked for twice"
    assert olga.complaints == []
    shoot(olga, "run-complete-1280-light")


def test_a_run_is_cancelled_only_after_saying_why(olga: Visitor) -> None:
    page = start(olga)
    sentence(page, "is on its way")
    page.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("the run can never be completed or compared")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(dialog).to_be_visible()  # the browser asks for the reason first
    dialog.locator("[name=reason]").fill("The wrong suite.")
    dialog.get_by_role("button", name="Cancel the run").click()

    sentence(page, "was cancelled with")
    expect(page.locator("main")).to_contain_text("The wrong suite.")
    for act in ("Pause", "Resume", "Cancel…", "More replicates…"):
        expect(page.get_by_role("button", name=act)).to_have_count(0)


def test_what_failed_is_retried_every_case_is_extended_and_the_answers_become_the_baseline(
    olga: Visitor, provider: Provider
) -> None:
    provider.set(latency=FAST)
    provider.fail("status", status=500, match="Case c7:")
    page = start(olga)
    sentence(page, f"{CASES - 1} of {CASES} slots have an answer")
    expect(page.locator("#run-progress")).to_contain_text("1 failed")

    provider.heal()
    page.get_by_role("button", name="Retry what failed").click()
    sentence(page, f"{CASES} of {CASES + 1} slots have an answer")

    page.get_by_role("button", name="More replicates…").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("[name=replicates]").fill("1")
    dialog.get_by_role("button", name="Take more").click()
    sentence(page, f"{2 * CASES} of {2 * CASES + 1} slots have an answer")
    expect(page.locator("#answers")).to_be_visible()

    page.get_by_role("button", name="Use as baseline…").click()
    page.get_by_role("dialog").get_by_role("button", name="Make it the baseline").click()
    sentence(page, "they are the baseline of assistant-instant on Forty")
    expect(page.get_by_role("button", name="Use as baseline…")).to_have_count(0)
    assert olga.complaints == []
