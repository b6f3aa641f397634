"""Failed sign-ins, on record: who was tried, never what was typed.

An entry names the account that was tried. A name that no account has may be a password typed into
the wrong field, so only its keyed digest is kept: equal tries can be told to be equal, and no more.
"""

from __future__ import annotations

from uuid import UUID

from django.core.cache import cache
from django.db import transaction
from django.utils.crypto import salted_hmac

from apps.accounts.models import User
from apps.audit.services import SYSTEM, record

# Guessing must not fill the log: so many entries for one account (or for all unknown names
# together) within the window; the last of them says that it is the last.
MOST = 10
NOBODY = UUID(int=0)
WINDOW_SECONDS = 900


def note_failed_sign_in(*, login: str, what: str = "password", user: User | None = None) -> bool:
    """Write the entry; False when this window has its entries already.

    `login`: what was typed as the name. `what`: the proof that was not right.
    """
    name = login.strip().lower()[:320]
    tried = user or User.objects.filter(email__iexact=name).first()
    count = _count(str(tried.pk) if tried else "unknown")
    if count > MOST:
        return False
    whom = tried.name if tried else "an unknown name"
    summary = f"A sign-in as {whom} failed: {what} not accepted."
    if count == MOST:
        summary += " Further failures of the next minutes are not written one by one."
    changes = {"what": what} | ({} if tried else {"name_digest": _digest(name)})
    with transaction.atomic():
        record(
            "access.sign_in_failed",
            actor=SYSTEM,
            obj=tried or User(pk=NOBODY),
            object_name=whom,
            summary=summary,
            changes=changes,
        )
    return True


def _count(key: str) -> int:
    """How many of this window, this one included."""
    name = f"access:failed-sign-in:{key}"
    cache.add(name, 0, timeout=WINDOW_SECONDS)
    try:
        return int(cache.incr(name))
    except ValueError:  # it ran out between the two calls
        return 1


def _digest(name: str) -> str:
    return salted_hmac("govtrack.failed-sign-in", name, algorithm="sha256").hexdigest()[:16]
