"""Denied unless a role allows it, for the team's objects only where the role is a team's."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from apps.accounts import services
from apps.accounts.models import Role, Team, User
from apps.accounts.permissions import ACTIONS, approvers, can, require, visible
from apps.audit.services import SYSTEM
from apps.core.errors import NotAllowed, NotFound
from apps.registry.models import UseCase
from tests.world import World, person


@pytest.fixture
def team(world: World) -> Team:
    return services.create_team(actor=world.admin, name="Claims")


@pytest.fixture
def member(world: World, team: Team) -> User:
    mia = person("Mia", "Member")
    services.grant_role(actor=world.admin, user=mia, role="governance_lead", team=team)
    return mia


def test_a_person_without_a_role_and_nobody_may_do_nothing(world: World) -> None:
    for user in (world.outsider, AnonymousUser()):
        assert not any(can(user, action) for action in ACTIONS)
        assert not visible(user, UseCase.objects.all()).exists()


def test_a_shut_person_may_do_nothing(world: World) -> None:
    world.lead.is_active = False
    assert not any(can(world.lead, action) for action in ACTIONS)


def test_the_product_itself_may_do_everything(db: None) -> None:
    assert all(can(SYSTEM, action) for action in ACTIONS)


def test_an_unknown_action_is_a_fault_not_a_no(world: World) -> None:
    for actor in (world.admin, world.outsider, SYSTEM):
        with pytest.raises(KeyError):
            can(actor, "registry.edit_provder")


def test_an_auditor_only_looks(world: World) -> None:
    may = {action for action in ACTIONS if can(world.auditor, action)}
    assert may == {"view", "audit.view", "gate.check"}


def test_nobody_both_requests_and_approves_by_one_role() -> None:
    both = ACTIONS["approval.approve"] & ACTIONS["approval.validate"]
    assert not both
    assert Role.ADMINISTRATOR not in ACTIONS["approval.approve"] | ACTIONS["ticket.confirm"]


def test_a_team_role_counts_for_that_teams_objects_only(
    world: World, team: Team, member: User
) -> None:
    own = UseCase(slug="own", name="Own", risk_tier=2, model_role="assists", team=team)
    assert can(member, "approval.approve", own)
    assert not can(member, "approval.approve", world.use_case)
    assert can(member, "approval.approve")


def test_what_a_person_may_not_even_see_does_not_exist_for_them(world: World, member: User) -> None:
    with pytest.raises(NotFound):
        require(member, "registry.edit_use_case", world.use_case)
    with pytest.raises(NotAllowed, match="governance lead or model owner"):
        require(world.auditor, "approval.request", world.use_case)


def test_a_list_holds_the_teams_rows_for_a_team_role(
    world: World, team: Team, member: User
) -> None:
    UseCase.objects.create(
        slug="own", name="Own", risk_tier=2, model_role="assists", team=team, owner=member
    )
    assert [u.slug for u in visible(member, UseCase.objects.all())] == ["own"]
    assert visible(world.auditor, UseCase.objects.all()).count() == 2


def test_those_who_decide_are_found_for_their_team(world: World, team: Team, member: User) -> None:
    everywhere = {world.validator, world.lead, world.second_lead}
    assert set(approvers()) == everywhere
    assert set(approvers(team.pk)) == everywhere | {member}
