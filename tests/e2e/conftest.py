"""A real server on a database of its own, and a real Chromium that looks at it.

Playwright's sync API keeps an event loop running in this thread, in which Django refuses to touch
the database: rows are made before the browser starts and looked at over `Stage.sql` afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.audit.tasks import sequence
from tests.api.story import Story, tell
from tests.fixtures.live import cloned, live_template, switched_to
from tests.world import PASSWORD, build_world

__all__ = ["live_template"]

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


def new_visitor(browser: Browser, stage: Stage) -> tuple[BrowserContext, Visitor]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, reduced_motion="reduce", color_scheme="light"
    )
    context.set_default_timeout(15_000)
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
            known[user.pk] = new_visitor(browser, stage)
            known[user.pk][1].go("/account/login/")
            known[user.pk][1].sign_in(user)
        return known[user.pk][1]

    yield enter
    for context, _ in known.values():
        context.close()
