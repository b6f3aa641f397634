"""What a vendor announced, and what that makes of a change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.accounts.models import Role, RoleAssignment, Team
from apps.audit.models import AuditEvent
from apps.core.errors import InvalidInput, NotAllowed
from apps.drift.models import ChangeEvent
from apps.registry.services import create_provider
from apps.vendors import selectors, services
from apps.vendors.models import Notice
from tests.world import World, person

START = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.UTC)
END = START + dt.timedelta(hours=6)
DAY = dt.timedelta(days=1)
Kind = ChangeEvent.Kind


@pytest.fixture
def event(world: World) -> ChangeEvent:
    return ChangeEvent.objects.create(
        number=1,
        model_version=world.version,
        verdict="changed_material",
        window_start=START,
        window_end=END,
        sentence="Answers are longer.",
    )


def notice(world: World, **changes: Any) -> Notice:
    values: dict[str, Any] = {
        "actor": world.lead,
        "provider": world.provider,
        "title": "assistant-instant gets a refresh",
        "model_names": ["assistant-instant"],
        "announced_at": START - 20 * DAY,
        "effective_at": START,
    }
    return services.record_notice(**values | changes)


def kind(event: ChangeEvent) -> str:
    return services.classify(change_event=event).kind


def test_without_a_notice_a_change_is_silent(event: ChangeEvent) -> None:
    assert kind(event) == Kind.SILENT
    assert not AuditEvent.objects.filter(action="vendors.change_classified").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Kind.ANNOUNCED),
        ({"announced_at": START}, Kind.ANNOUNCED),
        ({"announced_at": START + dt.timedelta(seconds=1)}, Kind.LATE),
        ({"announced_at": END + 3 * DAY}, Kind.LATE),
        ({"model_names": ["ASSISTANT-Instant"]}, Kind.ANNOUNCED),
        ({"model_names": ["Assistant"]}, Kind.ANNOUNCED),
        ({"model_names": ["assistant-instant-mini"]}, Kind.SILENT),
        ({"model_names": []}, Kind.SILENT),
        ({"effective_at": START - 14 * DAY}, Kind.ANNOUNCED),
        ({"effective_at": START - 15 * DAY}, Kind.SILENT),
        ({"effective_at": END + 14 * DAY}, Kind.ANNOUNCED),
        ({"effective_at": END + 15 * DAY}, Kind.SILENT),
    ],
)
def test_a_notice_decides_by_name_and_by_its_two_dates(
    world: World, event: ChangeEvent, given: dict[str, Any], expected: str
) -> None:
    notice(world, **given)
    assert kind(event) == expected


def test_another_provider_s_notice_says_nothing(world: World, event: ChangeEvent) -> None:
    other = create_provider(actor=world.lead, slug="acme", name="Acme")
    notice(world, provider=other)
    assert kind(event) == Kind.SILENT


def test_the_earliest_announcement_counts(world: World, event: ChangeEvent) -> None:
    notice(world, announced_at=END + DAY)
    notice(world)
    assert kind(event) == Kind.ANNOUNCED


def test_a_notice_recorded_later_judges_the_open_change_again(
    world: World, event: ChangeEvent
) -> None:
    services.classify(change_event=event)
    notice(world)
    event.refresh_from_db()
    assert event.kind == Kind.ANNOUNCED
    entry = AuditEvent.objects.get(action="vendors.change_classified")
    assert entry.actor_name == "Greta Lead"
    assert "assistant-instant gets a refresh" in entry.summary


def test_a_closed_change_keeps_its_kind(world: World, event: ChangeEvent) -> None:
    event.state = ChangeEvent.State.CLOSED
    event.save_versioned("state")
    notice(world)
    event.refresh_from_db()
    assert event.kind == Kind.SILENT


def test_classifying_twice_writes_once(world: World, event: ChangeEvent) -> None:
    notice(world)
    before = AuditEvent.objects.count()
    services.classify(change_event=event)
    services.classify(change_event=event)
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize("who", ["validator", "auditor", "outsider"])
def test_who_may_not_record_is_told(world: World, who: str) -> None:
    with pytest.raises(NotAllowed):
        notice(world, actor=getattr(world, who))
    assert not Notice.objects.exists()


def test_a_team_s_owner_records_nothing_for_everybody(world: World) -> None:
    member = person("Mia", "Member")
    team = Team.objects.create(name="Claims")
    RoleAssignment.objects.create(user=member, role=Role.MODEL_OWNER, team=team)
    with pytest.raises(NotAllowed, match="whole organisation"):
        notice(world, actor=member)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"url": "labs.example"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"model_names": "assistant-instant"}, "model_names"),
        ({"model_names": [""]}, "model_names"),
        ({"model_names": [7]}, "model_names"),
        ({"announced_at": dt.datetime(2026, 3, 1)}, "announced_at"),
        ({"effective_at": "2026-03-01"}, "effective_at"),
        ({"effective_at": None}, "effective_at"),
        ({"summary": "a\x00"}, "summary"),
    ],
)
def test_a_notice_that_cannot_be_names_its_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        notice(world, **change)
    assert caught.value.field == field
    assert not Notice.objects.exists()


def test_anybody_with_a_role_reads_notices(world: World) -> None:
    found = notice(world)
    assert list(selectors.notices(world.auditor, world.provider)) == [found]
    assert not selectors.notices(world.outsider).exists()
