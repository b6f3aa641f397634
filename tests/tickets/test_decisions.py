"""What becomes of a changed model: one proposes, another confirms, then everything follows."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import Role, RoleAssignment, User
from apps.audit.models import AuditEvent
from apps.core.errors import (
    Conflict,
    GovTrackError,
    InvalidInput,
    NotAllowed,
    NotFound,
    ReauthenticationRequired,
    StaleVersion,
)
from apps.drift.models import Baseline, ChangeEvent
from apps.drift.selectors import why_not_compared
from apps.drift.services import compare_run, create_baseline
from apps.evaluations.models import Run
from apps.registry import gate
from apps.registry.models import Approval, ApprovalState
from apps.registry.services import hold_approval, revoke_approval
from apps.tickets import selectors, services
from apps.tickets.lifecycle import moves_for
from apps.tickets.models import ControlAction, Decision, Ticket, TicketState
from tests.drift.story import forget, run_of
from tests.fixtures.pages import page
from tests.fixtures.pages import signed_in as browser
from tests.tickets.story import Change, change, signed_in
from tests.world import World, approve, build_world, person

S = ApprovalState
RESTATED = [{"code": "A1", "threshold": 0.55}]


@pytest.fixture
def ticket(changed: Change) -> Ticket:
    return changed.held_ticket()


def ask(world: World) -> gate.GateAnswer:
    return gate.check(use_case=world.use_case, model_version=world.version)


def propose(ticket: Ticket, by: User, outcome: str = "suspend", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "auth": signed_in(by),
        "ticket": ticket,
        "outcome": outcome,
        "rationale": "Looked at the pairs with the process owner.",
    }
    return services.propose_decision(**values | changes)


def confirm(decision: Decision, by: User, **changes: Any) -> Decision:
    return services.confirm_decision(auth=signed_in(by), decision=decision, **changes)


def now(obj: Any) -> Any:
    return type(obj).objects.get(pk=obj.pk)


def moves(ticket: Ticket, user: User) -> set[str]:
    return {m.name for m in moves_for(now(ticket), user)} - {"comment", "assign"}


# Two people


def test_one_proposes_another_confirms(world: World, ticket: Ticket) -> None:
    decision = propose(ticket, world.lead)
    assert (now(ticket).state, ask(world).answer) == (TicketState.PROPOSED, "hold")
    confirm(decision, world.validator, reason="Seen the pairs, too.")
    decision = now(decision)
    assert (decision.state, decision.answered_by) == (Decision.State.CONFIRMED, world.validator)
    assert decision.answer_reason == "Seen the pairs, too."
    assert now(ticket).state == TicketState.DECIDED
    assert now(ticket).decided_at is not None


def test_the_proposer_cannot_confirm_nor_send_back(world: World, ticket: Ticket) -> None:
    decision = propose(ticket, world.lead)
    with pytest.raises(NotAllowed, match="somebody else"):
        confirm(decision, world.lead)
    with pytest.raises(NotAllowed, match="somebody else"):
        services.send_back_decision(
            auth=signed_in(world.lead), decision=decision, reason="Thought again."
        )
    assert now(ticket).state == TicketState.PROPOSED


@pytest.mark.parametrize(("who", "error"), [("auditor", NotAllowed), ("outsider", NotFound)])
def test_who_only_reads_can_neither_propose_nor_confirm(
    world: World, ticket: Ticket, who: str, error: type[GovTrackError]
) -> None:
    reader = getattr(world, who)
    with pytest.raises(error):
        propose(ticket, reader)
    decision = propose(ticket, world.lead)
    for verb in (
        lambda: confirm(decision, reader),
        lambda: services.send_back_decision(
            auth=signed_in(reader), decision=decision, reason="I do not like it."
        ),
        lambda: services.withdraw_decision(auth=signed_in(reader), decision=decision),
    ):
        with pytest.raises(error):
            verb()
    assert now(ticket).state == TicketState.PROPOSED


def test_an_owner_proposes_but_does_not_confirm(world: World, ticket: Ticket) -> None:
    decision = propose(ticket, world.owner)
    assert now(decision).proposed_by == world.owner
    other = propose_after_withdrawal(world, ticket, decision)
    with pytest.raises(NotAllowed, match="governance lead or validator"):
        confirm(other, world.owner)


def propose_after_withdrawal(world: World, ticket: Ticket, decision: Decision) -> Decision:
    services.withdraw_decision(auth=signed_in(world.owner), decision=decision)
    return propose(ticket, world.lead)


def test_back_into_use_needs_somebody_independent_of_the_owners(world: World) -> None:
    both = person("Bo", "Both", Role.VALIDATOR)
    RoleAssignment.objects.create(user=both, role=Role.MODEL_OWNER)
    version = world.another_version(owner=both)
    approve(world, version=version)
    ticket = change(world, version=version).held_ticket()
    decision = propose(ticket, world.lead, "false_alarm")
    with pytest.raises(NotAllowed, match="independent of the owners"):
        confirm(decision, both)
    assert "confirm" not in moves(ticket, both)
    services.withdraw_decision(auth=signed_in(world.lead), decision=decision)
    # To stop its use, the owner's second look is good enough.
    confirm(propose(ticket, world.lead, "suspend"), both)


def test_two_people_who_confirm_at_once_confirm_once(live_db: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        world = build_world()
        approve(world)
        ticket = change(world, broken={"A1": 0.6}).held_ticket()
        decision = propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED)
        start = threading.Barrier(2)
        outcomes: list[str] = []

        def press(user: User) -> None:
            start.wait(10)
            try:
                confirm(decision, user)
                outcomes.append("confirmed")
            except GovTrackError as error:
                outcomes.append(error.code)
            finally:
                connection.close()

        threads = [
            threading.Thread(target=press, args=(user,)) for user in (world.lead, world.validator)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["confirmed", "conflict"]
        assert Approval.objects.count() == 2


# Fresh sign-ins


def test_an_older_session_signs_in_afresh_before_it_proposes_or_confirms(
    world: World, changed: Change
) -> None:
    old = signed_in(world.lead, ago=dt.timedelta(minutes=5))
    ticket = changed.held_ticket()
    with pytest.raises(ReauthenticationRequired):
        propose(ticket, world.lead, auth=old)
    decision = propose(ticket, world.owner)
    with pytest.raises(ReauthenticationRequired):
        services.confirm_decision(auth=old, decision=decision)
    confirm(decision, world.lead)


# State


def test_only_one_proposal_waits_at_a_time(world: World, ticket: Ticket) -> None:
    propose(ticket, world.lead)
    with pytest.raises(Conflict, match="RT-1 is in the state “decision proposed”"):
        propose(ticket, world.validator)
    assert ticket.decisions.count() == 1


def test_an_answered_proposal_is_answered_for_good(world: World, ticket: Ticket) -> None:
    decision = propose(ticket, world.lead)
    confirm(decision, world.validator)
    for verb in (
        lambda: confirm(decision, world.second_lead),
        lambda: services.send_back_decision(
            auth=signed_in(world.second_lead), decision=decision, reason="Too late."
        ),
        lambda: services.withdraw_decision(auth=signed_in(world.lead), decision=decision),
    ):
        with pytest.raises(Conflict, match="confirmed already"):
            verb()
    with pytest.raises(Conflict):
        propose(ticket, world.lead)


def test_a_proposal_goes_back_with_a_reason_and_another_may_follow(
    world: World, ticket: Ticket
) -> None:
    decision = propose(ticket, world.lead)
    with pytest.raises(InvalidInput):
        services.send_back_decision(auth=signed_in(world.validator), decision=decision, reason=" ")
    services.send_back_decision(
        auth=signed_in(world.validator), decision=decision, reason="Look at the JSON suite first."
    )
    assert (now(decision).state, now(ticket).state) == (Decision.State.REJECTED, TicketState.OPEN)
    assert propose(ticket, world.lead).pk != decision.pk


def test_only_the_proposer_withdraws(world: World, ticket: Ticket) -> None:
    decision = propose(ticket, world.lead)
    with pytest.raises(NotAllowed, match="Only the person who proposed"):
        services.withdraw_decision(auth=signed_in(world.validator), decision=decision)
    services.withdraw_decision(auth=signed_in(world.lead), decision=decision)
    assert (now(decision).state, now(ticket).state) == (Decision.State.WITHDRAWN, TicketState.OPEN)


def test_a_stale_form_proposes_nothing(world: World, ticket: Ticket) -> None:
    read = now(ticket).row_version
    services.assign(actor=world.lead, ticket=ticket, assignee=world.validator)
    with pytest.raises(StaleVersion):
        propose(ticket, world.lead, row_version=read)
    assert not ticket.decisions.exists()


@pytest.mark.parametrize(
    ("change_of_input", "field"),
    [
        ({"outcome": "shrug"}, "outcome"),
        ({"outcome": None}, "outcome"),
        ({"rationale": "too short"}, "rationale"),
        ({"rationale": "a\x00" * 10}, "rationale"),
        ({"outcome": "conditions"}, "conditions"),
        ({"outcome": "conditions", "conditions": " "}, "conditions"),
        ({"outcome": "reapprove"}, "assumption_changes"),
        ({"outcome": "reapprove", "assumption_changes": "A1"}, "assumption_changes"),
        ({"outcome": "reapprove", "assumption_changes": [7]}, "assumption_changes[0]"),
    ],
)
def test_a_proposal_that_cannot_be_names_its_field_and_writes_nothing(
    world: World, ticket: Ticket, change_of_input: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        propose(ticket, world.lead, **change_of_input)
    assert caught.value.field == field
    assert not ticket.decisions.exists()
    assert now(ticket).state == TicketState.OPEN


# Outcomes


def test_re_approval_renews_baseline_and_assumptions_and_opens_the_gate(
    world: World, approval: Approval, changed: Change, ticket: Ticket
) -> None:
    decision = propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED)
    confirm(decision, world.lead)
    new = Approval.objects.get(supersedes=approval)
    assert (now(approval).state, new.state) == (S.SUPERSEDED, S.APPROVED)
    assert (new.requested_by, new.approved_by) == (world.owner, world.lead)
    assert new.assumptions.get(code="A1").threshold == 0.55
    assert new.assumptions.count() == 3
    assert ask(world).answer == "allow"
    assert ask(world).approval == new
    assert now(changed.event).state == ChangeEvent.State.CLOSED
    assert now(changed.baseline).retired_at is not None
    baseline = Baseline.objects.get(retired_at__isnull=True)
    assert list(baseline.runs.all()) == [changed.rerun]
    assert new.baseline_links.get().baseline == baseline


def test_a_broken_assumption_must_be_restated_or_dropped(
    world: World, changed: Change, ticket: Ticket
) -> None:
    changed.breaks("A2", 55.0)
    with pytest.raises(InvalidInput) as caught:
        propose(ticket, world.lead, "reapprove", assumption_changes=[{"code": "A2", "drop": True}])
    assert "A1 of A-1 no longer holds (0.6 now)" in caught.value.message
    assert [p["field"] for p in caught.value.problems] == ["assumption_changes.A1"]
    changes = [*RESTATED, {"code": "A2", "drop": True}]
    assert propose(ticket, world.lead, "reapprove", assumption_changes=changes)


def test_a_restated_threshold_must_hold_now(world: World, ticket: Ticket) -> None:
    with pytest.raises(InvalidInput, match=r"broken from its first day: it is 0\.6 now"):
        propose(
            ticket, world.lead, "reapprove", assumption_changes=[{"code": "A1", "threshold": 0.7}]
        )


def test_a_change_of_an_assumption_that_is_not_there_is_named(world: World, ticket: Ticket) -> None:
    with pytest.raises(InvalidInput, match="no assumption A7"):
        propose(
            ticket,
            world.lead,
            "reapprove",
            assumption_changes=[*RESTATED, {"code": "A7", "threshold": 1}],
        )


def test_what_broke_after_the_proposal_stops_the_re_approval(
    world: World, changed: Change, ticket: Ticket
) -> None:
    decision = propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED)
    changed.breaks("A2", 55.0)
    with pytest.raises(InvalidInput, match="A2 of A-1"):
        confirm(decision, world.lead)
    assert (now(decision).state, now(ticket).state) == ("proposed", TicketState.PROPOSED)
    assert ask(world).answer == "hold"


def test_without_a_run_since_the_change_nothing_is_re_approved(
    world: World, approval: Approval, changed: Change, ticket: Ticket
) -> None:
    Run.objects.filter(pk=changed.rerun.pk).update(state="failed")
    decision = propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED)
    with pytest.raises(Conflict, match="has not been run since the change") as caught:
        confirm(decision, world.lead)
    assert "baseline run" in caught.value.remedy
    assert (now(approval).state, now(ticket).state) == (S.ON_HOLD, TicketState.PROPOSED)
    assert now(changed.baseline).retired_at is None


def test_each_touched_approval_is_renewed_with_its_own_changes(
    world: World, approval: Approval
) -> None:
    mail = approve(world, use_case=world.another_use_case("mail", risk_tier=3))
    found = change(world)
    found.breaks("A1", 0.6, approval)
    found.breaks("A1", 0.6, mail)
    ticket = found.held_ticket()
    with pytest.raises(InvalidInput, match="A1 of A-2"):
        propose(
            ticket,
            world.owner,
            "reapprove",
            assumption_changes=[{"code": "A1", "threshold": 0.55, "approval": "A-1"}],
        )
    changes = [
        {"code": "A1", "threshold": 0.55, "approval": "A-1"},
        {"code": "A1", "threshold": 0.4, "approval": "A-2"},
    ]
    confirm(propose(ticket, world.owner, "reapprove", assumption_changes=changes), world.lead)
    thresholds = {
        str(a.supersedes): a.assumptions.get(code="A1").threshold
        for a in Approval.objects.filter(supersedes__isnull=False)
    }
    assert thresholds == {"A-1": 0.55, "A-2": 0.4}


def test_conditions_bring_it_back_under_them(
    world: World, approval: Approval, changed: Change, ticket: Ticket
) -> None:
    decision = propose(ticket, world.owner, "conditions", conditions="A person reads every letter.")
    confirm(decision, world.validator)
    answer = ask(world)
    assert (answer.answer, answer.conditions) == ("conditional", "A person reads every letter.")
    assert now(approval).assumptions.get(code="A1").threshold == 0.8
    assert now(changed.event).state == ChangeEvent.State.CLOSED
    # Later reruns are compared with what was accepted, or each would alarm again.
    assert list(Baseline.objects.get(retired_at__isnull=True).runs.all()) == [changed.rerun]


def test_conditions_also_bind_what_was_never_held(world: World, approval: Approval) -> None:
    ticket = change(world, verdict="changed_immaterial").ticket()
    decision = propose(ticket, world.owner, "conditions", conditions="A person reads it.")
    confirm(decision, world.lead)
    assert ask(world).answer == "conditional"


@pytest.mark.parametrize(("outcome", "state"), [("suspend", S.SUSPENDED), ("retire", S.REVOKED)])
def test_ending_closes_the_gate_and_ends_the_watch(
    world: World, approval: Approval, changed: Change, ticket: Ticket, outcome: str, state: str
) -> None:
    confirm(propose(ticket, world.owner, outcome), world.validator)
    assert now(approval).state == state
    assert ask(world).answer == "deny"
    assert "RT-1" in ask(world).reason
    assert now(changed.event).state == ChangeEvent.State.CLOSED
    assert not Baseline.objects.filter(retired_at__isnull=True).exists()


def test_a_false_alarm_opens_the_gate_and_starts_the_watch_again(
    world: World, approval: Approval, changed: Change, ticket: Ticket
) -> None:
    confirm(propose(ticket, world.owner, "false_alarm"), world.lead)
    assert (now(approval).state, ask(world).answer) == (S.APPROVED, "allow")
    assert now(changed.event).state == ChangeEvent.State.CLOSED
    again = Baseline.objects.get(retired_at__isnull=True)
    assert again != changed.baseline
    assert list(again.runs.all()) == list(changed.baseline.runs.all())


def test_a_false_alarm_does_not_release_what_a_person_held(
    world: World, approval: Approval, changed: Change
) -> None:
    hold_approval(actor=world.lead, approval=approval, reason="Complaints from customers.")
    ticket = changed.held_ticket()
    confirm(propose(ticket, world.owner, "false_alarm"), world.validator)
    assert ask(world).answer == "hold"
    assert "Complaints from customers." in ask(world).reason


@pytest.mark.parametrize("outcome", ["false_alarm", "conditions"])
def test_what_would_go_back_into_use_is_not_confirmed_over_new_evidence(
    world: World, changed: Change, ticket: Ticket, outcome: str
) -> None:
    decision = propose(ticket, world.owner, outcome, conditions="A person reads every letter.")
    changed.breaks("A2", 55.0)
    with pytest.raises(Conflict, match="another assumption broke: A2"):
        confirm(decision, world.lead)
    assert ask(world).answer == "hold"


def test_a_false_alarm_stands_where_the_baseline_s_answers_are_gone(
    world: World, changed: Change, ticket: Ticket
) -> None:
    forget(changed.baseline.runs.get())
    confirm(propose(ticket, world.owner, "false_alarm"), world.lead)
    assert now(ticket).state == TicketState.DECIDED
    assert ask(world).answer == "allow"
    event = now(changed.event)
    assert event.state == ChangeEvent.State.CLOSED
    assert "needs a new baseline" in event.closed_reason
    assert now(changed.baseline).retired_at is not None
    assert AuditEvent.objects.filter(action="drift.baseline_retired").count() == 1
    later = run_of(world.version, changed.revision, seed=3)
    assert compare_run(run=later) is None
    assert "needs a new baseline" in why_not_compared(later)
    shown = page(browser(world.lead), f"/versions/{world.version.pk}/")
    assert "needs a new baseline: its watch cannot begin again" in shown
    create_baseline(
        actor=world.owner,
        model_version=world.version,
        suite_revision=changed.revision,
        runs=[run_of(world.version, changed.revision, purpose="baseline")],
    )
    assert "needs a new" not in page(browser(world.lead), f"/versions/{world.version.pk}/")


def test_new_evidence_does_not_stop_a_suspension(
    world: World, changed: Change, ticket: Ticket
) -> None:
    decision = propose(ticket, world.owner, "suspend")
    changed.breaks("A2", 55.0)
    confirm(decision, world.lead)
    assert ask(world).answer == "deny"


def test_what_ended_in_the_meantime_cannot_be_brought_back(
    world: World, approval: Approval, ticket: Ticket
) -> None:
    decision = propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED)
    revoke_approval(actor=world.lead, approval=approval, reason="No longer used.")
    with pytest.raises(Conflict, match="None of the approvals"):
        confirm(decision, world.lead)
    assert now(approval).state == S.REVOKED


def test_the_demands_of_a_decided_ticket_stay_until_satisfied(world: World, ticket: Ticket) -> None:
    confirm(propose(ticket, world.owner), world.lead)
    demands = ticket.control_actions.filter(kind=ControlAction.Kind.REQUIRE_REAUTH)
    assert demands.filter(reversed_at__isnull=True).count() == 3


def test_a_second_change_after_the_decision_is_a_second_ticket(
    world: World, changed: Change, ticket: Ticket
) -> None:
    confirm(propose(ticket, world.owner, "reapprove", assumption_changes=RESTATED), world.lead)
    assert services.open_or_update_ticket(change_event=changed.event) == now(ticket)
    version = world.version
    second = ChangeEvent.objects.create(
        number=2,
        model_version=version,
        verdict="changed_material",
        window_start=changed.event.window_end,
        window_end=changed.event.window_end,
        sentence="Again.",
    )
    found = services.open_or_update_ticket(change_event=second)
    assert str(found) == "RT-2"


def test_the_whole_story_is_in_the_history(world: World, ticket: Ticket) -> None:
    confirm(propose(ticket, world.owner), world.lead)
    actions = list(
        AuditEvent.objects.order_by("occurred_at", "id").values_list("action", flat=True)
    )
    story = [
        "registry.approval_requested",
        "registry.approval_validated",
        "registry.approval_approved",
        "tickets.ticket_opened",
        "registry.approval_put_on_hold",
        "tickets.decision_proposed",
        "tickets.decision_confirmed",
        "registry.approval_suspended",
        "drift.change_event_closed",
    ]
    assert [a for a in actions if a in story] == story


# Buttons


def test_the_table_draws_the_buttons_that_the_services_accept(world: World, ticket: Ticket) -> None:
    assert moves(ticket, world.lead) == {"propose"}
    assert moves(ticket, world.owner) == {"propose"}
    assert selectors.waiting_for(world.owner) == [ticket]
    assert selectors.waiting_for(world.lead) == []
    propose(ticket, world.owner)
    assert moves(ticket, world.owner) == {"withdraw"}
    assert moves(ticket, world.lead) == {"confirm", "send_back"}
    assert selectors.waiting_for(world.lead) == [ticket]
    assert selectors.waiting_for(world.owner) == []
    for who in (world.auditor, world.outsider):
        assert moves_for(now(ticket), who) == []
        assert selectors.waiting_for(who) == []
