"""Real PostgreSQL and Valkey for the session: loaded by `-p`, before any settings are read.

The first process (the xdist controller, or the only one) starts the embedded servers unless
DATABASE_URL / REDIS_URL name yours; workers inherit the addresses.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "x" * 40)
os.environ.setdefault("GOVTRACK_HTTPS", "0")
os.environ.setdefault("GOVTRACK_ALLOWED_HOSTS", "*")
os.environ.setdefault("GOVTRACK_ENCRYPTION_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")

if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
    from govtrack.embedded import EmbeddedStack

    _stack = EmbeddedStack(Path(tempfile.mkdtemp(prefix="govtrack-test-")), ephemeral=True)
    _stack.start()
    atexit.register(_stack.stop)
    os.environ.setdefault("DATABASE_URL", _stack.database_url)
    os.environ.setdefault("REDIS_URL", _stack.redis_url)
