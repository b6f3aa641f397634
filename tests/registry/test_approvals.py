"""An approval from its request to its end, with everybody who may not touch it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import Role, RoleAssignment, Team, User
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.errors import (
    Conflict,
    GovTrackError,
    InvalidInput,
    NotAllowed,
    NotFound,
    StaleVersion,
)
from apps.core.models import Outbox
from apps.registry import services, tasks
from apps.registry.lifecycle import RULES, moves_for
from apps.registry.models import Approval, ApprovalState
from apps.registry.selectors import standing, waiting_for
from tests.world import ASSUMPTIONS, World, approve, build_world, person

S = ApprovalState


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[dt.timedelta], dt.datetime]:
    """Moves the clock."""

    def move(by: dt.timedelta) -> dt.datetime:
        moment = clock.now() + by
        monkeypatch.setattr(clock, "now", lambda: moment)
        return moment

    return move


def fresh(approval: Approval) -> Approval:
    return Approval.objects.get(pk=approval.pk)


def moves(approval: Approval, user: User) -> list[str]:
    return [m.name for m in moves_for(fresh(approval), user)]


# Requesting


def test_a_request_waits_and_tells_the_pipeline(world: World) -> None:
    approval = world.request()
    assert (approval.state, str(approval)) == (S.REQUESTED, "A-1")
    assert [a.code for a in approval.assumptions.order_by("code")] == ["A1", "A2", "A3"]
    assert Outbox.objects.get(topic="approval.requested").payload == {
        "approval_id": str(approval.pk)
    }
    entry = AuditEvent.objects.get(action="registry.approval_requested")
    assert entry.actor_name == "Olga Owner"
    assert entry.object_id == str(approval.pk)


@pytest.mark.parametrize("who", ["auditor", "validator", "admin"])
def test_who_may_not_request_is_told_which_role_it_needs(world: World, who: str) -> None:
    with pytest.raises(NotAllowed, match="governance lead or model owner"):
        world.request(actor=getattr(world, who))
    assert not Approval.objects.exists()


def test_an_outsider_learns_nothing(world: World) -> None:
    with pytest.raises(NotFound):
        world.request(actor=world.outsider)


def test_a_second_request_for_the_pair_is_refused_while_one_is_pending(world: World) -> None:
    world.request()
    with pytest.raises(Conflict, match="A-1 of this pair is requested already"):
        world.request()
    assert Approval.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"assumptions": []}, "assumptions"),
        ({"assumptions": None}, "assumptions"),
        ({"assumptions": "A1"}, "assumptions"),
        ({"assumptions": ["A1"]}, "assumptions[0]"),
        ({"assumptions": [ASSUMPTIONS[0] | {"colour": "red"}]}, "assumptions[0].colour"),
        (
            {"assumptions": [ASSUMPTIONS[0] | {"threshold": float("nan")}]},
            "assumptions[0].threshold",
        ),
        (
            {"assumptions": [ASSUMPTIONS[0] | {"threshold": float("inf")}]},
            "assumptions[0].threshold",
        ),
        ({"assumptions": [ASSUMPTIONS[0] | {"threshold": "0.8"}]}, "assumptions[0].threshold"),
        ({"assumptions": [ASSUMPTIONS[0] | {"threshold": True}]}, "assumptions[0].threshold"),
        ({"assumptions": [ASSUMPTIONS[0] | {"threshold": 10**400}]}, "assumptions[0].threshold"),
        ({"assumptions": [ASSUMPTIONS[0] | {"tolerance": -0.1}]}, "assumptions[0].tolerance"),
        ({"assumptions": [ASSUMPTIONS[0] | {"comparator": "gt"}]}, "assumptions[0].comparator"),
        ({"assumptions": [ASSUMPTIONS[0] | {"criticality": "dire"}]}, "assumptions[0].criticality"),
        ({"assumptions": [ASSUMPTIONS[0] | {"code": "1A"}]}, "assumptions[0].code"),
        ({"assumptions": [ASSUMPTIONS[0] | {"sentence": " "}]}, "assumptions[0].sentence"),
        ({"assumptions": [ASSUMPTIONS[0] | {"sentence": "a\x00"}]}, "assumptions[0].sentence"),
        (
            {"assumptions": [ASSUMPTIONS[0] | {"suite_slug": "no slug"}]},
            "assumptions[0].suite_slug",
        ),
        ({"assumptions": [{"code": "A1"}]}, "assumptions[0].sentence"),
        (
            {"assumptions": [ASSUMPTIONS[0], ASSUMPTIONS[1] | {"code": "a1"}]},
            "assumptions[1].code",
        ),
        ({"rationale": "short"}, "rationale"),
        ({"rationale": ""}, "rationale"),
        ({"conditions": 7}, "conditions"),
        ({"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "expires_at"),
        ({"expires_at": dt.datetime(2100, 1, 1)}, "expires_at"),
    ],
)
def test_bad_input_names_its_field_and_writes_nothing(
    world: World, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.request(**change)
    assert caught.value.field == field
    assert caught.value.remedy
    assert not Approval.objects.exists()
    assert not Outbox.objects.exists()


# Two people


def test_three_people_bring_a_tier_1_use_into_force(world: World) -> None:
    approval = approve(world)
    assert approval.state == S.APPROVED
    people = {approval.requested_by, approval.validated_by, approval.approved_by}
    assert len(people) == 3
    assert approval.in_force is not None
    assert approval.in_force.upper is None
    assert standing(world.version) == S.APPROVED


def test_tier_1_cannot_be_approved_without_validation(world: World) -> None:
    approval = world.request()
    with pytest.raises(Conflict, match="Tier 1 must be validated"):
        services.approve_approval(actor=world.lead, approval=approval)
    assert fresh(approval).state == S.REQUESTED


@pytest.mark.parametrize("tier", [3, 4])
def test_low_tiers_may_be_approved_from_requested(world: World, tier: int) -> None:
    use_case = world.another_use_case("mail-sorting", risk_tier=tier)
    approval = world.request(use_case=use_case)
    assert services.approve_approval(actor=world.lead, approval=approval).state == S.APPROVED


def test_nobody_approves_their_own_request(world: World) -> None:
    approval = world.request(actor=world.lead)
    services.validate_approval(actor=world.validator, approval=approval)
    with pytest.raises(NotAllowed, match="own request"):
        services.approve_approval(actor=world.lead, approval=approval)
    assert services.approve_approval(actor=world.second_lead, approval=approval)


def test_nobody_validates_and_approves(world: World) -> None:
    RoleAssignment.objects.create(user=world.lead, role=Role.VALIDATOR)
    approval = world.request()
    services.validate_approval(actor=world.lead, approval=approval)
    with pytest.raises(NotAllowed, match="somebody else must approve"):
        services.approve_approval(actor=world.lead, approval=approval)


def test_an_owner_with_the_validator_s_role_is_not_independent(world: World) -> None:
    both = person("Bo", "Both", Role.VALIDATOR)
    RoleAssignment.objects.create(user=both, role=Role.MODEL_OWNER)
    version = world.another_version(owner=both)
    approval = world.request(model_version=version)
    with pytest.raises(NotAllowed, match="independent of the owners"):
        services.validate_approval(actor=both, approval=approval)
    assert "validate" not in moves(approval, both)


def test_the_same_owner_may_validate_in_tier_3(world: World) -> None:
    both = person("Bo", "Both", Role.VALIDATOR)
    version = world.another_version(owner=both)
    use_case = world.another_use_case("mail-sorting", risk_tier=3)
    approval = world.request(model_version=version, use_case=use_case)
    assert services.validate_approval(actor=both, approval=approval).state == S.VALIDATED


@pytest.mark.parametrize("who", ["owner", "auditor", "admin", "lead"])
def test_only_a_validator_validates(world: World, who: str) -> None:
    approval = world.request()
    with pytest.raises(NotAllowed):
        services.validate_approval(actor=getattr(world, who), approval=approval)


def test_a_role_over_another_team_does_not_count(world: World) -> None:
    claims = Team.objects.create(name="Claims")
    fraud = Team.objects.create(name="Fraud")
    stranger = person("Sam", "Stranger")
    RoleAssignment.objects.create(user=stranger, role=Role.VALIDATOR, team=fraud)
    use_case = world.another_use_case("payouts", risk_tier=1, team=claims)
    approval = world.request(use_case=use_case)
    with pytest.raises(NotFound):
        services.validate_approval(actor=stranger, approval=approval)


def test_a_stale_form_overwrites_nothing(world: World) -> None:
    approval = world.request()
    services.validate_approval(actor=world.validator, approval=approval, row_version=1)
    with pytest.raises(StaleVersion, match="changed this approval since"):
        services.approve_approval(actor=world.lead, approval=approval, row_version=1)
    assert fresh(approval).state == S.VALIDATED


def test_a_move_out_of_order_says_what_the_state_is(world: World) -> None:
    approval = approve(world)
    with pytest.raises(Conflict, match="is approved, so it cannot be validated"):
        services.validate_approval(actor=world.validator, approval=approval)


# Conditions, succession, end


def test_conditions_that_were_asked_for_are_never_dropped(world: World) -> None:
    approval = approve(world, conditions="A person reads every letter.")
    assert approval.state == S.CONDITIONAL
    other = world.request(use_case=world.another_use_case("mail", risk_tier=3))
    with pytest.raises(InvalidInput, match="no conditions"):
        services.approve_approval(actor=world.lead, approval=other, conditional=True)


def test_a_new_approval_supersedes_the_old_in_one_step(world: World) -> None:
    old = approve(world)
    new = approve(world)
    old = fresh(old)
    assert (old.state, new.state) == (S.SUPERSEDED, S.APPROVED)
    assert new.supersedes == old
    assert old.in_force is not None
    assert new.in_force is not None
    assert old.in_force.upper == new.in_force.lower


def test_a_request_whose_end_has_passed_cannot_be_approved(
    world: World, later: Callable[[dt.timedelta], dt.datetime]
) -> None:
    approval = world.request(expires_at=clock.now() + dt.timedelta(days=1))
    services.validate_approval(actor=world.validator, approval=approval)
    later(dt.timedelta(days=2))
    with pytest.raises(Conflict, match="never be in force"):
        services.approve_approval(actor=world.lead, approval=approval)


def test_what_is_over_expires_once_and_a_new_one_takes_its_place(
    world: World, later: Callable[[dt.timedelta], dt.datetime]
) -> None:
    ends = clock.now() + dt.timedelta(days=1)
    approval = approve(world, expires_at=ends)
    tasks.expire_approvals()
    assert fresh(approval).state == S.APPROVED
    later(dt.timedelta(days=2))
    assert (services.expire_due(), services.expire_due()) == (1, 0)
    ended = fresh(approval)
    assert (ended.state, ended.in_force.upper) == (S.EXPIRED, ends)  # type: ignore[union-attr]
    assert approve(world).supersedes is None


def test_one_that_expired_unnoticed_is_expired_not_superseded(
    world: World, later: Callable[[dt.timedelta], dt.datetime]
) -> None:
    old = approve(world, expires_at=clock.now() + dt.timedelta(days=1))
    later(dt.timedelta(days=2))
    new = approve(world)
    assert fresh(old).state == S.EXPIRED
    assert new.state == S.APPROVED


def test_a_request_is_rejected_with_a_reason(world: World) -> None:
    approval = world.request()
    with pytest.raises(InvalidInput, match="reason"):
        services.reject_approval(actor=world.validator, approval=approval, reason=" ")
    rejected = services.reject_approval(
        actor=world.validator, approval=approval, reason="The suite does not fit the use."
    )
    assert (rejected.state, rejected.in_force) == (S.REJECTED, None)
    assert world.request().number == 2


def test_the_requester_may_withdraw(world: World) -> None:
    approval = world.request()
    (move,) = moves_for(approval, world.owner)
    assert (move.name, move.label) == ("reject", "Withdraw request")
    services.reject_approval(actor=world.owner, approval=approval, reason="Wrong version.")
    assert fresh(approval).state == S.REJECTED


@pytest.mark.parametrize(
    ("verb", "state"),
    [(services.suspend_approval, S.SUSPENDED), (services.revoke_approval, S.REVOKED)],
)
def test_ending_closes_the_range(world: World, verb: Any, state: str) -> None:
    approval = approve(world)
    ended = verb(actor=world.lead, approval=approval, reason="It answers without JSON.")
    assert ended.state == state
    assert ended.in_force.upper is not None
    with pytest.raises(Conflict):
        services.hold_approval(actor=world.lead, approval=approval, reason="Again.")


def test_after_a_suspension_a_new_approval_is_needed_and_possible(world: World) -> None:
    old = approve(world)
    services.suspend_approval(actor=world.lead, approval=old, reason="Answers differ.")
    with pytest.raises(Conflict):
        services.release_approval(actor=world.lead, approval=old, reason="Never mind.")
    assert approve(world).supersedes_id == old.pk


def test_nobody_without_the_role_ends_an_approval(world: World) -> None:
    approval = approve(world)
    for who in (world.owner, world.validator, world.auditor):
        with pytest.raises(NotAllowed):
            services.revoke_approval(actor=who, approval=approval, reason="I do not like it.")
    assert fresh(approval).state == S.APPROVED


# Hold and release


@pytest.mark.parametrize("conditions", ["", "A person reads every letter."])
def test_a_hold_remembers_what_it_held(world: World, conditions: str) -> None:
    approval = approve(world, conditions=conditions)
    held = services.hold_approval(actor=SYSTEM, approval=approval, reason="RT-1 is open.")
    assert (held.state, held.held_from) == (S.ON_HOLD, approval.state)
    back = services.release_approval(actor=world.lead, approval=approval, reason="Looked at it.")
    assert (back.state, back.held_from) == (approval.state, "")


def test_holding_and_releasing_twice_writes_once(world: World) -> None:
    approval = approve(world)
    for _ in range(2):
        services.hold_approval(actor=SYSTEM, approval=approval, reason="RT-1 is open.")
    for _ in range(2):
        services.release_approval(actor=world.lead, approval=approval, reason="Looked at it.")
    actions = AuditEvent.objects.filter(object_id=str(approval.pk)).values_list("action", flat=True)
    assert list(actions).count("registry.approval_put_on_hold") == 1
    assert list(actions).count("registry.approval_released_from_hold") == 1


@pytest.mark.parametrize("verb", [services.hold_approval, services.release_approval])
def test_a_repetition_asks_for_the_role_all_the_same(world: World, verb: Any) -> None:
    approval = approve(world)
    if verb is services.hold_approval:
        services.hold_approval(actor=SYSTEM, approval=approval, reason="RT-1 is open.")
    with pytest.raises(NotAllowed):
        verb(actor=world.auditor, approval=approval, reason="Just looking.")


def test_a_request_cannot_be_held(world: World) -> None:
    with pytest.raises(Conflict, match="requested"):
        services.hold_approval(actor=SYSTEM, approval=world.request(), reason="RT-1 is open.")


# Superseding by decision


def supersede(world: World, approval: Approval, **changes: Any) -> Approval:
    values: dict[str, Any] = {
        "actor_requested": world.owner,
        "actor_approved": world.lead,
        "approval": approval,
        "assumption_changes": [{"code": "A1", "threshold": 0.7}, {"code": "A2", "drop": True}],
        "conditions": "",
        "rationale": "RT-1: a little worse, still good enough.",
    }
    return services.supersede_approval(**values | changes)


def test_a_re_approval_restates_drops_and_carries_over(world: World) -> None:
    old = approve(world)
    services.hold_approval(actor=SYSTEM, approval=old, reason="RT-1 is open.")
    new = supersede(world, old)
    stated = {a.code: a for a in new.assumptions.all()}
    assert set(stated) == {"A1", "A3"}
    assert stated["A1"].threshold == 0.7
    assert stated["A1"].sentence == (
        "Sorts claims correctly in at least 80 % of cases. (restated: at least 0.7)"
    )
    assert stated["A3"].sentence == ASSUMPTIONS[2]["sentence"]
    assert (fresh(old).state, new.state, new.supersedes_id) == (S.SUPERSEDED, S.APPROVED, old.pk)
    assert Outbox.objects.filter(topic="approval.requested", key=str(new.pk)).exists()


def test_restating_twice_does_not_pile_up(world: World) -> None:
    first = supersede(world, approve(world))
    second = supersede(
        world, first, assumption_changes=[{"code": "A1", "threshold": 0.6, "tolerance": 0}]
    )
    assert second.assumptions.get(code="A1").sentence.endswith(" cases. (restated: at least 0.6)")


def test_conditions_make_it_conditional(world: World) -> None:
    new = supersede(world, approve(world), conditions="A person reads every letter.")
    assert new.state == S.CONDITIONAL


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"actor_approved": "owner"}, NotAllowed),
        ({"actor_requested": "lead"}, NotAllowed),
        ({"actor_approved": "auditor"}, NotAllowed),
        ({"actor_requested": "auditor"}, NotAllowed),
        ({"actor_approved": "outsider"}, NotFound),
        ({"assumption_changes": [{"code": "A9", "threshold": 1}]}, InvalidInput),
        ({"assumption_changes": [{"code": "A1"}]}, InvalidInput),
        ({"assumption_changes": [{"code": "A1", "drop": "yes"}]}, InvalidInput),
        ({"assumption_changes": [{"code": "A1", "threshold": float("nan")}]}, InvalidInput),
        (
            {"assumption_changes": [{"code": c, "drop": True} for c in ("A1", "A2", "A3")]},
            InvalidInput,
        ),
        ({"assumption_changes": [{"code": "A1", "threshold": 1}] * 2}, InvalidInput),
        ({"rationale": "ok"}, InvalidInput),
    ],
)
def test_a_re_approval_that_cannot_be_changes_nothing(
    world: World, change: dict[str, Any], error: type[GovTrackError]
) -> None:
    old = approve(world)
    people = {k: getattr(world, v) for k, v in change.items() if k.startswith("actor")}
    with pytest.raises(error):
        supersede(world, old, **change | people)
    assert fresh(old).state == S.APPROVED
    assert Approval.objects.count() == 1


def test_what_has_ended_cannot_be_renewed_by_decision(world: World) -> None:
    old = approve(world)
    services.revoke_approval(actor=world.lead, approval=old, reason="It answers without JSON.")
    with pytest.raises(Conflict, match="revoked"):
        supersede(world, old)


# The table


def test_the_table_draws_the_buttons_that_the_services_accept(world: World) -> None:
    approval = world.request()
    assert moves(approval, world.validator) == ["validate", "reject"]
    assert moves(approval, world.lead) == ["reject"]
    services.validate_approval(actor=world.validator, approval=approval)
    assert moves(approval, world.lead) == ["approve", "reject"]
    services.approve_approval(actor=world.lead, approval=approval)
    assert moves(approval, world.lead) == ["hold", "suspend", "revoke"]
    assert moves(approval, world.admin) == ["hold", "suspend", "revoke"]
    services.hold_approval(actor=SYSTEM, approval=approval, reason="RT-1 is open.")
    assert moves(approval, world.lead) == ["release", "suspend", "revoke"]
    for who in (world.owner, world.auditor, world.outsider):
        assert moves(approval, who) == []


def test_the_product_s_own_moves_are_nobody_s_button(world: World) -> None:
    approval = approve(world)
    for user in world.people:
        assert not {"expire", "supersede"} & set(moves(approval, user))
    assert not RULES["expire"].actions


def test_requests_wait_for_those_who_can_answer(world: World) -> None:
    approval = world.request()
    assert waiting_for(world.validator) == [approval]
    assert waiting_for(world.lead) == []
    services.validate_approval(actor=world.validator, approval=approval)
    assert waiting_for(world.validator) == []
    assert waiting_for(world.lead) == [approval]
    assert waiting_for(world.outsider) == []


def test_two_leads_at_once_approve_it_once(live_db: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        world = build_world()
        approval = world.request()
        services.validate_approval(actor=world.validator, approval=approval)
        outcomes: list[str] = []
        start = threading.Barrier(2)

        def press(user: User) -> None:
            start.wait(10)
            try:
                services.approve_approval(actor=user, approval=approval)
                outcomes.append("approved")
            except GovTrackError as error:
                outcomes.append(error.code)
            finally:
                connection.close()

        threads = [
            threading.Thread(target=press, args=(user,)) for user in (world.lead, world.second_lead)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["approved", "conflict"]


def test_an_assumption_that_no_suite_measures_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput) as typo:
        world.request(assumptions=[ASSUMPTIONS[0] | {"metric_key": "acuracy"}])
    assert typo.value.field == "assumptions[0].metric_key"
    assert "accuracy" in typo.value.remedy
    with pytest.raises(InvalidInput) as nowhere:
        world.request(assumptions=[ASSUMPTIONS[0] | {"suite_slug": "claims-triagge"}])
    assert nowhere.value.field == "assumptions[0].suite_slug"
    assert not Approval.objects.exists()
