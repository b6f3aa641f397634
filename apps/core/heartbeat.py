"""When beat's last tick was worked on: kept in the cache, so that `doctor` can tell."""

from __future__ import annotations

import time

from django.core.cache import cache

KEY = "govtrack:heartbeat"


def beat() -> None:
    cache.set(KEY, time.time(), timeout=None)


def age_seconds() -> float | None:
    """Seconds since the last tick; None when there never was one."""
    at = cache.get(KEY)
    return None if at is None else max(0.0, time.time() - float(at))
