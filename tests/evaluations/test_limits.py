"""An endpoint's limits, shared by workers through a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

from apps.evaluations.runner import limits
from apps.evaluations.runner.limits import Limiter
from apps.registry.models import Endpoint


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint(id=uuid.uuid4(), name="local", base_url="http://x/v1", **fields)


def with_redis(test: Callable[[redis.asyncio.Redis], Awaitable[None]]) -> None:
    async def run() -> None:
        client = limits.connect()
        try:
            await test(client)
        finally:
            await limits.close(client)

    asyncio.run(run())


def test_workers_together_hold_no_more_than_the_limit() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=3)
        workers = [Limiter(place, client) for _ in range(2)]

        tokens = [(await workers[i % 2].try_acquire())[0] for i in range(6)]

        assert [bool(t) for t in tokens] == [True] * 3 + [False] * 3
        await workers[0].give_back(tokens[0])
        assert (await workers[1].try_acquire())[0]

    with_redis(test)


def test_a_dead_worker_s_places_lapse_and_a_living_one_s_are_renewed() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=2)
        dead, alive, third = (Limiter(place, client) for _ in range(3))
        dead._lease = alive._lease = 0.3
        await dead.try_acquire()
        await alive.try_acquire()

        for _ in range(4):
            await asyncio.sleep(0.1)
            await alive.renew()

        assert (await third.try_acquire())[0]
        assert not (await third.try_acquire())[0]

    with_redis(test)


def test_retry_after_closes_the_endpoint_for_every_worker() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=2)
        told, other = Limiter(place, client), Limiter(place, client)

        await told.close_for(5)

        for limiter in (told, other):
            token, wait = await limiter.try_acquire()
            assert token == ""
            assert 4 < wait <= 5

    with_redis(test)


def test_requests_a_minute_are_spread_after_a_small_burst() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=100, requests_per_minute=60), client)

        answers = [await limiter.try_acquire() for _ in range(10)]

        granted = [token for token, _ in answers if token]
        assert 6 <= len(granted) <= 8
        assert 0 < answers[-1][1] <= 1.1

    with_redis(test)


def test_tokens_a_minute_are_charged_after_the_answer() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=9, tokens_per_minute=600), client)
        assert (await limiter.try_acquire())[0]

        await limiter.spent(300)  # half a minute's allowance

        token, wait = await limiter.try_acquire()
        assert token == ""
        assert 20 < wait < 30

    with_redis(test)


def test_without_redis_calls_go_on_under_the_worker_s_own_limit() -> None:
    async def run() -> None:
        client = redis.asyncio.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.5)
        limiter = Limiter(endpoint(max_concurrency=1), client)

        token, _ = await limiter.try_acquire()

        assert token
        await limiter.renew()
        await limiter.close_for(0.1)
        await limiter.give_back(token)
        await limits.close(client)

    asyncio.run(run())
