from __future__ import annotations

from tests.fixtures.live import live_db, live_template
from tests.world import world

__all__ = ["live_db", "live_template", "world"]
