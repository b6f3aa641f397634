"""Fixtures that every test may use. The servers come from `tests/servers.py`, the believable world
from `tests/world.py`, databases that other processes can see from `tests/fixtures/live.py`."""

from __future__ import annotations

import uuid
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _own_cache(settings: Any) -> None:
    """Rate limits counted by one test must not lock out another, in whichever process it runs."""
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid.uuid4().hex}
    settings.CACHES = {**settings.CACHES, "default": default}
