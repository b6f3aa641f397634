"""Every page as those who work with it meet it: wide and narrow, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.accounts.models import User
from tests.api.story import Story
from tests.e2e.conftest import Stage, Visitor, look_at

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PAGES: dict[str, Callable[[Story], str]] = {
    "overview": lambda s: "/",
    "versions": lambda s: "/versions/",
    "version": lambda s: f"/versions/{s.world.version.pk}/",
    "version-compare": lambda s: f"/versions/{s.world.version.pk}/compare/",
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
    "suite-case": lambda s: f"/suites/{s.revision.suite.slug}/case/?case=c1",
    "suite-edit": lambda s: f"/suites/{s.revision.suite.slug}/edit/",
    "changes": lambda s: "/changes/",
    "change": lambda s: f"/changes/{s.change.number}/",
    "comparison": lambda s: f"/comparisons/{s.comparison.pk}/",
    "pair": lambda s: f"/pairs/{s.pair.pk}/",
    "tickets": lambda s: "/tickets/",
    "ticket": lambda s: f"/tickets/{s.ticket.number}/",
    "history": lambda s: "/history/",
    "sessions": lambda s: "/sessions/",
    "people": lambda s: "/people/",
    "person": lambda s: f"/people/{s.world.lead.pk}/",
    "approval-new": lambda s: f"/approvals/new/?version={s.world.version.pk}",
    "schedule-new": lambda s: "/schedules/new/",
    "version-new": lambda s: "/versions/new/",
    "provider-new": lambda s: "/providers/new/",
    "use-case-new": lambda s: "/use-cases/new/",
    "probes-none": lambda s: f"/versions/{s.world.version.pk}/probes/",
}
# Not for a governance lead.
ADMINISTRATORS = {"people", "person"}
# Known and not yet repaired: page -> axe rules. An entry that is no longer needed fails its test.
ALLOWED: dict[str, set[str]] = {}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_answers_quietly_fits_a_phone_and_is_accessible(
    name: str, signed_in: Callable[[User], Visitor], stage: Stage
) -> None:
    world = stage.story.world
    who = signed_in(world.admin if name in ADMINISTRATORS else world.lead)
    look_at(who, PAGES[name](stage.story), name, allowed=ALLOWED.get(name, set()))
