from __future__ import annotations

from tests.drift.story import same_luck
from tests.world import world

__all__ = ["same_luck", "world"]
