from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.live import live_db, live_template
from tests.fixtures.provider import Provider

__all__ = ["live_db", "live_template"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests here drive workers themselves; wake-up calls go nowhere."""
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
