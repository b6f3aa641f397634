"""A real server on a database of its own, and a real Chromium that looks at it.

Playwright's sync API keeps an event loop running in this thread, in which Django refuses to touch
the database: rows are made before the browser starts and looked at over `Stage.sql` afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.audit.tasks import sequence
from tests.api.story import Story, tell
from tests.fixtures.live import cloned, live_template, switched_to
from tests.world import PASSWORD, build_world

__all__ = ["live_template"]

expect.set_options(timeout=20_000)  # a busy machine, not a page that never gets there

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_BROWSER = (
    f"NO BROWSER TEST RAN: there is no Chromium on the PATH and none at {CHROMIUM}. The pages are "
    "untested in a browser (sign-in, accessibility, narrow screens) until one is installed."
)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if any(NO_BROWSER[:20] in str(report.longrepr) for report in skipped):
        terminalreporter.section("browser tests", sep="!", red=True, bold=True)
        terminalreporter.write_line(NO_BROWSER, red=True, bold=True)


WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@dataclass
class Stage:
    """The server's address, what is told there, and its database."""

    url: str
    database_url: str = field(repr=False)
    story: Story

    def sql(self, statement: str, *values: Any) -> int:
        """The number of rows that `statement` touched."""
        with psycopg.connect(self.database_url, autocommit=True) as link:
            return link.execute(statement, values).rowcount  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def stage(live_template: None, django_db_blocker: Any) -> Iterator[Stage]:
    if not Path(CHROMIUM).exists():
        if os.environ.get("PYTEST_XDIST_WORKER"):  # whose controller never loads this file
            warnings.warn(NO_BROWSER, stacklevel=1)
        pytest.skip(NO_BROWSER)
    with (
        cloned(django_db_blocker) as name,
        switched_to(name, django_db_blocker) as database_url,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Nobody works on the runs of the story.
        patch.setattr("apps.evaluations.wake.workers", lambda *a, **k: None)
        story = tell(build_world())
        sequence()
        server = LiveServer("127.0.0.1")
        try:
            yield Stage(server.url, database_url, story)
        finally:
            server.stop()


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Iterator[Browser]:
    """Ends before the stage is struck: see above."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield running
        finally:
            running.close()


@dataclass
class Visitor:
    """One browser of one person, and what its console complained about."""

    stage: Stage
    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> int:
        answer = self.page.goto(self.stage.url + path, wait_until="load")
        assert answer is not None, path
        return answer.status

    def sign_in(self, user: User) -> None:
        """At whichever page has the form now."""
        self.page.locator("input[name=login]").fill(user.email)
        self.page.locator("input[name=password]").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(re.compile(r"^(?!.*/account/login/)"))

    @property
    def heading(self) -> str:
        return " ".join(self.page.locator("h1").inner_text().split())

    @property
    def text(self) -> str:
        return " ".join(self.page.locator("main").inner_text().split())


def axe(visitor: Visitor, look: str) -> dict[tuple[str, str], list[str]]:
    """(rule, look) -> the elements that break it, and why."""
    answer = Axe().run(visitor.page)
    return {
        (str(rule["id"]), look): [
            f"{node['target']}: {node['html'][:160]} — {node['failureSummary'][:300]}"
            for node in rule["nodes"][:5]
        ]
        for rule in answer.response["violations"]
    }


def shoot(visitor: Visitor, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    visitor.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def look_at(who: Visitor, path: str, name: str, *, allowed: Set[str] = frozenset()) -> None:
    """The page as people meet it: wide and narrow, by day and by night; nothing complains, nothing
    scrolls sideways at 390 px, axe finds nothing but the `allowed` rules."""
    page = who.page
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
    who.complaints.clear()

    assert who.go(path) == 200
    assert "/account/" not in page.url
    assert page.locator("h1").count() == 1
    assert who.heading
    assert who.complaints == []

    shoot(who, f"{name}-1280-light")
    found = axe(who, "light at 1280")
    page.emulate_media(color_scheme="dark")
    shoot(who, f"{name}-1280-dark")

    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    found |= axe(who, "dark at 390")
    page.emulate_media(color_scheme="light")
    shoot(who, f"{name}-390-light")
    width = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], f"scrolls sideways: {width[0]} px in {width[1]} px"

    unexpected = {rule: where for rule, where in found.items() if rule[0] not in allowed}
    assert unexpected == {}
    assert allowed == {rule for rule, _ in found}, "repaired: take it off ALLOWED"


def new_visitor(browser: Browser, stage: Stage) -> tuple[BrowserContext, Visitor]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, reduced_motion="reduce", color_scheme="light"
    )
    context.set_default_timeout(45_000)
    visitor = Visitor(stage, context.new_page())
    visitor.page.on(
        "console",
        lambda message: (
            visitor.complaints.append(message.text)
            if message.type in ("error", "warning")
            else None
        ),
    )
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    return context, visitor


@pytest.fixture
def visitor(browser: Browser, stage: Stage) -> Iterator[Callable[..., Visitor]]:
    """`visitor()` is a fresh browser; `visitor(user)` has signed in through the form."""
    contexts: list[BrowserContext] = []

    def make(user: User | None = None) -> Visitor:
        context, made = new_visitor(browser, stage)
        contexts.append(context)
        if user is not None:
            made.go("/account/login/")
            made.sign_in(user)
        return made

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, stage: Stage) -> Iterator[Callable[[User], Visitor]]:
    """Signs a person in once for all pages of the module."""
    known: dict[Any, tuple[BrowserContext, Visitor]] = {}

    def enter(user: User) -> Visitor:
        if user.pk not in known:
            context, visitor = new_visitor(browser, stage)
            visitor.go("/account/login/")
            visitor.sign_in(user)
            known[user.pk] = context, visitor
        return known[user.pk][1]

    yield enter
    for context, _ in known.values():
        context.close()
