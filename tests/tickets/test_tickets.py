"""From a change event to one ticket, and what the policy does by itself."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection

from apps.access.models import ReauthDemand
from apps.access.services import require_fresh
from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    ReauthenticationRequired,
    StaleVersion,
)
from apps.core.models import Outbox
from apps.drift.models import Verdict
from apps.registry import gate
from apps.registry.models import Approval, ApprovalState
from apps.registry.services import hold_approval, revoke_approval
from apps.tickets import controls, policy, selectors, services
from apps.tickets.models import ControlAction, Severity, Ticket
from tests.tickets.story import Change, change, signed_in
from tests.world import World, approve, build_world

HOLD, REAUTH = ControlAction.Kind.HOLD_APPROVAL, ControlAction.Kind.REQUIRE_REAUTH


def ask(world: World) -> str:
    return gate.check(use_case=world.use_case, model_version=world.version).answer


def state(approval: Approval) -> str:
    return Approval.objects.get(pk=approval.pk).state


# Opening


def test_a_material_change_opens_one_ticket_that_says_why(
    world: World, approval: Approval, changed: Change
) -> None:
    ticket = changed.ticket()
    assert (str(ticket), ticket.severity, ticket.state) == ("RT-1", "critical", "open")
    assert ticket.severity_reason == (
        "Critical: a material change in a tier 1 use, and an assumption of high criticality broke "
        "(A1 of A-1); use: Claims triage."
    )
    assert ticket.assignee == world.owner
    assert list(ticket.approvals.all()) == [approval]
    left = ticket.due_at - clock.now()
    assert dt.timedelta(hours=23) < left <= dt.timedelta(hours=24)
    (row,) = Outbox.objects.filter(topic="ticket.opened")
    assert row.payload == {"ticket_id": str(ticket.pk)}


def test_the_same_event_again_writes_nothing(changed: Change) -> None:
    ticket = changed.ticket()
    entries = AuditEvent.objects.count()
    assert changed.ticket() == ticket
    assert AuditEvent.objects.count() == entries
    assert Ticket.objects.count() == 1
    assert not Outbox.objects.filter(topic="ticket.raised").exists()


def test_a_version_that_nobody_approved_needs_no_ticket(world: World) -> None:
    found = change(world)
    assert services.open_or_update_ticket(change_event=found.event) is None
    assert not Ticket.objects.exists()


def test_a_request_alone_is_not_touched(world: World) -> None:
    world.request()
    assert services.open_or_update_ticket(change_event=change(world).event) is None


def test_what_has_ended_is_not_touched(world: World, approval: Approval) -> None:
    revoke_approval(actor=world.lead, approval=approval, reason="No longer used.")
    assert services.open_or_update_ticket(change_event=change(world).event) is None


@pytest.mark.parametrize(("tier", "opens"), [(1, True), (2, True), (3, False), (4, False)])
def test_an_immaterial_change_opens_a_ticket_where_the_policy_wants_it(
    world: World, tier: int, opens: bool
) -> None:
    approve(world, use_case=world.another_use_case("mail", risk_tier=tier))
    found = change(world, verdict=Verdict.CHANGED_IMMATERIAL)
    ticket = services.open_or_update_ticket(change_event=found.event)
    assert (ticket is not None) == opens


def test_a_broken_assumption_opens_a_ticket_even_in_the_lowest_tier(world: World) -> None:
    approve(world, use_case=world.another_use_case("mail", risk_tier=4))
    found = change(world, verdict=Verdict.CHANGED_IMMATERIAL, broken={"A1": 0.6})
    assert found.ticket().severity == Severity.LOW


def test_the_gravest_of_several_uses_decides(world: World) -> None:
    approve(world, use_case=world.another_use_case("mail", risk_tier=4))
    approve(world)
    ticket = change(world).ticket()
    assert ticket.severity == Severity.HIGH
    assert "Claims triage" in ticket.severity_reason
    assert ticket.approvals.count() == 2


def test_an_owner_who_left_is_not_assigned(world: World, changed: Change) -> None:
    world.owner.is_active = False
    world.owner.save()
    assert changed.ticket().assignee is None


def test_four_workers_at_once_open_one_ticket(live_db: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        world = build_world()
        approve(world)
        found = change(world, broken={"A1": 0.6})
        start = threading.Barrier(4)
        failed: list[BaseException] = []

        def work() -> None:
            start.wait(10)
            try:
                controls.apply_policy(ticket=found.ticket())
            except BaseException as error:
                failed.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failed == []
        assert Ticket.objects.count() == 1
        assert Outbox.objects.filter(topic="ticket.opened").count() == 1
        assert ControlAction.objects.filter(kind=HOLD).count() == 1


# Growing evidence


def test_more_evidence_raises_severity_and_shortens_the_time(world: World) -> None:
    approve(world)
    found = change(world, verdict=Verdict.CHANGED_IMMATERIAL)
    first = found.ticket()
    found.material()
    found.breaks("A1", 0.5)
    raised = found.ticket()
    assert (first.severity, raised.severity) == ("low", "critical")
    assert raised.due_at < first.due_at
    (row,) = Outbox.objects.filter(topic="ticket.raised")
    assert row.key == f"{raised.pk}:critical:1"


def test_severity_is_never_lowered(world: World, changed: Change) -> None:
    ticket = changed.ticket()
    changed.event.verdict = Verdict.CHANGED_IMMATERIAL
    changed.event.save_versioned("verdict")
    again = changed.ticket()
    assert (again.severity, again.due_at) == (ticket.severity, ticket.due_at)


def test_an_open_ticket_keeps_the_policy_that_it_began_with(world: World) -> None:
    approve(world)
    found = change(world, verdict=Verdict.CHANGED_IMMATERIAL)
    first = found.ticket()
    stricter = policy.DEFAULT | {"actions": policy.DEFAULT["actions"] | {}}
    policy.publish(actor=world.lead, document=stricter, reason="Stricter from now on.")
    found.material()
    assert found.ticket().policy == first.policy


def test_an_approval_given_meanwhile_is_added_and_held(world: World, changed: Change) -> None:
    changed.held_ticket()
    late = approve(world, use_case=world.another_use_case("mail", risk_tier=3))
    ticket = changed.ticket()
    assert late in ticket.approvals.all()
    assert Outbox.objects.filter(topic="ticket.raised", key=f"{ticket.pk}:critical:2").exists()
    controls.apply_policy(ticket=ticket)
    assert state(late) == ApprovalState.ON_HOLD


# Controls


def test_a_critical_ticket_holds_the_gate_and_asks_the_approvers_to_sign_in_afresh(
    world: World, approval: Approval, changed: Change
) -> None:
    old = signed_in(world.lead, ago=dt.timedelta(minutes=5))
    assert ask(world) == "allow"
    made = controls.apply_policy(ticket=changed.ticket())
    answer = gate.check(use_case=world.use_case, model_version=world.version)
    assert answer.answer == "hold"
    assert answer.reason == ("A-1 is on hold: RT-1 (critical) is open: the model changed (C-1).")
    asked = {a.target_name for a in made if a.kind == REAUTH}
    assert asked == {"Viktor Validator", "Greta Lead", "Henrik Lead"}
    with pytest.raises(ReauthenticationRequired):
        require_fresh(old)
    require_fresh(signed_in(world.lead))
    require_fresh(signed_in(world.owner, ago=dt.timedelta(hours=2)))


def test_a_young_enough_session_satisfies_a_milder_ticket(world: World, approval: Approval) -> None:
    found = change(world)
    assert found.held_ticket().severity == Severity.HIGH
    require_fresh(signed_in(world.lead, ago=dt.timedelta(minutes=55)))
    with pytest.raises(ReauthenticationRequired):
        require_fresh(signed_in(world.lead, ago=dt.timedelta(minutes=65)))


def test_a_raised_ticket_asks_for_a_younger_sign_in(world: World, approval: Approval) -> None:
    found = change(world)
    found.held_ticket()
    session = signed_in(world.lead, ago=dt.timedelta(minutes=5))
    require_fresh(session)
    found.breaks("A1", 0.5)
    assert found.held_ticket().severity == Severity.CRITICAL
    with pytest.raises(ReauthenticationRequired):
        require_fresh(session)
    assert ControlAction.objects.filter(kind=REAUTH, target_id=world.lead.pk).count() == 1


def test_a_mild_ticket_does_nothing_by_itself(world: World, approval: Approval) -> None:
    found = change(world, verdict=Verdict.CHANGED_IMMATERIAL)
    assert controls.apply_policy(ticket=found.ticket()) == []
    assert ask(world) == "allow"


def test_applying_twice_does_everything_once(world: World, changed: Change) -> None:
    ticket = changed.held_ticket()
    entries = AuditEvent.objects.count()
    demands = ReauthDemand.objects.count()
    assert controls.apply_policy(ticket=ticket) == []
    assert (AuditEvent.objects.count(), ReauthDemand.objects.count()) == (entries, demands)


def test_what_a_person_held_before_is_not_claimed_by_the_policy(
    world: World, approval: Approval, changed: Change
) -> None:
    hold_approval(actor=world.lead, approval=approval, reason="Complaints from customers.")
    ticket = changed.held_ticket()
    assert not ticket.control_actions.filter(kind=HOLD).exists()


def test_a_named_person_reverses_a_hold_and_the_policy_does_not_repeat_it(
    world: World, approval: Approval, changed: Change
) -> None:
    ticket = changed.held_ticket()
    action = ticket.control_actions.get(kind=HOLD)
    controls.reverse_action(actor=world.lead, action=action, reason="Only the wording changed.")
    action.refresh_from_db()
    assert (action.reversed_by, ask(world)) == (world.lead, "allow")
    assert controls.apply_policy(ticket=ticket) == []
    assert ask(world) == "allow"
    entry = AuditEvent.objects.get(action="tickets.control_reversed")
    assert (entry.actor_name, "Only the wording" in entry.summary) == ("Greta Lead", True)
    with pytest.raises(Conflict, match="already"):
        controls.reverse_action(actor=world.lead, action=action, reason="Once more.")


def test_a_demand_is_lifted_by_a_colleague_not_by_oneself(world: World, changed: Change) -> None:
    ticket = changed.held_ticket()
    old = signed_in(world.lead, ago=dt.timedelta(hours=2))
    action = ticket.control_actions.get(kind=REAUTH, target_id=world.lead.pk)
    with pytest.raises(NotAllowed, match="themselves"):
        controls.reverse_action(actor=world.lead, action=action, reason="I am in a hurry.")
    controls.reverse_action(actor=world.second_lead, action=action, reason="She is on a plane.")
    require_fresh(old)
    controls.apply_policy(ticket=ticket)
    require_fresh(old)


@pytest.mark.parametrize("who", ["owner", "validator", "auditor"])
def test_who_may_not_reverse_is_told(world: World, changed: Change, who: str) -> None:
    action = changed.held_ticket().control_actions.get(kind=HOLD)
    with pytest.raises(NotAllowed):
        controls.reverse_action(actor=getattr(world, who), action=action, reason="Let it run.")
    assert ask(world) == "hold"


def test_an_outsider_cannot_see_that_there_is_a_ticket(world: World, changed: Change) -> None:
    ticket = changed.held_ticket()
    with pytest.raises(NotFound):
        controls.reverse_action(
            actor=world.outsider, action=ticket.control_actions.get(kind=HOLD), reason="Let it run."
        )
    with pytest.raises(NotFound):
        services.comment(actor=world.outsider, ticket=ticket, text="Hello")
    assert not selectors.tickets(world.outsider).exists()


def test_a_reversal_needs_a_reason(world: World, changed: Change) -> None:
    action = changed.held_ticket().control_actions.get(kind=HOLD)
    with pytest.raises(InvalidInput) as caught:
        controls.reverse_action(actor=world.lead, action=action, reason="")
    assert caught.value.field == "reason"


def test_what_is_no_longer_on_hold_cannot_be_released(
    world: World, approval: Approval, changed: Change
) -> None:
    action = changed.held_ticket().control_actions.get(kind=HOLD)
    revoke_approval(actor=world.lead, approval=approval, reason="No longer used.")
    with pytest.raises(Conflict, match="no longer on hold"):
        controls.reverse_action(actor=world.lead, action=action, reason="Let it run.")
    action.refresh_from_db()
    assert action.reversed_at is None


# Talking and assigning


def test_people_with_a_role_comment_and_the_auditor_reads(world: World, changed: Change) -> None:
    ticket = changed.ticket()
    services.comment(actor=world.validator, ticket=ticket, text="I am looking at the pairs.")
    assert ticket.comments.get().author == world.validator
    with pytest.raises(NotAllowed):
        services.comment(actor=world.auditor, ticket=ticket, text="Me too.")
    assert list(selectors.tickets(world.auditor)) == [ticket]


@pytest.mark.parametrize("text", ["", "  ", "a\x00b", "x" * 20_001, None])
def test_a_comment_that_cannot_be_stored_is_refused(
    world: World, changed: Change, text: Any
) -> None:
    ticket = changed.ticket()
    with pytest.raises(InvalidInput):
        services.comment(actor=world.lead, ticket=ticket, text=text)
    assert not ticket.comments.exists()


def test_a_ticket_is_given_to_somebody_who_can_work_on_it(world: World, changed: Change) -> None:
    ticket = changed.ticket()
    given = services.assign(
        actor=world.lead, ticket=ticket, assignee=world.validator, row_version=ticket.row_version
    )
    assert given.assignee == world.validator
    with pytest.raises(InvalidInput, match="could not work"):
        services.assign(actor=world.lead, ticket=ticket, assignee=world.auditor)
    with pytest.raises(StaleVersion):
        services.assign(
            actor=world.lead, ticket=ticket, assignee=None, row_version=ticket.row_version
        )
    with pytest.raises(NotAllowed):
        services.assign(actor=world.owner, ticket=ticket, assignee=world.owner)
    assert services.assign(actor=world.lead, ticket=ticket, assignee=None).assignee is None


def test_the_list_shows_the_gravest_first_and_knows_what_is_late(
    world: World, changed: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.another_version()
    approve(world, version=version)
    mild = change(world, version=version, verdict=Verdict.CHANGED_IMMATERIAL).ticket()
    grave = changed.ticket()
    assert list(selectors.tickets(world.lead)) == [grave, mild]
    assert not selectors.overdue(world.lead).exists()
    moment = clock.now() + dt.timedelta(days=2)
    monkeypatch.setattr(clock, "now", lambda: moment)
    assert list(selectors.overdue(world.lead)) == [grave]


def test_whoever_was_spared_stays_spared_when_the_ticket_is_raised(
    world: World, approval: Approval
) -> None:
    found = change(world)
    ticket = found.held_ticket()
    old = signed_in(world.lead, ago=dt.timedelta(hours=2))
    action = ticket.control_actions.get(kind=REAUTH, target_id=world.lead.pk)
    controls.reverse_action(actor=world.second_lead, action=action, reason="She is on a plane.")
    found.breaks("A1", 0.5)
    assert found.held_ticket().severity == Severity.CRITICAL
    require_fresh(old)
