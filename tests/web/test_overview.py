"""The overview: what needs me now, and how every governed version stands."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client

from apps.core import clock
from apps.evaluations.models import Run, RunState
from apps.registry import gate
from tests.fixtures.pages import heading, page, signed_in
from tests.tickets.story import change, finished_run
from tests.world import World, approve, person

pytestmark = pytest.mark.django_db


def test_nothing_needs_the_owner_of_a_quiet_version(client: Client, world: World) -> None:
    client.force_login(world.owner)
    assert heading(client, "/") == "The one governed version needs nothing from you."


def test_a_ticket_says_which_version_needs_me_and_by_when(client: Client, world: World) -> None:
    approve(world)
    ticket = change(world).held_ticket()
    world.another_version()
    client.force_login(world.lead)
    text = page(client, "/")
    assert heading(client, "/") == "One of two governed versions needs you."
    assert "Claims triage · assistant-instant" in text
    assert f"ticket {ticket}" in text
    assert "Assess" in text
    assert "on hold" in text


def test_a_request_waits_for_the_validator_and_not_for_its_author(world: World) -> None:
    approval = world.request()
    assert f"{approval} · tier 1" in page(signed_in(world.validator), "/")
    assert "waits for your decision" not in page(signed_in(world.owner), "/")


def test_an_approval_that_ends_soon_offers_renewal_to_who_may_ask(world: World) -> None:
    approve(world, expires_at=clock.now() + dt.timedelta(days=9))
    text = page(signed_in(world.owner), "/")
    assert "ends soon" in text
    assert f"/approvals/new/?version={world.version.pk}" in text
    assert "/approvals/new/" not in page(signed_in(world.auditor), "/")


def test_a_failed_run_is_forgotten_after_a_later_success(client: Client, world: World) -> None:
    story = change(world)
    failed = finished_run(world.version, story.revision, right=True, ago=dt.timedelta(0))
    Run.objects.filter(pk=failed.pk).update(state=RunState.FAILED, state_reason="401 everywhere.")
    client.force_login(world.owner)
    assert "401 everywhere." in page(client, "/")
    finished_run(world.version, story.revision, right=True, ago=dt.timedelta(0))
    assert "401 everywhere." not in page(client, "/")


def test_a_brand_new_product_leads_an_administrator_to_the_first_provider(client: Client) -> None:
    client.force_login(person("Ada", "Admin", "administrator"))
    text = page(client, "/")
    assert heading(client, "/") == "Nothing is governed yet."
    assert 'href="/providers/new/"' in text
    assert "(done)" not in text


def test_steps_tick_themselves(client: Client, world: World) -> None:
    client.force_login(world.owner)
    assert page(client, "/").count("(done)") == 2  # provider with endpoint, version
    world.request()
    assert page(client, "/").count("(done)") == 4  # a suite, a request


def test_somebody_without_a_role_sees_nothing(world: World) -> None:
    approve(world)
    text = page(signed_in(world.outsider), "/")
    assert "You have no role yet" in text
    assert "assistant-instant" not in text


def test_whoever_is_not_signed_in_is_sent_to_sign_in(client: Client, world: World) -> None:
    answer = client.get("/")
    assert answer.status_code == 302
    assert "/account/login/" in answer["Location"]


def test_lists_and_calls_get_the_same_answer_from_the_gate(world: World) -> None:
    approve(world)
    use_case = world.another_use_case("kyc", risk_tier=3)
    world.request(use_case=use_case)
    held = world.another_version()
    from apps.registry import services

    services.hold_approval(actor=world.lead, approval=approve(world, version=held), reason="Wait.")
    for version, answers in gate.check_many([world.version, held]).items():
        assert answers
        for answer in answers:
            called = gate.check(use_case=answer.use_case, model_version=answer.model_version)
            assert answer.model_version.pk == version
            assert (called.answer, called.reason) == (answer.answer, answer.reason)


def test_sixty_versions_cost_as_many_queries_as_one(
    client: Client, world: World, django_assert_max_num_queries: object
) -> None:
    for number in range(60):
        world.another_version(f"bulk-{number:02d}", requested_name=f"bulk-{number}")
    client.force_login(world.lead)
    client.get("/")
    with django_assert_max_num_queries(45):  # type: ignore[operator]
        text = page(client, "/")
    assert "1–50 of 61" in text
    assert "51–61 of 61" in page(client, "/?page=2")
    assert "51–61 of 61" in page(client, "/?page=999")
