"""What people do: sign in, decide in twos, log a lost device out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Stage, Visitor
from tests.world import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Visitor]


def test_signing_in_leads_to_the_page_asked_for_and_the_overview_shows_what_needs_me(
    stage: Stage, visitor: Visit
) -> None:
    greta = visitor()
    greta.go("/")
    expect(greta.page).to_have_url(re.compile("/account/login/"))
    greta.sign_in(stage.story.world.lead)

    assert greta.page.url == f"{stage.url}/"
    assert greta.heading == "The one governed version needs you."
    need = greta.page.locator(".needs li", has_text="assistant-instant").first
    expect(need).to_contain_text("Critical severity".lower())
    need.get_by_role("link", name="Assess").click()
    expect(greta.page).to_have_url(f"{stage.url}/tickets/{stage.story.ticket.number}/")


def test_a_wrong_password_lets_nobody_in_and_says_so(stage: Stage, visitor: Visit) -> None:
    somebody = visitor()
    somebody.go("/account/login/")
    somebody.page.locator("input[name=login]").fill(stage.story.world.lead.email)
    somebody.page.locator("input[name=password]").fill("not-the-password-at-all")
    somebody.page.get_by_role("button", name="Sign in").click()

    expect(somebody.page.locator(".alert")).to_be_visible()
    somebody.go("/tickets/")
    expect(somebody.page).to_have_url(re.compile("/account/login/"))


def test_logging_another_device_out_takes_effect_at_its_next_request(
    stage: Stage, visitor: Visit
) -> None:
    auditor = stage.story.world.auditor
    lost, here = visitor(auditor), visitor(auditor)
    assert lost.go("/versions/") == 200
    expect(lost.page.locator("h1")).not_to_have_text("Sign in")

    here.go("/sessions/")
    assert here.heading == "You are signed in on 2 devices."
    here.page.locator("td").get_by_role("button", name="Log out").click()
    here.page.get_by_role("dialog").get_by_role("button", name="Log out").click()
    expect(here.page.locator("h1")).to_have_text("You are signed in on 1 device.")

    lost.go("/versions/")
    expect(lost.page).to_have_url(re.compile("/account/login/"))
    expect(lost.page.locator("body")).to_contain_text("You were signed out.")
    assert here.go("/versions/") == 200
    expect(here.page).to_have_url(f"{stage.url}/versions/")


def test_one_person_proposes_after_proving_afresh_who_they_are_and_another_decides(
    stage: Stage, visitor: Visit
) -> None:
    story = stage.story
    address = f"/tickets/{story.ticket.number}/"
    henrik = visitor(story.world.second_lead)
    touched = stage.sql(
        "UPDATE access_usersession SET authenticated_at = now() - interval '13 hours' "
        "WHERE user_id = %s",
        story.world.second_lead.pk,
    )
    assert touched == 1
    henrik.go(address)
    fill_in(henrik)
    expect(henrik.page.locator("h1")).to_have_text("Confirm that it is you")
    henrik.page.locator("input[name=password]").fill(PASSWORD)
    henrik.page.get_by_role("button", name="Confirm").click()

    # What was typed is still there, to be read again and sent.
    expect(henrik.page.locator("#decide [name=rationale]")).to_have_value(WHY)
    henrik.page.get_by_role("button", name="Propose the decision").click()
    expect(henrik.page.locator("#answer")).to_have_text("The proposal")
    # A lead may confirm, but nobody answers what they proposed themselves.
    assert henrik.page.get_by_role("button", name="Confirm…").count() == 0

    greta = visitor(story.world.lead)
    greta.go(address)
    expect(greta.page.locator("main")).to_contain_text(WHY)
    greta.page.get_by_role("button", name="Confirm…").click()
    greta.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()

    expect(greta.page.get_by_role("heading", name="The decision")).to_be_visible()
    expect(greta.page.get_by_label("State of the ticket")).to_contain_text("Decided")
    expect(greta.page.locator("main")).to_contain_text("confirmed by Greta Lead")
    greta.go(f"/approvals/{story.approval.number}/")
    expect(greta.page.locator("main")).to_contain_text("uspended")


WHY = "It answers in sentences now, and the claims desk cannot read them."


def fill_in(visitor: Visitor) -> None:
    visitor.page.locator("input[name=outcome][value=suspend]").check()
    visitor.page.locator("#decide [name=rationale]").fill(WHY)
    visitor.page.get_by_role("button", name="Propose the decision").click()


def test_an_assumption_is_added_and_removed_without_losing_what_was_typed(
    stage: Stage, visitor: Visit
) -> None:
    olga = visitor(stage.story.world.owner)
    olga.go(f"/approvals/new/?version={stage.story.world.version.pk}")
    page = olga.page
    page.locator("[name=rationale]").fill("As good as before.")
    page.locator("[name=assumption-0-sentence]").fill("The first sentence.")
    page.get_by_role("button", name="Add an assumption").click()
    page.locator("[name=assumption-1-sentence]").fill("The second sentence.")
    page.get_by_role("button", name="Remove assumption 1").click()
    expect(page.locator("#assumptions fieldset")).to_have_count(1)
    expect(page.locator("[name=assumption-0-sentence]")).to_have_value("The second sentence.")
    expect(page.locator("[name=rationale]")).to_have_value("As good as before.")
    assert olga.complaints == []
