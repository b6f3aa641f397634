"""People and roles: made, given, taken, shut; and what cannot be typed in."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress

from apps.accounts import selectors, services
from apps.accounts.models import Role, RoleAssignment, User
from apps.accounts.permissions import can, roles_of
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import Conflict, GovTrackError, InvalidInput, NotAllowed
from tests.world import World

PASSWORD = "a long enough passphrase"


def make(actor: Any, **change: Any) -> User:
    given: dict[str, Any] = {
        "actor": actor,
        "email": "Nora.New@Northwind.example",
        "display_name": "Nora New",
        "roles": ["validator"],
    }
    return services.create_user(**given | change)


def test_an_administrator_makes_a_person_who_may_do_what_the_role_says(world: World) -> None:
    nora = make(world.admin, password=PASSWORD)
    assert nora.email == "nora.new@northwind.example"
    assert nora.check_password(PASSWORD)
    assert roles_of(nora) == {Role.VALIDATOR}
    assert RoleAssignment.objects.get(user=nora).granted_by == world.admin
    assert EmailAddress.objects.get(user=nora).verified
    told = AuditEvent.objects.filter(object_id=str(nora.pk)).values_list("action", flat=True)
    assert sorted(told) == ["accounts.role_granted", "accounts.user_created"]


def test_nobody_else_makes_people(world: World) -> None:
    for actor in (world.lead, world.owner, world.validator, world.auditor, world.outsider):
        with pytest.raises(NotAllowed):
            make(actor)


def test_the_product_itself_makes_people(db: None) -> None:
    assert make(SYSTEM).pk


def test_a_person_without_a_password_cannot_sign_in(world: World) -> None:
    assert not make(world.admin).has_usable_password()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("email", {"email": "not an address"}),
        ("email", {"email": ""}),
        ("email", {"email": "a@b.example\x00"}),
        ("email", {"email": "x" * 250 + "@b.example"}),
        ("display_name", {"display_name": "  "}),
        ("display_name", {"display_name": "x" * 201}),
        ("display_name", {"display_name": "nul\x00"}),
        ("display_name", {"display_name": "\ud800"}),
        ("password", {"password": "short"}),
        ("password", {"password": "password1234"}),
        ("password", {"password": "nora.new@northwind"}),
        ("password", {"password": PASSWORD, "is_service": True, "roles": ["service"]}),
        ("roles", {"roles": ["emperor"]}),
        ("roles", {"roles": ["validator"], "is_service": True}),
        ("roles", {"roles": ["service"]}),
    ],
)
def test_what_cannot_be_an_account_names_the_field_and_makes_nothing(
    world: World, field: str, change: dict[str, Any]
) -> None:
    before = User.objects.count()
    with pytest.raises(InvalidInput) as caught:
        make(world.admin, **change)
    assert caught.value.field == field
    assert caught.value.remedy
    assert User.objects.count() == before


def test_an_address_is_taken_once_in_any_case(world: World) -> None:
    with pytest.raises(Conflict) as caught:
        make(world.admin, email=world.owner.email.upper())
    assert caught.value.field == "email"


def test_a_service_account_reads_and_runs_but_never_decides(world: World) -> None:
    robot = make(world.admin, email="ci@b.example", roles=["service"], is_service=True)
    assert can(robot, "run.start")
    assert not can(robot, "ticket.confirm")
    with pytest.raises(InvalidInput):
        services.grant_role(actor=world.admin, user=robot, role="governance_lead")


def test_granting_twice_is_one_role_and_one_entry(world: World) -> None:
    first = services.grant_role(actor=world.admin, user=world.outsider, role="auditor")
    again = services.grant_role(actor=world.admin, user=world.outsider, role="auditor")
    assert first == again
    assert AuditEvent.objects.filter(action="accounts.role_granted").count() == 1
    assert can(world.outsider, "view")


def test_a_role_that_is_taken_away_counts_at_once(world: World) -> None:
    assert can(world.lead, "approval.approve")
    held = RoleAssignment.objects.select_related("user").get(user=world.lead)
    services.revoke_role(actor=world.admin, assignment=held)
    services.revoke_role(actor=world.admin, assignment=held)
    assert not can(User.objects.get(pk=world.lead.pk), "view")
    assert AuditEvent.objects.filter(action="accounts.role_revoked").count() == 1


def test_nobody_gives_roles_to_themselves(world: World) -> None:
    for role in ("administrator", "governance_lead"):
        with pytest.raises(NotAllowed):
            services.grant_role(actor=world.owner, user=world.owner, role=role)


def test_the_last_administrator_stays(world: World) -> None:
    held = RoleAssignment.objects.select_related("user").get(user=world.admin)
    with pytest.raises(Conflict, match="last administrator"):
        services.revoke_role(actor=world.admin, assignment=held)
    with pytest.raises(Conflict):
        services.deactivate_user(actor=SYSTEM, user=world.admin, reason="by mistake")
    make(world.admin, roles=["administrator"])
    services.revoke_role(actor=world.admin, assignment=held)
    assert selectors.administrators().count() == 1


def test_a_team_administrator_is_not_the_organisations(world: World) -> None:
    team = services.create_team(actor=world.admin, name="Claims")
    services.grant_role(actor=world.admin, user=world.owner, role="administrator", team=team)
    assert list(selectors.administrators()) == [world.admin]


def test_deactivating_takes_a_reason_and_another_person(world: World) -> None:
    with pytest.raises(InvalidInput) as caught:
        services.deactivate_user(actor=world.admin, user=world.owner, reason="  ")
    assert caught.value.field == "reason"
    with pytest.raises(Conflict, match="your own"):
        services.deactivate_user(actor=world.admin, user=world.admin, reason="tired")
    with pytest.raises(NotAllowed):
        services.deactivate_user(actor=world.lead, user=world.owner, reason="rival")
    for _ in range(2):
        services.deactivate_user(actor=world.admin, user=world.owner, reason="Left the bank.")
    assert not can(User.objects.get(pk=world.owner.pk), "view")
    assert AuditEvent.objects.filter(action="accounts.user_deactivated").count() == 1


def test_a_team_name_is_taken_once(world: World) -> None:
    services.create_team(actor=world.admin, name="Claims")
    with pytest.raises(Conflict) as caught:
        services.create_team(actor=world.admin, name=" Claims ")
    assert caught.value.field == "name"


def test_the_first_administrator_is_made_while_there_is_none(db: None) -> None:
    ada = services.create_first_admin(
        email="ada@northwind.example", display_name="Ada", password=PASSWORD
    )
    assert list(selectors.administrators()) == [ada]
    with pytest.raises(Conflict, match="exists already"):
        services.create_first_admin(email="eve@evil.example", display_name="Eve", password=PASSWORD)
    assert User.objects.count() == 1


def test_a_shut_administrator_does_not_count(world: World) -> None:
    User.objects.filter(pk=world.admin.pk).update(is_active=False)
    assert services.create_first_admin(
        email="new@northwind.example", display_name="New", password=PASSWORD
    )


def test_a_bad_first_administrator_leaves_nothing_behind(db: None) -> None:
    with pytest.raises(GovTrackError):
        services.create_first_admin(email="a@b.example", display_name="A", password="short")
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()


def test_roles_are_named_in_words_with_their_team(world: World) -> None:
    team = services.create_team(actor=world.admin, name="Claims")
    services.grant_role(actor=world.admin, user=world.outsider, role="validator", team=team)
    services.grant_role(actor=world.admin, user=world.outsider, role="auditor")
    assert selectors.role_label(world.outsider) == "Auditor, validator (Claims)"
