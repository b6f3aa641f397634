"""Fixtures that every test may use. The servers come from `tests/servers.py`, the believable world
from `tests/world.py`, databases that other processes can see from `tests/fixtures/live.py`."""

from __future__ import annotations
