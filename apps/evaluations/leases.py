"""Who works on which shard. A lease ends by itself, and its fence keeps an old owner out.

1. `claim` takes free shards with SKIP LOCKED and raises their fence; committed before any work.
2. The owner calls `heartbeat` more often than the lease lasts, and hears what it has lost.
3. Every write of a result checks owner and fence in its own transaction (`runner.writer`).
4. `sweep` frees the shards of owners that went silent; a shard that ends its workers again and
   again (`MAX_DEATHS`) is named, so that its run can be stopped with a reason.

Locks are always taken run before shard; `claim` locks shards only, and begins runs afterwards.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from apps.core import clock
from apps.evaluations.lifecycle import CLAIMABLE
from apps.evaluations.models import Shard

MAX_DEATHS = 10
MAX_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True)
class Lease:
    shard_id: UUID
    run_id: UUID
    owner: str
    fence: int
    attempts: int
    first_position: int
    last_position: int

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


def claimable(now: dt.datetime | None = None) -> QuerySet[Shard]:
    return Shard.objects.filter(
        done=False,
        lease_owner="",
        not_before__lte=now or clock.now(),
        run__state__in=CLAIMABLE,
    )


def claim(
    *, owner: str, limit: int, busy_endpoints: Collection[UUID] = (), seconds: float | None = None
) -> list[Lease]:
    """Lease up to `limit` free shards, oldest first, of endpoints that are not busy here."""
    now = clock.now()
    until = now + dt.timedelta(seconds=seconds or lease_seconds())
    with transaction.atomic():
        shards = list(
            claimable(now)
            .exclude(run__model_version__endpoint__in=list(busy_endpoints))
            .select_for_update(of=("self",), skip_locked=True)
            .order_by("not_before", "id")[:limit]
        )
        Shard.objects.filter(pk__in=[s.pk for s in shards]).update(
            lease_owner=owner, lease_until=until, fence=F("fence") + 1
        )
    return [
        Lease(
            shard_id=s.pk,
            run_id=s.run_id,
            owner=owner,
            fence=s.fence + 1,
            attempts=s.attempts,
            first_position=s.first_position,
            last_position=s.last_position,
        )
        for s in shards
    ]


def heartbeat(leases: Iterable[Lease], *, seconds: float | None = None) -> dict[UUID, str]:
    """Prolong leases. Returns the run's state for each shard still held; the rest are lost."""
    held = list(leases)
    if not held:
        return {}
    mine = Q()
    for lease in held:
        mine |= Q(pk=lease.shard_id, fence=lease.fence, lease_owner=lease.owner)
    until = clock.now() + dt.timedelta(seconds=seconds or lease_seconds())
    Shard.objects.filter(mine, done=False).update(lease_until=until)
    return dict(Shard.objects.filter(mine, done=False).values_list("pk", "run__state"))


def finish(lease: Lease) -> bool:
    """All slots of the shard are stored. False when the lease was lost meanwhile."""
    return bool(lease.mine().update(done=True, lease_owner="", lease_until=None))


def release(lease: Lease) -> bool:
    """Give the shard back: free at once, for anybody."""
    return bool(lease.mine().update(lease_owner="", lease_until=None, not_before=clock.now()))


def hand_back(lease: Lease, *, delay: float) -> bool:
    """Give the shard back after a failure that is not its own: free after `delay` seconds."""
    wait = dt.timedelta(seconds=delay * random.uniform(0.9, 1.1))  # noqa: S311
    return bool(
        lease.mine().update(
            lease_owner="",
            lease_until=None,
            not_before=clock.now() + wait,
            attempts=F("attempts") + 1,
        )
    )


@dataclass(frozen=True)
class Swept:
    freed: int
    deadly: list[Any]
    """Ids of runs with a shard whose workers died too often."""


def sweep() -> Swept:
    """Free the shards of owners that went silent. Safe to call from anywhere at any time."""
    now = clock.now()
    deadly: list[Any] = []
    with transaction.atomic():
        expired = list(
            Shard.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(done=False, lease_until__lt=now)
            .exclude(lease_owner="")
            .order_by("id")[:500]
        )
        for shard in expired:
            # The first deaths cost no delay; a shard that kills its workers is slowed down.
            wait = backoff(shard.attempts) if shard.attempts >= 2 else 0.0
            shard.lease_owner = ""
            shard.lease_until = None
            shard.attempts += 1
            shard.not_before = now + dt.timedelta(seconds=wait)
            if shard.attempts >= MAX_DEATHS:
                deadly.append(shard.run_id)
        Shard.objects.bulk_update(expired, ["lease_owner", "lease_until", "attempts", "not_before"])
    return Swept(len(expired), deadly)
