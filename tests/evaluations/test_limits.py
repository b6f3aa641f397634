"""An endpoint's limits, shared by workers through a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio

from apps.evaluations.runner import limits, problems
from apps.evaluations.runner.limits import Limiter, Verdict
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


def take_all(limiter: Limiter) -> int:
    count = 0
    while limiter.take():
        count += 1
    return count


def end(limiter: Limiter, verdict: Verdict, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        limiter.put(verdict, **more)


def test_workers_together_hold_no_more_than_the_limit() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=3)
        first, second = Limiter(place, client), Limiter(place, client)

        await first.sync(10)
        assert take_all(first) == 3
        await second.sync(10)
        assert take_all(second) == 0

        end(first, Verdict.OK, 2)
        assert take_all(first) == 2, "places are used again without asking"
        end(first, Verdict.OK, 3)
        await first.sync(0)
        await second.sync(10)
        assert take_all(second) == 3

    with_redis(test)


def test_two_hungry_workers_come_to_share_evenly() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=8)
        early, late = Limiter(place, client), Limiter(place, client)
        await early.sync(100)
        assert take_all(early) == 8

        await late.sync(100)
        await early.sync(100)
        assert early.granted == 4
        end(early, Verdict.OK, 4)
        assert take_all(early) == 0, "it is over its share and starts nothing"
        await early.sync(100)
        await late.sync(100)

        assert (early.in_use, take_all(late)) == (4, 4)

    with_redis(test)


def test_what_one_worker_does_not_want_another_gets() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=8)
        modest, greedy = Limiter(place, client), Limiter(place, client)

        await modest.sync(2)
        await greedy.sync(100)

        assert (take_all(modest), take_all(greedy)) == (2, 6)

    with_redis(test)


def test_workers_take_turns_where_there_are_more_of_them_than_places() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=1)
        workers = [Limiter(place, client) for _ in range(2)]
        served = {0: 0, 1: 0}

        for _ in range(30):
            for index, worker in enumerate(workers):
                await worker.sync(5)
                got = take_all(worker)
                assert got <= 1
                served[index] += got
                end(worker, Verdict.OK, got)
            await asyncio.sleep(0.08)

        assert min(served.values()) > 3

    with_redis(test)


def test_a_sync_that_was_cancelled_on_its_way_takes_no_place_after_its_worker_left() -> None:
    """The ends of batches of a judge: the next batch waited fifteen seconds for its place."""

    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=1)
        gone, other = Limiter(place, client), Limiter(place, client)
        send = gone._sync

        async def slowly(**call: Any) -> Any:
            async def arrive() -> Any:
                await asyncio.sleep(0.2)
                return await send(**call)

            return await asyncio.shield(asyncio.create_task(arrive()))  # as a packet that is out

        gone._sync = slowly
        telling = asyncio.create_task(gone.sync(1))
        await asyncio.sleep(0.02)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await gone.leave()
        await asyncio.sleep(0.5)

        await other.sync(1)
        assert take_all(other) == 1

    with_redis(test)


def test_a_dead_worker_s_places_lapse_and_a_living_one_s_are_kept() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=2)
        dead, alive, third = (Limiter(place, client) for _ in range(3))
        dead._lease = alive._lease = 1.0
        await dead.sync(1)
        await alive.sync(1)
        assert take_all(dead) == take_all(alive) == 1

        for _ in range(6):
            await asyncio.sleep(0.2)
            await alive.sync(0)

        await third.sync(5)
        assert take_all(third) == 1

    with_redis(test)


def test_one_retry_after_holds_back_only_the_call_that_got_it() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=8), client)
        await limiter.sync(8)
        take_all(limiter)

        end(limiter, Verdict.OK, 4)
        end(limiter, Verdict.THROTTLED, 1, retry_after=5)
        await limiter.sync(8)

        assert limiter.blocked == 0
        assert take_all(limiter) == 5

    with_redis(test)


def test_retry_afters_in_a_row_close_the_endpoint_for_every_worker() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=8)
        told, other = Limiter(place, client), Limiter(place, client)
        await told.sync(4)
        take_all(told)

        end(told, Verdict.THROTTLED, 3, retry_after=5)
        await told.sync(4)
        await other.sync(4)

        for limiter in (told, other):
            assert 4 < limiter.blocked <= 5
            assert take_all(limiter) == 0

    with_redis(test)


def test_concurrency_falls_under_throttling_and_grows_back() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=20), client)
        await limiter.sync(100)

        async def window(throttled: int) -> int:
            for _ in range(2):
                count = take_all(limiter)
                end(limiter, Verdict.THROTTLED, min(throttled, count))
                end(limiter, Verdict.OK, max(0, count - throttled))
                await limiter.sync(100)
            return limiter.cap

        assert await window(throttled=1) == 20, "5 % are nothing to shrink for"
        fallen = await window(throttled=10)
        assert fallen == 14
        seen = [await window(throttled=0) for _ in range(8)]
        assert seen == sorted(seen)
        assert seen[-1] == 20

    with_redis(test)


def test_requests_a_minute_are_spread_after_a_small_burst() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=100, requests_per_minute=60), client)

        await limiter.sync(10)

        assert 6 <= take_all(limiter) <= 8
        await limiter.sync(3)
        assert take_all(limiter) == 0
        assert 0 < limiter.blocked <= 1.1

    with_redis(test)


def test_tokens_a_minute_are_charged_after_the_answer() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=9, tokens_per_minute=600), client)
        await limiter.sync(1)
        assert limiter.take()

        limiter.put(Verdict.OK, tokens=300)  # half a minute's allowance
        await limiter.sync(1)

        assert not limiter.take()
        assert 20 < limiter.blocked < 30

    with_redis(test)


def test_the_breaker_opens_after_failures_lets_one_try_and_closes_on_success() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=8)
        first, second = Limiter(place, client), Limiter(place, client)
        await first.sync(8)
        take_all(first)

        end(first, Verdict.UNREACHABLE, 2)
        await first.sync(8)
        await second.sync(8)
        assert first.open
        assert second.open
        assert take_all(second) == 0

        await asyncio.sleep(1.05)
        await second.sync(8)
        await first.sync(8)
        assert (take_all(second), take_all(first)) == (1, 0), "one call tries for all"

        end(second, Verdict.UNREACHABLE)
        await second.sync(8)
        assert second.open
        assert 1.05 < second.blocked <= 2, "each failed try doubles the wait"
        await asyncio.sleep(2.05)
        await second.sync(8)
        assert take_all(second) == 1
        end(second, Verdict.OK)
        await second.sync(8)
        assert not second.open
        assert take_all(second) == 2, "what the first still has under way is left to it"

    with_redis(test)


def test_failures_between_successes_open_nothing() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        limiter = Limiter(endpoint(max_concurrency=8), client)
        for _ in range(10):
            await limiter.sync(8)
            take_all(limiter)
            end(limiter, Verdict.FAILED, 4)
            end(limiter, Verdict.OK, 4)

        await limiter.sync(8)
        assert not limiter.open

    with_redis(test)


def test_a_flushed_redis_is_filled_again_and_forgets_only_courtesies() -> None:
    async def test(client: redis.asyncio.Redis) -> None:
        place = endpoint(max_concurrency=4)
        limiter, other = Limiter(place, client), Limiter(place, client)
        await limiter.sync(4)
        take_all(limiter)

        await client.delete(*limiter._keys)
        await limiter.sync(0)
        await other.sync(4)

        assert take_all(other) == 0

    with_redis(test)


def test_without_redis_calls_go_on_under_the_worker_s_own_limit() -> None:
    async def run() -> None:
        client = redis.asyncio.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.5)
        limiter = Limiter(endpoint(max_concurrency=2, requests_per_minute=1), client)

        await limiter.sync(5)

        assert take_all(limiter) == 2
        await limiter.leave()
        await limits.close(client)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m", 3720.0),
        ("0.5", 0.5),
        ("", 0.0),
        ("soon", 0.0),
        ("-3s", 0.0),
    ],
)
def test_a_reset_header_is_read_in_the_forms_that_vendors_write(text: str, seconds: float) -> None:
    assert problems.duration(text) == seconds


def test_headers_that_say_nothing_remains_close_the_endpoint_for_one_request_s_share() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-reset-requests": "1m0s",
    }

    assert problems.nothing_remains(headers) == 1.0
    assert problems.nothing_remains({**headers, "x-ratelimit-remaining-requests": "3"}) == 0.0
