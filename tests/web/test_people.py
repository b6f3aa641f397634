"""Administrators change what people may do, with a reason that stays on record."""

from __future__ import annotations

import pytest

from apps.accounts.models import Role, RoleAssignment
from apps.audit.models import AuditEvent
from tests.web.acts import Person, first_line
from tests.world import World

pytestmark = pytest.mark.django_db


def address(user: object) -> str:
    return f"/people/{user.pk}/"  # type: ignore[attr-defined]


def test_a_persons_page_says_what_they_may_do(world: World) -> None:
    admin = Person(world.admin)
    assert (
        first_line(admin.client.get(address(world.lead))) == "Greta Lead acts as governance lead."
    )
    assert "no role was given yet" in first_line(admin.client.get(address(world.outsider)))
    assert "Take away" in admin.get(address(world.lead))


def test_a_role_is_given_and_taken_with_a_reason(world: World) -> None:
    admin = Person(world.admin)
    admin.post(address(world.outsider), role="auditor", reason="Joins the audit.")
    held = RoleAssignment.objects.get(user=world.outsider)
    assert held.role == Role.AUDITOR
    entry = AuditEvent.objects.get(action="accounts.role_granted", object_id=str(world.outsider.pk))
    assert "Joins the audit" in entry.summary
    admin.post(f"{address(world.outsider)}roles/{held.pk}/revoke/", reason="Left the audit.")
    assert not RoleAssignment.objects.filter(user=world.outsider).exists()
    entry = AuditEvent.objects.get(action="accounts.role_revoked")
    assert '"reason":"Left the audit."' in entry.body


def test_without_a_reason_nothing_happens(world: World) -> None:
    admin = Person(world.admin)
    held = RoleAssignment.objects.get(user=world.lead)
    page = admin.post(f"{address(world.lead)}roles/{held.pk}/revoke/", status=400, reason=" ")
    assert "The reason is missing." in page.content.decode()
    admin.post(f"{address(world.lead)}deactivate/", status=400)
    admin.post(address(world.lead), status=200, role="auditor")
    world.lead.refresh_from_db()
    assert world.lead.is_active
    assert RoleAssignment.objects.filter(user=world.lead).get() == held


def test_deactivating_ends_the_sessions_at_once(world: World) -> None:
    lead, admin = Person(world.lead), Person(world.admin)
    lead.get("/versions/")
    admin.post(f"{address(world.lead)}deactivate/", reason="Left the bank.")
    assert lead.client.get("/versions/").status_code == 302
    assert first_line(admin.client.get(address(world.lead))) == (
        "Greta Lead is deactivated, and may not sign in."
    )


def test_the_last_administrator_stays(world: World) -> None:
    admin = Person(world.admin)
    held = RoleAssignment.objects.get(user=world.admin)
    page = admin.post(f"{address(world.admin)}roles/{held.pk}/revoke/", status=409, reason="Bye.")
    assert "last administrator" in page.content.decode()
    assert "Deactivate…" not in admin.get(address(world.admin))


@pytest.mark.parametrize("role", ["lead", "auditor", "outsider"])
def test_only_administrators_manage_people(world: World, role: str) -> None:
    person = Person(getattr(world, role))
    held = RoleAssignment.objects.get(user=world.owner)
    person.get(address(world.owner), status=403)
    person.post(address(world.owner), status=403, role="auditor", reason="x")
    person.post(f"{address(world.owner)}roles/{held.pk}/revoke/", status=403, reason="x")
    person.post(f"{address(world.owner)}deactivate/", status=403, reason="x")
    assert ">People<" not in person.client.get("/").content.decode()
