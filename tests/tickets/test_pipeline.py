"""From the outbox row of a change to a held gate, through the real pipeline."""

from __future__ import annotations

import pytest

from apps.core.models import Outbox
from apps.drift.models import ChangeEvent
from apps.registry import gate
from apps.registry.models import Approval
from apps.tickets.models import ControlAction, Ticket
from govtrack.pipeline import drain_once
from tests.tickets.story import Change
from tests.world import World


@pytest.fixture
def told(changed: Change) -> Change:
    """Drift has left its word, and nothing was done with it yet."""
    Outbox.objects.filter(topic="approval.requested").delete()
    Outbox.put("change.opened", f"{changed.event.pk}:1", change_event_id=str(changed.event.pk))
    return changed


def test_a_change_becomes_a_ticket_and_the_gate_holds(
    world: World, approval: Approval, told: Change
) -> None:
    drain_once()
    assert not Outbox.objects.filter(done_at__isnull=True).exists()
    ticket = Ticket.objects.get()
    assert ticket.change_event == told.event
    assert ChangeEvent.objects.get().kind == ChangeEvent.Kind.SILENT
    assert gate.check(use_case=world.use_case, model_version=world.version).answer == "hold"


def test_every_step_may_be_made_twice(world: World, approval: Approval, told: Change) -> None:
    drain_once()
    actions = ControlAction.objects.count()
    Outbox.objects.update(done_at=None)
    drain_once()
    assert Ticket.objects.count() == 1
    assert ControlAction.objects.count() == actions
    assert not Outbox.objects.filter(attempts__gt=0).exists()
