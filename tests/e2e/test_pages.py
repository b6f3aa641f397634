"""Every page as those who work with it meet it: wide and narrow, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from apps.accounts.models import User
from tests.api.story import Story
from tests.e2e.conftest import ARTIFACTS, Stage, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PAGES: dict[str, Callable[[Story], str]] = {
    "overview": lambda s: "/",
    "versions": lambda s: "/versions/",
    "version": lambda s: f"/versions/{s.world.version.pk}/",
    "providers": lambda s: "/providers/",
    "provider": lambda s: f"/providers/{s.world.provider.slug}/",
    "use-cases": lambda s: "/use-cases/",
    "use-case": lambda s: f"/use-cases/{s.world.use_case.slug}/",
    "approval": lambda s: f"/approvals/{s.approval.number}/",
    "runs": lambda s: "/runs/",
    "run": lambda s: f"/runs/{s.after.pk}/",
    "run-new": lambda s: "/runs/new/",
    "suites": lambda s: "/suites/",
    "suite": lambda s: f"/suites/{s.revision.suite.slug}/",
    "suite-import": lambda s: "/suites/import/",
    "changes": lambda s: "/changes/",
    "change": lambda s: f"/changes/{s.change.number}/",
    "comparison": lambda s: f"/comparisons/{s.comparison.pk}/",
    "tickets": lambda s: "/tickets/",
    "ticket": lambda s: f"/tickets/{s.ticket.number}/",
    "history": lambda s: "/history/",
    "sessions": lambda s: "/sessions/",
    "people": lambda s: "/people/",
    "schedule-new": lambda s: "/schedules/new/",
}
# Not for a governance lead.
ADMINISTRATORS = {"people"}
# Known and not yet repaired: page -> axe rules. An entry that is no longer needed fails its test.
ALLOWED: dict[str, set[str]] = {}
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_answers_quietly_fits_a_phone_and_is_accessible(
    name: str, signed_in: Callable[[User], Visitor], stage: Stage
) -> None:
    world = stage.story.world
    who = signed_in(world.admin if name in ADMINISTRATORS else world.lead)
    page = who.page
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
    who.complaints.clear()

    assert who.go(PAGES[name](stage.story)) == 200
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

    unexpected = {rule: where for rule, where in found.items() if rule[0] not in allowed(name)}
    assert unexpected == {}
    assert allowed(name) == {rule for rule, _ in found}, "repaired: take it off ALLOWED"


def allowed(name: str) -> set[str]:
    return ALLOWED.get(name, set())


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
