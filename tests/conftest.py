"""Fixtures that every test may use. The servers come from `tests/servers.py`, the believable world
from `tests/world.py`, databases that other processes can see from `tests/fixtures/live.py`."""

from __future__ import annotations

import os
import uuid
from typing import Any

import hypothesis
import pytest

from apps.drift.stats import ranks

# The same examples every time, however slow the machine: a failure then says that the change at
# hand is at fault. HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def _own_cache(settings: Any) -> None:
    """Rate limits counted by one test must not lock out another, in whichever process it runs."""
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid.uuid4().hex}
    settings.CACHES = {**settings.CACHES, "default": default}


@pytest.fixture(autouse=True)
def _same_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows have random ids, and ties are broken by draws keyed by ids: a test of what a watch makes
    of a stream would fail once in so many times. Here each part of a key counts as the how-manieth
    it is in this test, so that the draws are as uniform as ever and the same in every session."""
    if request.node.get_closest_marker("django_db") is None:
        return
    seen: dict[str, bytes] = {}
    monkeypatch.setattr(ranks, "_key_bytes", lambda part: seen.setdefault(part, b"%d" % len(seen)))
