from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.audit.services import SYSTEM
from apps.evaluations import services
from apps.evaluations.lifecycle import OPEN
from apps.evaluations.models import Run, Schedule, Shard
from tests.fixtures.live import live_clone, live_db, live_template, shared_live_db
from tests.fixtures.provider import Provider

__all__ = ["live_clone", "live_db", "live_template", "shared_live_db"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture
def live(shared_live_db: str) -> Iterator[None]:
    """The shared clone, left without anything that a worker of the next test could pick up."""
    yield
    for run in Run.objects.filter(state__in=OPEN):
        services.cancel_run(actor=SYSTEM, run=run, reason="The test is over.")
    Schedule.objects.update(enabled=False)
    # A lease that a test left held would run out during a later one, whose sweep would count it.
    Shard.objects.exclude(lease_owner="").update(lease_owner="", lease_until=None)


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests here drive workers themselves; wake-up calls go nowhere."""
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
