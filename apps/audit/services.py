"""Write an entry (in the caller's transaction), number entries, verify all of them."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import rfc8785
from django.db import connection, models, transaction

from apps.audit.merkle import Frontier, leaf_hash
from apps.audit.models import AuditEvent, AuditHead, AuditLeaf, AuditPending
from apps.core import clock
from apps.core.ids import uuid7

SEQUENCER_LOCK = 0x6774_6175  # pg_advisory_xact_lock key
# Set by the access layer for the length of a request, so that an entry says from which session.
current_session_ref: ContextVar[str] = ContextVar("current_session_ref", default="")


class Actor(Protocol):
    @property
    def pk(self) -> Any: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class System:
    """The product itself acting: a schedule, a policy."""

    name: str = "GovTrack"
    pk: str = "system"


SYSTEM = System()


def _text(value: str) -> str:
    """NUL cannot be stored by PostgreSQL, lone surrogates cannot be encoded."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any) -> Any:
    """What RFC 8785 can write down. Anything else is written as text: an entry that could not be
    written would take the write that it tells of with it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, models.Model):
        return {"id": str(value.pk), "name": _text(str(value))[:300]}
    if isinstance(value, Mapping):
        return {_text(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(v) for v in value), key=str)
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return _text(str(value))


def record(
    action: str,
    *,
    actor: Actor,
    obj: models.Model,
    summary: str,
    changes: Mapping[str, Any] | None = None,
    object_name: str = "",
) -> AuditEvent:
    """Append one entry. Call it inside the transaction of the write that it tells of.

    `action` is `app.verb` ("registry.approval_approved"); `changes` holds plain values, never
    secrets. Raises RuntimeError outside a transaction: a write and its entry commit together.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("audit.record() must run in the transaction of the write it records")
    event = AuditEvent(
        id=uuid7(),
        occurred_at=clock.now(),
        action=action,
        actor_id=str(actor.pk),
        actor_name=_text(actor.name)[:300],
        session_ref=current_session_ref.get(),
        object_type=obj._meta.label_lower,
        object_id=str(obj.pk),
        object_name=_text(object_name or str(obj))[:300],
        summary=_text(summary),
    )
    event.body = rfc8785.dumps(body_of(event, _plain(changes or {}))).decode()
    event.leaf_hash = leaf_hash(event.body.encode())
    event.save(force_insert=True)
    return event


def body_of(event: AuditEvent, changes: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "id": str(event.id),
        "at": _plain(event.occurred_at),
        "action": event.action,
        "actor": {"id": event.actor_id, "name": event.actor_name},
        "session": event.session_ref,
        "object": {
            "type": event.object_type,
            "id": event.object_id,
            "name": event.object_name,
        },
        "summary": event.summary,
        "changes": changes,
    }


def sequence(*, limit: int = 2000) -> int:
    """Number the entries that have none yet and grow the tree. Returns how many.

    One sequencer at a time (advisory lock, held for one short transaction); a second one
    returns 0 at once. Safe to call from anywhere, any number of times.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEQUENCER_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        head = AuditHead.objects.order_by("-size").first()
        frontier = Frontier(
            size=head.size if head else 0,
            peaks=[bytes.fromhex(p) for p in head.frontier] if head else [],
        )
        # A trigger notes every new entry here: to look for those without a leaf would mean to
        # read the whole log at each tick.
        waiting = list(
            AuditPending.objects.filter(event__leaf__isnull=True)
            .select_related("event")
            .only("event__occurred_at", "event__leaf_hash")
            .order_by("event__occurred_at", "event_id")[:limit]
        )
        if not waiting:
            return 0
        leaves = []
        for row in waiting:
            digest = bytes(row.event.leaf_hash)
            leaves.append(AuditLeaf(seq=frontier.size, event_id=row.event_id, leaf_hash=digest))
            frontier.append(digest)
        AuditLeaf.objects.bulk_create(leaves)
        AuditPending.objects.filter(event__in=[row.event_id for row in waiting]).delete()
        AuditHead.objects.create(
            size=frontier.size,
            root_hash=frontier.root(),
            frontier=[p.hex() for p in frontier.peaks],
        )
        return len(leaves)


@dataclass(frozen=True)
class Verification:
    ok: bool
    entries: int
    pending: int
    root: str
    first_bad: str = ""
    reason: str = ""

    def sentence(self) -> str:
        if self.ok:
            return f"Verified: {self.entries} entries, root {self.root[:16]}…" + (
                f", {self.pending} not yet numbered." if self.pending else "."
            )
        return f"Not intact: entry {self.first_bad}: {self.reason}"


def verify() -> Verification:
    """Recompute everything: each entry's columns against its body, body against leaf, numbers
    gapless, every stored head's root. Names the first bad entry."""
    frontier = Frontier()
    heads = {h.size: h for h in AuditHead.objects.order_by("size").iterator()}
    pending = 0

    def bad(entry: object, reason: str) -> Verification:
        return Verification(False, frontier.size, pending, "", str(entry), reason)

    leaves = AuditLeaf.objects.select_related("event").order_by("seq")
    for leaf in leaves.iterator(chunk_size=1000):
        if leaf.seq != frontier.size:
            return bad(f"{frontier.size}", "missing: the numbering has a gap here.")
        reason = _fault(leaf.event)
        if not reason and bytes(leaf.leaf_hash) != bytes(leaf.event.leaf_hash):
            reason = "its leaf in the tree is not the hash of the entry."
        if reason:
            return bad(f"{leaf.seq} ({leaf.event_id})", reason)
        frontier.append(bytes(leaf.leaf_hash))
        head = heads.pop(frontier.size, None)
        if head and bytes(head.root_hash) != frontier.root():
            return bad(f"{leaf.seq}", f"the root of the tree at size {head.size} does not match.")
        if head and head.frontier != [p.hex() for p in frontier.peaks]:
            return bad(f"{leaf.seq}", f"the tree at size {head.size} would grow from wrong nodes.")
    if heads:
        size = min(heads)
        return bad(f"{frontier.size}", f"missing: the log once had {size} entries.")
    for event in AuditEvent.objects.filter(leaf__isnull=True).iterator():
        pending += 1
        if reason := _fault(event):
            return bad(str(event.id), reason)
    return Verification(True, frontier.size, pending, frontier.root().hex())


def _fault(event: AuditEvent) -> str:
    if leaf_hash(event.body.encode()) != bytes(event.leaf_hash):
        return "its content does not match its hash."
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        return "its content is not JSON."
    if not isinstance(body, dict):
        return "its content is not an entry."
    if body != body_of(event, body.get("changes")):
        return "its columns differ from its hashed content."
    return ""
