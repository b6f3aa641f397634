from __future__ import annotations

import pytest

from apps.registry.models import Approval
from tests.fixtures.live import live_db, live_template
from tests.tickets.story import Change, change
from tests.world import World, approve, world

__all__ = ["live_db", "live_template", "world"]


@pytest.fixture
def approval(world: World) -> Approval:
    """The claims assistant, in force for Claims triage (tier 1)."""
    return approve(world)


@pytest.fixture
def changed(world: World, approval: Approval) -> Change:
    """It changed materially, and A1 (high criticality) no longer holds."""
    return change(world, broken={"A1": 0.6})
