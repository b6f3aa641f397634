"""Public ids: UUIDv7 (RFC 9562 section 5.7), made in Python since PostgreSQL 15 to 17 cannot."""

import uuid

import uuid_utils


def uuid7() -> uuid.UUID:
    """A new time-ordered id. Order is by millisecond, then random: never rely on it within one."""
    return uuid.UUID(int=uuid_utils.uuid7().int)
