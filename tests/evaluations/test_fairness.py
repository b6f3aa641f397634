"""Who is asked next: urgent runs first, the others in turn, and nobody behind a broken endpoint."""

from __future__ import annotations

import socket
import time
from threading import Thread

import pytest

from apps.audit.services import SYSTEM
from apps.evaluations import leases, services
from apps.evaluations.models import Run, RunState, Shard
from tests.evaluations.helpers import sample, samples, start, work
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live")


def another(run: Run, cases: int, **options: int) -> Run:
    """A run of another suite at the same endpoint."""
    return services.start_run(
        actor=SYSTEM,
        model_version=run.model_version,
        suite_revision=make_revision(cases, slug=f"suite-of-{cases}"),
        **options,
    )


def test_an_urgent_run_overtakes_a_long_one_that_is_under_way(provider: Provider) -> None:
    provider.set(latency=0.05)
    long = start(provider, cases=150, endpoint_max_concurrency=2)
    worker = Thread(target=lambda: work(Run.objects.get(pk=long.pk)))
    worker.start()
    while provider.state.total < 4:
        time.sleep(0.02)

    urgent = another(long, 4, urgency=Run.Urgency.URGENT)
    begun = time.monotonic()
    while urgent.state != RunState.COMPLETE and time.monotonic() - begun < 25:
        time.sleep(0.02)
        urgent.refresh_from_db()
    done = samples(long).count()
    worker.join(30)

    assert urgent.state == RunState.COMPLETE
    assert done < 120


def test_a_small_run_is_not_kept_waiting_by_a_large_one(provider: Provider) -> None:
    provider.set(latency=0.005)
    large = start(provider, cases=100, endpoint_max_concurrency=1)
    small = another(large, 10)

    work(large)

    small.refresh_from_db()
    assert large.state == small.state == RunState.COMPLETE
    ends = samples(small).order_by("-answered_at")[0].answered_at
    assert samples(large, answered_at__lt=ends).count() < 60


def test_shards_are_claimed_of_the_runs_in_turn() -> None:
    first, second = (start("http://127.0.0.1:9/v1", cases=100) for _ in range(2))

    claimed = leases.claim(owner="a", limit=6)

    assert sorted(lease.run_id for lease in claimed) == sorted([first.pk, second.pk] * 3)
    assert Shard.objects.filter(lease_owner="a").count() == 6


def test_a_busy_endpoint_is_claimed_for_by_urgent_runs_only_and_a_closed_one_by_none() -> None:
    normal = start("http://127.0.0.1:9/v1", cases=20)
    endpoint = [normal.model_version.endpoint_id]
    assert leases.claim(owner="a", limit=9, busy_endpoints=endpoint) == []

    urgent = another(normal, 10, urgency=Run.Urgency.URGENT)

    assert leases.claim(owner="a", limit=9, closed_endpoints=endpoint) == []
    assert {c.run_id for c in leases.claim(owner="a", limit=9, busy_endpoints=endpoint)} == {
        urgent.pk
    }


def test_an_endpoint_that_is_down_holds_up_no_other(provider: Provider) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    down = start(f"http://127.0.0.1:{port}/v1", cases=100)
    up = start(provider, cases=30)

    begun = time.monotonic()
    work(up, seconds=30)

    assert up.state == RunState.COMPLETE
    assert time.monotonic() - begun < 25, "the session sat by the endpoint that is down"
    down.refresh_from_db()
    assert down.state == RunState.RUNNING


def test_a_sample_says_what_was_asked_for_and_what_was_served(provider: Provider) -> None:
    provider.set(serve_as="assistant-2026-11")
    run = work(start(provider, cases=1))

    answer = sample(run)

    assert (answer.requested_model, answer.returned_model) == ("assistant", "assistant-2026-11")
    assert answer.first_token_ms is None


def test_a_streamed_answer_tells_when_its_first_token_came(provider: Provider) -> None:
    provider.set(stream_pause=0.2, answers={"c0": "motor damage"})
    run = work(start(provider, cases=1, parameters={"stream": True}))

    answer = sample(run)

    assert answer.text == "motor damage"
    assert answer.first_token_ms is not None
    assert answer.latency_ms is not None
    assert answer.first_token_ms < answer.latency_ms - 150


@pytest.mark.parametrize("style", ["chat_completions", "responses", "completions"])
def test_seed_and_logprobs_are_asked_for_as_the_version_says(
    provider: Provider, style: str
) -> None:
    parameters = {"seed": 7, "logprobs": 5 if style == "completions" else True}
    version = make_version(provider.url, endpoint_api_style=style, parameters=parameters)
    run = services.start_run(actor=SYSTEM, model_version=version, suite_revision=make_revision(1))
    work(run)

    asked = provider.stats()["last_body"]

    assert run.state == RunState.COMPLETE
    assert {key: asked[key] for key in parameters} == parameters
