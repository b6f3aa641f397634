"""Who works on which shard. A lease ends by itself, and its fence keeps an old owner out.

1. `claim` takes free shards with SKIP LOCKED and raises their fence; committed before any work.
2. The owner calls `heartbeat` more often than the lease lasts, and hears what it has lost.
3. Every write of a result checks owner and fence in its own transaction (`runner.writer`).
4. `sweep` frees the shards of owners that went silent; a shard that ends its workers again and
   again (`MAX_DEATHS`) is named, so that its run can be stopped with a reason.

Locks are always taken run before shard; `claim` locks shards only, and begins runs afterwards.

All times here are the database's: a worker or a page whose clock is wrong by an hour neither takes
a living owner's work nor puts work off. Should the database's own clock go back, times that lie
farther ahead than any lease or wait can (`TOO_FAR_SECONDS`) count as past.
"""

from __future__ import annotations

import datetime as dt
import heapq
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.evaluations.lifecycle import CLAIMABLE
from apps.evaluations.models import Shard

MAX_DEATHS = 10
MAX_BACKOFF_SECONDS = 30.0
TOO_FAR_SECONDS = 900.0


@dataclass(frozen=True)
class Lease:
    shard_id: UUID
    run_id: UUID
    owner: str
    fence: int
    attempts: int
    first_position: int
    last_position: int
    first_replicate: int = 0
    replicates: int | None = None

    def mine(self) -> QuerySet[Shard]:
        """The shard, as long as the lease still holds."""
        return Shard.objects.filter(
            pk=self.shard_id, lease_owner=self.owner, fence=self.fence, done=False
        )


def lease_seconds() -> float:
    return float(settings.GOVTRACK["LEASE_SECONDS"])


def backoff(attempts: int) -> float:
    """Seconds to wait after the n-th failure in a row (n from 0), without jitter."""
    return min(MAX_BACKOFF_SECONDS, 2.0 ** min(attempts, 10))


def patience_spent(attempts: int) -> float:
    """Seconds that a shard has waited through after so many failures in a row."""
    return sum(backoff(n) for n in range(attempts))


def after(seconds: float) -> Any:
    """So many seconds from now on the database's clock, for use in an UPDATE or a filter."""
    return Now() + dt.timedelta(seconds=seconds)


def claimable() -> QuerySet[Shard]:
    return Shard.objects.filter(
        Q(not_before__lte=Now()) | Q(not_before__gt=after(TOO_FAR_SECONDS)),
        done=False,
        lease_owner="",
        run__state__in=CLAIMABLE,
    )


# Runs with free shards: urgent ones first, then those of which least is being worked on. Of very
# many, the oldest 200 are looked at.
CANDIDATES = """
SELECT id, leased, urgency FROM (
  SELECT r.id, r.urgency, r.created_at,
         (SELECT count(*) FROM evaluations_shard l
           WHERE l.run_id = r.id AND NOT l.done AND l.lease_owner <> '') AS leased
    FROM (
      SELECT r.id, r.urgency, r.created_at
        FROM evaluations_run r JOIN registry_modelversion v ON v.id = r.model_version_id
       WHERE r.state IN ('queued', 'running')
         AND (v.endpoint_id <> ALL(%(busy)s::uuid[]) OR r.urgency = 2)
         AND v.endpoint_id <> ALL(%(closed)s::uuid[])
         AND EXISTS (SELECT 1 FROM evaluations_shard s
                      WHERE s.run_id = r.id AND NOT s.done AND s.lease_owner = ''
                        AND (s.not_before <= statement_timestamp()
                             OR s.not_before > statement_timestamp() + %(too_far)s))
       ORDER BY r.urgency DESC, r.created_at LIMIT 200
    ) r
) c ORDER BY urgency DESC, leased, created_at LIMIT %(limit)s
"""
# The run's state is looked at again: it may have been cancelled between the two queries.
TAKE = """
WITH free AS (
  SELECT s.id
    FROM unnest(%(runs)s::uuid[], %(counts)s::int[]) AS w(run_id, n)
    JOIN evaluations_run r ON r.id = w.run_id AND r.state IN ('queued', 'running')
   CROSS JOIN LATERAL (
      SELECT s.id FROM evaluations_shard s
       WHERE s.run_id = w.run_id AND NOT s.done AND s.lease_owner = ''
         AND (s.not_before <= statement_timestamp()
              OR s.not_before > statement_timestamp() + %(too_far)s)
       ORDER BY s.not_before, s.id LIMIT w.n FOR UPDATE SKIP LOCKED
   ) s
)
UPDATE evaluations_shard s
   SET lease_owner = %(owner)s, lease_until = statement_timestamp() + %(lease)s,
       fence = s.fence + 1
  FROM free WHERE s.id = free.id
RETURNING s.id, s.run_id, s.fence, s.attempts, s.first_position, s.last_position,
          s.first_replicate, s.replicates
"""


def claim(
    *,
    owner: str,
    limit: int,
    busy_endpoints: Collection[UUID] = (),
    closed_endpoints: Collection[UUID] = (),
    seconds: float | None = None,
) -> list[Lease]:
    """Lease up to `limit` free shards: urgent runs' first, then of the runs in turn. A busy
    endpoint is for urgent runs only, a closed one for none."""
    values: dict[str, Any] = {
        "too_far": dt.timedelta(seconds=TOO_FAR_SECONDS),
        "limit": limit,
        "busy": list(busy_endpoints),
        "closed": list(closed_endpoints),
        "owner": owner,
        "lease": dt.timedelta(seconds=seconds or lease_seconds()),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CANDIDATES, values)
        counts = _shares(cursor.fetchall(), limit)
        if not counts:
            return []
        values |= {"runs": list(counts), "counts": list(counts.values())}
        cursor.execute(TAKE, values)
        rows = cursor.fetchall()
    return [
        Lease(
            shard_id=row[0],
            run_id=row[1],
            owner=owner,
            fence=row[2],
            attempts=row[3],
            first_position=row[4],
            last_position=row[5],
            first_replicate=row[6],
            replicates=row[7],
        )
        for row in sorted(rows, key=lambda row: (list(counts).index(row[1]), row[0]))
    ]


def _shares(candidates: list[tuple[UUID, int, int]], limit: int) -> dict[UUID, int]:
    """How many shards of which run: each goes to the most urgent run with the fewest so far."""
    heap = [(-urgency, leased, index) for index, (_, leased, urgency) in enumerate(candidates)]
    heapq.heapify(heap)
    counts: dict[UUID, int] = {}
    for _ in range(limit if heap else 0):
        urgency, leased, index = heap[0]
        run_id = candidates[index][0]
        counts[run_id] = counts.get(run_id, 0) + 1
        heapq.heapreplace(heap, (urgency, leased + 1, index))
    return counts


HEARTBEAT = """
WITH mine AS (
  UPDATE evaluations_shard s SET lease_until = statement_timestamp() + %s
    FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS l(id, owner, fence)
   WHERE s.id = l.id AND s.lease_owner = l.owner AND s.fence = l.fence AND NOT s.done
  RETURNING s.id, s.run_id
)
SELECT mine.id, r.state FROM mine JOIN evaluations_run r ON r.id = mine.run_id
"""
FINISH = """
UPDATE evaluations_shard s SET done = true, lease_owner = '', lease_until = NULL
  FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS l(id, owner, fence)
 WHERE s.id = l.id AND s.lease_owner = l.owner AND s.fence = l.fence AND NOT s.done
RETURNING s.id
"""


def _arrays(leases: Collection[Lease]) -> list[Any]:
    return [
        [lease.shard_id for lease in leases],
        [lease.owner for lease in leases],
        [lease.fence for lease in leases],
    ]


def heartbeat(leases: Iterable[Lease], *, seconds: float | None = None) -> dict[UUID, str]:
    """Prolong leases. Returns the run's state for each shard still held; the rest are lost."""
    held = list(leases)
    if not held:
        return {}
    lease: Any = dt.timedelta(seconds=seconds or lease_seconds())
    with connection.cursor() as cursor:
        cursor.execute(HEARTBEAT, [lease, *_arrays(held)])
        return dict(cursor.fetchall())


def finish_many(leases: Collection[Lease]) -> set[UUID]:
    """All slots of these shards are stored. Returns those whose lease still held."""
    with connection.cursor() as cursor:
        cursor.execute(FINISH, _arrays(leases))
        return {row[0] for row in cursor.fetchall()}


def finish(lease: Lease) -> bool:
    """All slots of the shard are stored. False when the lease was lost meanwhile."""
    return bool(lease.mine().update(done=True, lease_owner="", lease_until=None))


def release(lease: Lease) -> bool:
    """Give the shard back: free at once, for anybody."""
    return bool(lease.mine().update(lease_owner="", lease_until=None, not_before=Now()))


def hand_back(lease: Lease, *, delay: float) -> bool:
    """Give the shard back after a failure that is not its own: free after `delay` seconds."""
    return bool(
        lease.mine().update(
            lease_owner="",
            lease_until=None,
            not_before=after(delay * random.uniform(0.9, 1.1)),  # noqa: S311
            attempts=F("attempts") + 1,
        )
    )


def postpone(lease: Lease, *, delay: float) -> bool:
    """Give the shard back through no failure at all: its endpoint is closed for a while."""
    return bool(lease.mine().update(lease_owner="", lease_until=None, not_before=after(delay)))


@dataclass(frozen=True)
class Swept:
    freed: int
    deadly: list[Any]
    """Ids of runs with a shard whose workers died too often."""


def sweep() -> Swept:
    """Free the shards of owners that went silent. Safe to call from anywhere at any time."""
    deadly: list[Any] = []
    with transaction.atomic():
        expired = list(
            Shard.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(
                Q(lease_until__lt=Now())
                | Q(lease_until__gt=after(max(TOO_FAR_SECONDS, 2 * lease_seconds()))),
                done=False,
            )
            .exclude(lease_owner="")
            .order_by("id")[:500]
        )
        for shard in expired:
            # The first deaths cost no delay; a shard that kills its workers is slowed down.
            wait = backoff(shard.attempts) if shard.attempts >= 2 else 0.0
            shard.lease_owner = ""
            shard.lease_until = None
            shard.attempts += 1
            shard.not_before = after(wait)
            if shard.attempts >= MAX_DEATHS:
                deadly.append(shard.run_id)
        Shard.objects.bulk_update(expired, ["lease_owner", "lease_until", "attempts", "not_before"])
    return Swept(len(expired), deadly)
