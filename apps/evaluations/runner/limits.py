"""An endpoint's limits, shared by all workers through Redis.

Concurrency is a leased semaphore (a sorted set of tokens scored by when they lapse; a dead worker's
tokens lapse with its lease). Requests and tokens per minute are leaky buckets (GCRA): one number
each. `Retry-After` closes the endpoint for everybody. When Redis is away or was flushed, calls
go on under the worker's own concurrency: limits are courtesy, the database is the truth.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import suppress

import redis.asyncio
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from apps.evaluations import leases
from apps.registry.models import Endpoint

log = structlog.get_logger(__name__)
# A dead worker's tokens lapse after this, or with its leases where those are shorter.
LEASE_SECONDS = 15.0
# Waiting that is not for a known time: one look in 50 to 150 ms.
POLL_SECONDS = 0.1
# A burst may use this much of a minute's allowance at once.
BURST_SECONDS = 6.0

ACQUIRE = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local closed = tonumber(redis.call('GET', KEYS[2]) or '0')
if closed > now then return tostring(closed - now) end
for i = 3, 4 do
  local full = tonumber(redis.call('GET', KEYS[i]) or '0')
  if full - now > tonumber(ARGV[5]) then return tostring(full - now - tonumber(ARGV[5])) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return '-1' end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], 600)
local cost = tonumber(ARGV[4])
if cost > 0 then
  local full = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), now) + cost
  redis.call('SET', KEYS[3], string.format('%.6f', full), 'EX', 600)
end
return '0'
"""
# Prolongs a token only where it is still held.
RENEW = """
local t = redis.call('TIME')
local till = t[1] + t[2] / 1000000 + ARGV[1]
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', till, ARGV[i])
end
return 1
"""
SPEND = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.6f', full), 'EX', 600)
return 1
"""
CLOSE = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local till = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now + tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%.6f', till), 'EX', 600)
return 1
"""


class Limiter:
    """The shared limits of one endpoint, as one worker sees them."""

    def __init__(self, endpoint: Endpoint, client: redis.asyncio.Redis) -> None:
        prefix = f"govtrack:{{{endpoint.pk}}}:"  # braces: one slot of a Redis cluster
        self._keys = [prefix + name for name in ("held", "closed", "requests", "tokens")]
        self._redis = client
        self._limit = endpoint.max_concurrency
        rpm, tpm = endpoint.requests_per_minute, endpoint.tokens_per_minute
        self._request_cost = 60.0 / rpm if rpm else 0.0
        self._token_cost = 60.0 / tpm if tpm else 0.0
        self._lease = min(LEASE_SECONDS, leases.lease_seconds())
        self._held: set[str] = set()
        self._closed_until = 0.0

    async def try_acquire(self) -> tuple[str, float]:
        """A token and 0, or "" and the seconds after which to ask again."""
        token = uuid.uuid4().hex
        here = self._closed_until - time.monotonic()
        if here > 0:
            return "", here
        try:
            answer = float(
                await self._redis.eval(
                    ACQUIRE,
                    4,
                    *self._keys,
                    token,
                    self._limit,
                    self._lease,
                    self._request_cost,
                    BURST_SECONDS,
                )
            )
        except (RedisError, OSError) as error:
            log.warning("limits_not_shared", error=type(error).__name__)
            answer = 0.0
        if answer == 0:
            self._held.add(token)
            return token, 0.0
        if answer < 0:
            answer = POLL_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311
        return "", answer

    async def give_back(self, token: str) -> None:
        self._held.discard(token)
        with suppress(RedisError, OSError):  # it lapses by itself
            await self._redis.zrem(self._keys[0], token)

    async def renew(self) -> None:
        """Keep the tokens of calls that are under way. Call it more often than the lease lasts."""
        if not self._held:
            return
        with suppress(RedisError, OSError):
            await self._redis.eval(RENEW, 1, self._keys[0], self._lease, *self._held)

    async def spent(self, tokens: int) -> None:
        """Charge the tokens that an answer used."""
        if self._token_cost and tokens:
            with suppress(RedisError, OSError):
                await self._redis.eval(SPEND, 1, self._keys[3], tokens * self._token_cost)

    async def close_for(self, seconds: float) -> None:
        """The endpoint asked everybody to wait."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)
        with suppress(RedisError, OSError):
            await self._redis.eval(CLOSE, 1, self._keys[1], seconds)


def connect() -> redis.asyncio.Redis:
    """A connection for the current event loop; close it there."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=2.0, socket_timeout=5.0
    )


async def close(client: redis.asyncio.Redis) -> None:
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            await client.aclose()
