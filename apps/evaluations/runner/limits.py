"""An endpoint's limits, shared by all workers through Redis, in one round trip now and then.

A worker holds *places* of the endpoint's concurrency and uses them again and again; `sync` tells
what came of its calls and what it would like, and hears what it may hold:

* concurrency: places are shared out evenly by what the workers want; a dead worker's lapse;
* adaptation: where more than 15 % of a window's calls are throttled, concurrency falls to 70 %;
  a quiet window gives a tenth of the configured limit back;
* requests and tokens per minute: leaky buckets (GCRA), one number each;
* `Retry-After` belongs to the call that got it, which gives its place away meanwhile. Where several
  in a row are throttled, or the headers say that nothing remains, everybody waits;
* circuit breaker: after failures in a row nobody calls for 1, 2, 4 … 30 s; then one call tries.

When Redis is away or was flushed, calls go on under the worker's own concurrency: limits are
courtesy, the database is the truth.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from enum import Enum

import redis.asyncio
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from apps.evaluations import leases
from apps.evaluations.runner.limits_script import SYNC
from apps.evaluations.runner.problems import Problem, Retry, Unreachable
from apps.registry.models import Endpoint

log = structlog.get_logger(__name__)
# A dead worker's places lapse after this, or with its leases where those are shorter.
LEASE_SECONDS = 15.0
# A burst may use this much of a minute's allowance at once.
BURST_SECONDS = 6.0
# Between two looks: while calls wait for a place, and while all goes well.
HUNGRY_SECONDS, CALM_SECONDS = 0.1, 0.4
# At least this long between two syncs, however pressing.
GAP_SECONDS = 0.02
# Failures in a row that open the breaker; a refused connection counts for five.
TRIP_POINTS = 10
# A try of the half-open breaker that says nothing for so long was lost with its worker.
PROBE_SECONDS = 20.0


# Errors of an answer that came whole: the endpoint is up, whatever is wrong with what it said.
SPOKEN = frozenset({"malformed", "empty"})


class Verdict(Enum):
    """What a call says about its endpoint."""

    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NOTHING = "nothing"


def verdict_of(problem: Problem) -> Verdict:
    """What a call that ended with this problem says about its endpoint."""
    if isinstance(problem, Unreachable):
        return Verdict.UNREACHABLE
    if isinstance(problem, Retry):
        if problem.kind in SPOKEN:
            return Verdict.OK
        return Verdict.THROTTLED if problem.kind == "rate_limited" else Verdict.FAILED
    return Verdict.NOTHING


class Limiter:
    """One worker's part of one endpoint's limits. `take` and `put` are local and instant."""

    def __init__(self, endpoint: Endpoint, client: redis.asyncio.Redis) -> None:
        prefix = f"govtrack:{{{endpoint.pk}}}:"  # braces: one slot of a Redis cluster
        self._keys = [prefix + name for name in ("limits", "holders")]
        self._worker = uuid.uuid4().hex
        self._redis = client
        self._sync = client.register_script(SYNC)
        self.limit = endpoint.max_concurrency
        rpm, tpm = endpoint.requests_per_minute, endpoint.tokens_per_minute
        self._request_cost = 60.0 / rpm if rpm else 0.0
        self._token_cost = 60.0 / tpm if tpm else 0.0
        self._lease = min(LEASE_SECONDS, leases.lease_seconds())
        self.granted = 0
        self.in_use = 0
        self.cap = self.limit
        """What all workers together may have under way now."""
        self.open = False
        """The breaker is open: the endpoint is not asked, but for one try now and then."""
        self.down_seconds = 0.0
        """How long the endpoint has answered nothing but failures."""
        self._permits = 0
        self._blocked_until = 0.0
        self._synced_at = 0.0
        self._pressing = False
        self._telling: asyncio.Future[None] | None = None
        self._in_a_row = 0
        """Calls throttled since the last that was answered."""
        self._clear()

    def _clear(self) -> None:
        self._ok = self._throttled = self._failed = 0
        self._throttled_last = self._failed_last = 0
        self._tokens = 0
        self._retry_after = self._close_for = 0.0

    # Local

    @property
    def blocked(self) -> float:
        """Seconds for which nobody may call."""
        return max(0.0, self._blocked_until - time.monotonic())

    def take(self) -> bool:
        """A place for one call, if there is one now."""
        if self.in_use >= self.granted or time.monotonic() < self._blocked_until:
            return False
        if self._request_cost:
            if self._permits < 1:
                return False
            self._permits -= 1
        self.in_use += 1
        return True

    def put(
        self, verdict: Verdict, *, tokens: int = 0, retry_after: float = 0.0, close_for: float = 0.0
    ) -> None:
        """The call has ended: its place is free, what it says about the endpoint is noted."""
        self.in_use -= 1
        self._tokens += tokens
        self._close_for = max(self._close_for, close_for)
        self._pressing |= close_for > 0
        if verdict is Verdict.OK:
            self._ok += 1
            self._throttled_last = self._failed_last = self._in_a_row = 0
        elif verdict is Verdict.THROTTLED:
            self._throttled += 1
            self._throttled_last += 1
            self._in_a_row += 1
            self._retry_after = max(self._retry_after, retry_after)
            if self._in_a_row > 1:
                self._pressing = True
            if retry_after and self._in_a_row >= min(3, self.cap + 1):
                # The script says the same to everybody; here it holds at once.
                self._blocked_until = max(self._blocked_until, time.monotonic() + retry_after)
        elif verdict is not Verdict.NOTHING:
            points = 5 if verdict is Verdict.UNREACHABLE else 1
            self._failed += points
            self._failed_last += points
            self._pressing |= self._failed_last >= TRIP_POINTS or self.open
        elif self.open:
            self._pressing = True

    def stands(self) -> None:
        """The endpoint answered outside the line: it is up, and everybody hears it next."""
        self._ok += 1
        self._throttled_last = self._failed_last = self._in_a_row = 0
        self._pressing = True

    def due_in(self, waiting: int) -> float:
        """Seconds until the next sync makes sense, with so many calls waiting for a place."""
        since = time.monotonic() - self._synced_at
        if self._pressing:
            return max(0.0, GAP_SECONDS - since)
        if self.blocked:
            return max(self.blocked, GAP_SECONDS - since)
        spare = self.granted - self.in_use
        if waiting and self._request_cost and spare > 0:
            return max(0.0, 2 * GAP_SECONDS - since)
        if waiting > spare or self.in_use > self.granted:
            return max(0.0, HUNGRY_SECONDS - since)
        return max(0.0, CALM_SECONDS - since)

    # Shared

    async def sync(self, waiting: int) -> None:
        """Say what came of the calls, and hear what may be held for those that wait."""
        await self._on_its_way()
        # Once sent it cannot be taken back, though whoever waits for it here is cancelled.
        self._telling = asyncio.ensure_future(self._tell(waiting))
        await asyncio.shield(self._telling)

    async def _tell(self, waiting: int) -> None:
        told = (
            self._ok,
            self._throttled,
            self._failed,
            self._throttled_last,
            self._failed_last,
            self._retry_after,
            self._close_for,
            self._tokens * self._token_cost,
        )
        self._clear()
        self._pressing = False
        self._synced_at = time.monotonic()
        try:
            answer = await self._sync(
                keys=self._keys,
                args=[
                    self._worker,
                    self.in_use,
                    min(self.in_use + waiting, self.limit),
                    self.limit,
                    self._lease,
                    self._request_cost,
                    max(0, waiting - self._permits),
                    BURST_SECONDS,
                    TRIP_POINTS,
                    PROBE_SECONDS,
                    *told,
                ],
            )
        except (RedisError, OSError) as error:
            log.warning("limits_not_shared", error=type(error).__name__)
            self.granted, self.cap, self.open, self._blocked_until = (
                self.limit,
                self.limit,
                False,
                0.0,
            )
            self._permits = max(self._permits, waiting)
            return
        granted, permits, wait, cap, open_, down = answer.split()
        self.granted, self.cap = int(granted), int(cap)
        self._permits += int(permits)
        self.open = open_ == b"1"
        self.down_seconds = float(down)
        self._blocked_until = time.monotonic() + float(wait) if float(wait) > 0 else 0.0

    async def _on_its_way(self) -> None:
        """Wait for a sync whose caller was cancelled: the script hears this worker in order."""
        if self._telling is not None and not self._telling.done():
            await asyncio.wait([self._telling])

    async def leave(self) -> None:
        """Give every place back. A sync still on its way would take them again after this, and
        nobody else would get them until they lapse."""
        await self._on_its_way()
        with suppress(RedisError, OSError):
            await self._redis.hdel(self._keys[1], self._worker)


def connect() -> redis.asyncio.Redis:
    """A connection for the current event loop; close it there."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=2.0, socket_timeout=5.0
    )


async def close(client: redis.asyncio.Redis) -> None:
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            await client.aclose()
