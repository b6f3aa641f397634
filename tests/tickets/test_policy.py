"""The policy document: readable, checked to the last key, versioned, never changed."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import Role, RoleAssignment, Team
from apps.audit.models import AuditEvent
from apps.core.errors import InvalidInput, NotAllowed
from apps.tickets import policy
from apps.tickets.models import ControlPolicy
from tests.world import World, person


def document(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(policy.DEFAULT) | changes


def altered(path: str, value: Any) -> dict[str, Any]:
    """The default document with one place changed; "-" takes it away."""
    doc = document()
    *way, last = path.split(".")
    place = doc
    for key in way:
        place = place[key]
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return doc


def test_the_default_is_written_down_on_first_use(db: None) -> None:
    first = policy.current()
    assert (first.number, first.document, first.created_by) == (1, policy.DEFAULT, None)
    assert policy.current() == first
    assert AuditEvent.objects.filter(action="tickets.policy_published").count() == 1


def test_the_default_is_sound() -> None:
    assert policy.check(policy.DEFAULT) == policy.DEFAULT


def test_a_new_version_is_in_force_and_the_old_one_stays(world: World) -> None:
    old = policy.current()
    new = policy.publish(
        actor=world.lead,
        document=altered("actions.critical.due_hours", 8),
        reason="The regulator asks for eight hours.",
    )
    assert (new.number, policy.current()) == (2, new)
    old.refresh_from_db()
    assert old.document["actions"]["critical"]["due_hours"] == 24


@pytest.mark.parametrize("who", ["owner", "validator", "auditor", "outsider"])
def test_only_leads_and_administrators_publish(world: World, who: str) -> None:
    with pytest.raises(NotAllowed):
        policy.publish(actor=getattr(world, who), document=document(), reason="I want it so.")
    assert not ControlPolicy.objects.exists()


def test_a_team_s_lead_does_not_publish_for_everybody(db: None) -> None:
    member = person("Mia", "Member")
    team = Team.objects.create(name="Claims")
    RoleAssignment.objects.create(user=member, role=Role.GOVERNANCE_LEAD, team=team)
    with pytest.raises(NotAllowed, match="whole organisation"):
        policy.publish(actor=member, document=document(), reason="I want it so.")


@pytest.mark.parametrize(
    ("doc", "field"),
    [
        (None, ""),
        ([], ""),
        ("severity", ""),
        ({}, "severity"),
        (document(colour="red"), "colour"),
        (altered("severity.material", "-"), "severity.material"),
        (altered("severity.material", []), "severity.material"),
        (altered("severity.material.high.1", "terrible"), "severity.material.high.1"),
        (altered("severity.material.high.1", "-"), "severity.material.high.1"),
        (altered("severity.material.high.5", "low"), "severity.material.high.5"),
        (altered("actions.high.due_hours", 0), "actions.high.due_hours"),
        (altered("actions.high.due_hours", 1.5), "actions.high.due_hours"),
        (altered("actions.high.due_hours", True), "actions.high.due_hours"),
        (altered("actions.high.hold_approvals", "yes"), "actions.high.hold_approvals"),
        (altered("actions.high.require_reauth", "-"), "actions.high.require_reauth"),
        (
            altered("actions.high.require_reauth.max_session_age_minutes", -1),
            "actions.high.require_reauth.max_session_age_minutes",
        ),
        (altered("immaterial_tickets.1", 1), "immaterial_tickets.1"),
    ],
)
def test_a_faulty_document_names_the_place(world: World, doc: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        policy.publish(actor=world.lead, document=doc, reason="A try.")
    assert field in {p["field"] for p in caught.value.problems}
    assert not ControlPolicy.objects.exists()


def test_all_faults_are_told_at_once(world: World) -> None:
    doc = altered("actions.high.due_hours", 0)
    doc["actions"]["low"]["hold_approvals"] = "no"
    with pytest.raises(InvalidInput, match="1 more") as caught:
        policy.publish(actor=world.lead, document=doc, reason="A try.")
    assert len(caught.value.problems) == 2


def test_a_policy_needs_a_reason(world: World) -> None:
    with pytest.raises(InvalidInput) as caught:
        policy.publish(actor=world.lead, document=document(), reason=" ")
    assert caught.value.field == "reason"


@pytest.mark.parametrize(
    ("tier", "material", "criticality", "severity"),
    [
        (1, True, "high", "critical"),
        (2, True, "medium", "high"),
        (4, True, "none", "low"),
        (1, False, "high", "high"),
        (3, False, "none", "low"),
    ],
)
def test_severity_is_read_from_the_table(
    tier: int, material: bool, criticality: str, severity: str
) -> None:
    found, why = policy.severity_of(
        document=policy.DEFAULT, risk_tier=tier, material=material, criticality=criticality
    )
    assert found == severity
    assert f"tier {tier}" in why


def test_the_default_never_treats_a_graver_case_milder() -> None:
    rank = policy.RANK
    table = policy.DEFAULT["severity"]
    for kind in policy.MATERIALITIES:
        for level in policy.CRITICALITIES:
            row = [rank[table[kind][level][tier]] for tier in policy.TIERS]
            assert row == sorted(row, reverse=True)
        for tier in policy.TIERS:
            column = [rank[table[kind][level][tier]] for level in policy.CRITICALITIES]
            assert column == sorted(column, reverse=True)


def test_two_first_users_at_once_write_one_default(live_db: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        start = threading.Barrier(4)
        found: list[int] = []

        def ask() -> None:
            start.wait(10)
            found.append(policy.current().number)
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [1, 1, 1, 1]
        assert ControlPolicy.objects.count() == 1
