from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from apps.drift.models import ChangeEvent
from apps.registry import gate
from apps.registry.models import Approval, ApprovalState
from apps.tickets import services
from apps.tickets.models import ControlAction, Decision, Ticket, TicketState
from tests.tickets.story import Change, change, signed_in
from tests.web.acts import Person, first_line, words
from tests.world import World, approve

WHY = "The answers no longer match what was approved."


@pytest.fixture
def approval(world: World) -> Approval:
    return approve(world)


@pytest.fixture
def changed(world: World, approval: Approval) -> Change:
    return change(world, broken={"A1": 0.6})


@pytest.fixture
def ticket(changed: Change) -> Ticket:
    """Open and critical; the policy put the approval on hold and demands fresh sign-ins."""
    return changed.held_ticket()


def page(ticket: Ticket) -> str:
    return f"/tickets/{ticket.number}/"


def test_the_list_says_how_many_wait_and_whether_they_need_you(
    world: World, ticket: Ticket
) -> None:
    response = Person(world.owner).client.get("/tickets/")
    assert first_line(response) == "One ticket waits for a decision; one needs you."
    assert "assistant-instant" in words(response)


def test_the_list_without_tickets_leads_on_to_the_changes(world: World) -> None:
    assert "Nothing to decide" in Person(world.owner).get("/tickets/")


def test_the_list_costs_the_same_however_long_it_is(
    world: World, ticket: Ticket, django_assert_max_num_queries: Any
) -> None:
    event = ticket.change_event
    for number in range(100, 160):
        later = ChangeEvent.objects.create(
            number=number,
            model_version=event.model_version,
            state="closed",
            verdict=event.verdict,
            window_start=event.window_start,
            window_end=event.window_end,
            sentence="Answers are shorter.",
        )
        Ticket.objects.create(
            number=number,
            change_event=later,
            severity="low",
            severity_reason="Low.",
            policy=ticket.policy,
            due_at=ticket.due_at,
            assignee=world.owner,
        )
    owner = Person(world.owner)
    with django_assert_max_num_queries(20):
        text = owner.get("/tickets/")
    assert "1 to 50 of 61" in text
    with django_assert_max_num_queries(20):
        assert "1 to 50 of 61" in owner.get("/changes/", sort="number")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "decided"}, False),
        ({"state": "undecided", "severity": "critical"}, True),
        ({"owner": "me"}, True),
        ({"owner": "nobody"}, False),
        ({"q": "rt-1"}, True),
        ({"q": "no such version"}, False),
        ({"q": "9" * 40}, False),
        ({"state": "nonsense", "page": "x", "sort": "drop table"}, True),
        ({"q": "\x00"}, True),
    ],
)
def test_the_list_is_filtered_by_its_address(
    world: World, ticket: Ticket, query: dict[str, Any], found: bool
) -> None:
    assert ("RT-1 " in Person(world.owner).get("/tickets/", **query)) is found


def test_a_ticket_asks_its_question_first_and_tells_the_story(world: World, ticket: Ticket) -> None:
    services.comment(actor=world.owner, ticket=ticket, text="I asked the vendor.")
    response = Person(world.owner).client.get(page(ticket))
    assert first_line(response).startswith("Decide by ")
    assert "is assistant-instant still fit for Claims triage?" in first_line(response)
    text = words(response)
    assert "A1: Sorts claims correctly" in text
    assert "I asked the vendor." in text
    assert text.index("approval put on hold") < text.index("I asked the vendor.")
    assert "Claims triage: on hold" in text


def test_a_ticket_of_another_team_is_not_there(world: World, ticket: Ticket) -> None:
    outsider = Person(world.outsider)
    outsider.get(page(ticket), status=404)
    outsider.post(f"{page(ticket)}propose/", status=404, outcome="suspend", rationale=WHY)
    outsider.post(f"{page(ticket)}comment/", status=404, text="Hello.")
    assert not ticket.decisions.exists()


def test_a_number_beyond_the_database_is_not_there(world: World) -> None:
    Person(world.owner).get("/tickets/99999999999999999999/", status=404)


def test_an_auditor_sees_no_buttons_and_is_refused(world: World, ticket: Ticket) -> None:
    auditor = Person(world.auditor)
    html = auditor.client.get(page(ticket)).content.decode()
    assert "Your role may read this ticket, not decide it." in html
    for verb in ("propose", "comment", "assign", "reverse"):
        assert f"{verb}/" not in html
    for verb, data in (
        ("propose", {"outcome": "suspend", "rationale": WHY}),
        ("propose", {}),
        ("comment", {"text": "Hello."}),
        ("comment", {}),
        ("assign", {"assignee": str(world.owner.pk)}),
        ("assign", {"assignee": "nonsense"}),
    ):
        response = auditor.post(f"{page(ticket)}{verb}/", status=403, **data)
        assert "Your role does not allow this" in words(response)
    assert not ticket.decisions.exists()
    assert not ticket.comments.exists()


def test_two_people_decide_and_the_gate_follows(world: World, ticket: Ticket) -> None:
    lead, validator = Person(world.lead), Person(world.validator)
    response = lead.post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    assert response["Location"] == page(ticket)
    text = validator.get(page(ticket))
    assert "does a second person agree to “suspend”" in text
    assert "From this moment the gate denies assistant-instant to Claims triage." in text
    validator.post(f"{page(ticket)}confirm/", reason="Seen the pairs.")
    ticket.refresh_from_db()
    assert ticket.state == TicketState.DECIDED
    answer = gate.check(use_case=world.use_case, model_version=world.version)
    assert answer.answer == "deny"
    text = lead.get(page(ticket))
    assert "Decided for assistant-instant and Claims triage: suspend." in text
    assert "confirmed the proposal: suspend." in text


def test_the_proposer_cannot_confirm_and_reads_why(world: World, ticket: Ticket) -> None:
    lead = Person(world.lead)
    lead.post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    response = lead.post(f"{page(ticket)}confirm/", status=403, reason="")
    assert "You proposed this decision" in words(response)
    assert ticket.decisions.get().state == Decision.State.PROPOSED


def test_a_session_from_before_the_ticket_is_sent_to_sign_in_and_nothing_typed_is_lost(
    world: World, ticket: Ticket
) -> None:
    lead = Person(world.lead, ago=dt.timedelta(hours=1))
    response = lead.post(
        f"{page(ticket)}propose/", outcome="conditions", rationale=WHY, conditions="Read it first."
    )
    assert response["Location"].startswith("/account/reauthenticate/?next=%2Ftickets%2F")
    assert not ticket.decisions.exists()
    lead.proves_it()
    html = lead.client.get(page(ticket)).content.decode()
    assert WHY in html
    assert "Read it first." in html
    assert 'value="conditions" checked' in html
    lead.post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    assert "What you typed before" not in lead.get(page(ticket))


def test_a_confirmation_asks_for_a_fresh_sign_in_too(world: World, ticket: Ticket) -> None:
    services.propose_decision(
        auth=signed_in(world.owner), ticket=ticket, outcome="suspend", rationale=WHY
    )
    validator = Person(world.validator, ago=dt.timedelta(hours=1))
    response = validator.post(f"{page(ticket)}confirm/", reason="I read every pair.")
    assert "/reauthenticate/" in response["Location"]
    validator.proves_it()
    assert "I read every pair." in validator.get(page(ticket))
    assert ticket.decisions.get().state == Decision.State.PROPOSED


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"outcome": "", "rationale": WHY}, "This field is required."),
        ({"outcome": "explode", "rationale": WHY}, "Select a valid choice."),
        ({"outcome": "suspend", "rationale": "No."}, "“rationale” is too short."),
        ({"outcome": "conditions", "rationale": WHY}, "“conditions” is missing."),
        ({"outcome": "suspend", "rationale": "x\x00" + WHY}, "Null characters are not allowed."),
        (
            {"outcome": "reapprove", "rationale": WHY},
            "A1 of A-1 no longer holds (0.6 now) and is neither restated nor dropped.",
        ),
        (
            {"outcome": "reapprove", "rationale": WHY, "threshold_A1": "0.9"},
            "would be broken from its first day",
        ),
        (
            {"outcome": "reapprove", "rationale": WHY, "threshold_A1": "much"},
            "Enter a number.",
        ),
        (
            {"outcome": "reapprove", "rationale": WHY, "threshold_A1": "nan"},
            "Enter a number.",
        ),
    ],
)
def test_a_bad_proposal_is_explained_at_its_field_and_kept(
    world: World, ticket: Ticket, data: dict[str, Any], sentence: str
) -> None:
    response = Person(world.lead).post(f"{page(ticket)}propose/", status=400, **data)
    text = words(response)
    assert sentence in text
    if data["rationale"] == WHY:
        assert WHY in text
    assert not ticket.decisions.exists()


def test_a_reapproval_restates_what_broke(world: World, ticket: Ticket) -> None:
    Person(world.owner).post(
        f"{page(ticket)}propose/", outcome="reapprove", rationale=WHY, threshold_A1="0.5"
    )
    assert ticket.decisions.get().assumption_changes == [{"code": "A1", "threshold": 0.5}]
    assert "A1 → 0.5" in Person(world.validator).get(page(ticket))


def test_a_stale_form_is_shown_again_and_can_then_be_sent(world: World, ticket: Ticket) -> None:
    lead = Person(world.lead)
    old = ticket.row_version
    services.assign(actor=world.admin, ticket=ticket, assignee=world.validator)
    sent: dict[str, Any] = {"outcome": "suspend", "rationale": WHY}
    response = lead.post(f"{page(ticket)}propose/", status=412, row_version=old, **sent)
    assert "Somebody else changed this ticket since you opened it." in words(response)
    assert WHY in words(response)
    now = Ticket.objects.get(pk=ticket.pk).row_version
    assert f'name="row_version" value="{now}"' in response.content.decode()
    lead.post(f"{page(ticket)}propose/", row_version=now, **sent)
    assert ticket.decisions.exists()


def test_a_second_proposal_is_refused_with_the_reason(world: World, ticket: Ticket) -> None:
    Person(world.owner).post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    response = Person(world.lead).post(
        f"{page(ticket)}propose/", status=409, outcome="retire", rationale=WHY
    )
    assert "it would have to be open" in words(response)
    assert ticket.decisions.count() == 1


def test_only_the_proposal_that_was_read_is_confirmed(world: World, ticket: Ticket) -> None:
    owner = Person(world.owner)
    owner.post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    read = ticket.decisions.get()
    owner.post(f"{page(ticket)}withdraw/")
    owner.post(f"{page(ticket)}propose/", outcome="false_alarm", rationale=WHY)
    response = Person(world.validator).post(
        f"{page(ticket)}confirm/", status=409, decision=str(read.pk)
    )
    assert "The proposal that you read is no longer waiting." in words(response)
    ticket.refresh_from_db()
    assert ticket.state == TicketState.PROPOSED


def test_sending_back_needs_a_reason_and_opens_the_ticket_again(
    world: World, ticket: Ticket
) -> None:
    Person(world.owner).post(f"{page(ticket)}propose/", outcome="suspend", rationale=WHY)
    validator = Person(world.validator)
    response = validator.post(f"{page(ticket)}send-back/", status=400, reason=" ")
    assert "The proposal was not sent back. This field is required." in words(response)
    validator.post(f"{page(ticket)}send-back/", reason="Ask the vendor first.")
    ticket.refresh_from_db()
    assert ticket.state == TicketState.OPEN
    assert "Ask the vendor first." in validator.get(page(ticket))


def test_withdrawing_what_is_not_there_is_explained(world: World, ticket: Ticket) -> None:
    response = Person(world.owner).post(f"{page(ticket)}withdraw/", status=409)
    assert "There is no proposal to withdraw." in words(response)


def test_a_lead_assigns_and_an_owner_may_not(world: World, ticket: Ticket) -> None:
    lead = Person(world.lead)
    lead.post(f"{page(ticket)}assign/", assignee=str(world.validator.pk))
    ticket.refresh_from_db()
    assert ticket.assignee == world.validator
    response = lead.post(f"{page(ticket)}assign/", status=400, assignee=str(world.auditor.pk))
    assert "Select a valid choice." in words(response)
    Person(world.owner).post(f"{page(ticket)}assign/", status=403, assignee="")
    ticket.refresh_from_db()
    assert ticket.assignee == world.validator


def test_an_empty_comment_is_refused_beside_the_field(world: World, ticket: Ticket) -> None:
    response = Person(world.owner).post(f"{page(ticket)}comment/", status=400, text="  ")
    assert "This field is required." in words(response)


def test_markup_in_a_comment_stays_text(world: World, ticket: Ticket) -> None:
    owner = Person(world.owner)
    owner.post(f"{page(ticket)}comment/", text="<script>alert(1)</script>")
    html = owner.client.get(page(ticket)).content.decode()
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_lead_reverses_what_the_policy_did_with_a_reason(
    world: World, ticket: Ticket, approval: Approval
) -> None:
    held = ticket.control_actions.get(kind=ControlAction.Kind.HOLD_APPROVAL)
    path = f"{page(ticket)}controls/{held.pk}/reverse/"
    lead = Person(world.lead)
    assert "“reason” is missing." in words(lead.post(path, status=400, reason=""))
    lead.post(path, reason="Claims cannot wait; every letter is read by a person.")
    approval.refresh_from_db()
    assert approval.state == ApprovalState.APPROVED
    assert "Claims cannot wait" in lead.get(page(ticket))
    assert "This was reversed already." in words(lead.post(path, status=409, reason="Again."))
    lead.post(f"{page(ticket)}controls/{uuid.uuid4()}/reverse/", status=404, reason="None.")
    Person(world.owner).post(path, status=403, reason="Mine.")


@pytest.mark.parametrize("verb", ["propose", "confirm", "send-back", "withdraw", "comment"])
def test_acts_are_made_by_post_only(world: World, ticket: Ticket, verb: str) -> None:
    Person(world.lead).get(f"{page(ticket)}{verb}/", status=405)


def test_without_a_sign_in_every_page_leads_to_it(db: Any, client: Any) -> None:
    for path in ("/runs/", "/suites/", "/changes/", "/tickets/", "/history/", "/tickets/1/"):
        response = client.get(path)
        assert response.status_code == 302
        assert response["Location"].startswith("/account/login/")
