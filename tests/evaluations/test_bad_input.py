"""What a run makes of prompts, answers and changes that nobody planned for. Each against a real
HTTP server; what an endpoint may do wrong otherwise is in test_bad_endpoints.py."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError

from apps.accounts.models import Role
from apps.evaluations import services
from apps.evaluations.models import ObservedIdentity, Run, RunState, Suite
from apps.registry import services as registry
from apps.registry.models import Endpoint
from tests.evaluations.helpers import sample, samples, start, work
from tests.fixtures.evaluations import make_owner, make_user
from tests.fixtures.provider import MB, Provider

pytestmark = pytest.mark.usefixtures("live")


def meanwhile(run: Run, provider: Provider, act: Callable[[], object], *, answers: int = 4) -> Run:
    """Work on the run in a thread, and act once so many calls were made."""

    def session() -> None:
        try:
            work(Run.objects.get(pk=run.pk))
        finally:
            connection.close()

    worker = Thread(target=session)
    worker.start()
    deadline = time.monotonic() + 20
    while provider.state.total < answers and time.monotonic() < deadline:
        time.sleep(0.01)
    act()
    worker.join(60)
    assert not worker.is_alive()
    run.refresh_from_db()
    return run


def change(run: Run, **changes: Any) -> Endpoint:
    admin = make_user(Role.ADMINISTRATOR)
    endpoint = Endpoint.objects.get(pk=run.model_version.endpoint_id)
    return registry.update_endpoint(actor=admin, endpoint=endpoint, **changes)


# A prompt over the context limit


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            400,
            {
                "message": "This model's maximum context length is 8192 tokens. However, your "
                "messages resulted in 9001 tokens.",
                "code": "context_length_exceeded",
                "param": "messages",
            },
        ),
        (
            400,
            {
                "message": "the request exceeds the available context size. try increasing it",
                "type": "exceed_context_size_error",
                "code": 400,
            },
        ),
        (
            400,
            {
                "message": "prompt is too long: 210000 tokens > 200000 maximum",
                "type": "invalid_request_error",
            },
        ),
        (
            400,
            {
                "message": "The input token count (1200000) exceeds the maximum number of tokens "
                "allowed (1048576)."
            },
        ),
        (413, {"message": "Request too large for model `assistant`."}),
        (500, {"message": "context size exceeded"}),
    ],
    ids=["openai", "llama.cpp", "anthropic", "google", "413", "500"],
)
def test_a_prompt_over_the_context_limit_is_an_outcome_with_a_remedy(
    provider: Provider, status: int, error: dict[str, object]
) -> None:
    provider.fail("status", status=status, match="c1", error=error)
    run = work(start(provider, cases=3))

    answer = sample(run, "c1")

    assert run.state == RunState.COMPLETE, run.state_reason
    assert (answer.status, answer.error_kind, answer.attempts) == ("refused", "context_length", 1)
    assert "Shorten the case" in answer.error_message
    assert str(error["message"])[:40] in answer.error_message
    assert (run.totals["answered"], run.totals["errors"]) == (2, {"context_length": 1})
    assert provider.stats()["total"] == 3


# Changes while it runs


def test_a_suite_that_is_archived_while_it_runs_is_run_to_its_end(provider: Provider) -> None:
    provider.set(latency=0.05)
    run = start(provider, cases=30, endpoint_max_concurrency=2)
    suite = run.suite_revision.suite

    meanwhile(run, provider, lambda: Suite.objects.filter(pk=suite.pk).update(archived=True))

    assert run.state == RunState.COMPLETE
    assert samples(run).count() == 30
    Suite.objects.filter(pk=suite.pk).update(archived=False)


def test_a_suite_cannot_be_deleted_under_a_run(provider: Provider) -> None:
    provider.set(latency=0.05)
    run = start(provider, cases=20, endpoint_max_concurrency=2)
    said: list[BaseException] = []

    def delete() -> None:
        for row in (run.suite_revision.suite, run.suite_revision, run.suite_revision.cases.first()):
            try:
                row.delete()
            except Exception as error:
                said.append(error)

    meanwhile(run, provider, delete)

    assert len(said) == 3
    assert isinstance(said[0], ProtectedError)
    assert run.state == RunState.COMPLETE
    assert samples(run).count() == 20


def test_a_lower_limit_holds_within_seconds(provider: Provider) -> None:
    provider.set(latency=0.1)
    run = start(provider, cases=240, endpoint_max_concurrency=8)

    meanwhile(run, provider, lambda: change(run, max_concurrency=4))

    assert run.state == RunState.COMPLETE
    assert samples(run).count() == provider.stats()["total"] == 240
    # Eight a tenth of a second became four.
    times = provider.stats()["times"]
    assert times[-1] - times[-41] > 9 * 0.1


def test_answers_of_two_addresses_do_not_stand_in_one_run(provider: Provider) -> None:
    provider.set(latency=0.05)
    with Provider() as other:
        run = start(provider, cases=120, endpoint_max_concurrency=2)
        asked = run.model_version.endpoint.base_url
        meanwhile(run, provider, lambda: change(run, base_url=other.url))
        work(run)

        assert run.state == RunState.FAILED
        assert f"changed from {asked} to {other.url}" in run.state_reason
        assert "Change it back and Retry failed, or start a new run." in run.state_reason
        assert other.stats()["total"] == 0
        kept = set(samples(run).values_list("case__case_id", flat=True))
        assert 0 < len(kept) < 120
        asked_before = provider.stats()["total"]

        change(run, base_url=asked)
        services.retry_failed(actor=make_owner(), run=run)
        work(run)

    assert run.state == RunState.COMPLETE
    assert samples(run).count() == 120
    # What came back after the run had failed was not kept and is asked again; nothing else is.
    stats = provider.stats()
    assert stats["total"] == 120 + asked_before - len(kept)
    assert all(stats["calls"][f"Case {case}: which department?"] == 1 for case in kept)


def test_an_address_that_answered_nothing_may_be_mended_and_retried(provider: Provider) -> None:
    with Provider() as wrong:
        wrong.fail("html", status=404)
        run = work(start(wrong, cases=3))
        assert run.state == RunState.FAILED
    change(run, base_url=provider.url)

    services.retry_failed(actor=make_owner(), run=run)
    work(run)

    assert run.state == RunState.COMPLETE
    assert run.totals["answered"] == 3


def test_a_credential_that_the_provider_revokes_stops_the_run_and_costs_no_answer(
    provider: Provider,
) -> None:
    provider.set(key="old-secret", latency=0.05)
    run = start(provider, cases=40, endpoint_max_concurrency=2)
    change(run, credential="plain:old-secret")

    meanwhile(run, provider, lambda: provider.set(key="new-secret"))

    assert run.state == RunState.FAILED
    assert "refused the credential (HTTP 401)" in run.state_reason
    assert "Retry failed" in run.state_reason
    assert "secret" not in run.state_reason.replace("the credential", "")
    kept = set(samples(run).values_list("id", flat=True))
    assert 0 < len(kept) < 40

    change(run, credential="plain:new-secret")
    services.retry_failed(actor=make_owner(), run=run)
    work(run)

    assert run.state == RunState.COMPLETE
    assert kept < set(samples(run).values_list("id", flat=True))
    assert samples(run).count() == 40
    # Only what was under way when the run stopped is asked once more.
    assert provider.stats()["total"] <= 40 + 2


def test_a_credential_that_is_withdrawn_here_stops_the_run(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_LABS_KEY", "old-secret")
    provider.set(key="old-secret", latency=0.05)
    run = start(
        provider,
        cases=300,
        endpoint_max_concurrency=4,
        endpoint_credential_ref="env:LOCAL_LABS_KEY",
    )

    meanwhile(run, provider, lambda: monkeypatch.delenv("LOCAL_LABS_KEY"))

    assert run.state == RunState.FAILED
    assert "LOCAL_LABS_KEY" in run.state_reason
    assert 0 < samples(run).count() < 300


# Endpoints that mean no good


def test_a_redirect_to_a_private_address_is_named_and_not_followed(provider: Provider) -> None:
    with Provider() as inside:
        target = f"http://127.0.0.1:{inside.port}/latest/secret?token=x"
        provider.fail("status", status=307, headers={"Location": target})
        run = work(start(provider))

        assert run.state == RunState.FAILED
        said = f"to http://127.0.0.1:{inside.port} (an address of a private network)"
        assert said in run.state_reason
        assert "token" not in run.state_reason
        assert inside.stats()["connections"] == 1  # the question itself
    assert samples(run).count() == 0


@pytest.mark.parametrize("location", ["", "/v2", "http://[::1", "http://h:99999/"])
def test_a_redirect_to_nowhere_is_no_defect_of_ours(provider: Provider, location: str) -> None:
    provider.fail("status", status=302, headers={"Location": location})
    run = work(start(provider))

    assert run.state == RunState.FAILED
    assert "redirects (HTTP 302), and redirects are not followed" in run.state_reason


def test_a_decompression_bomb_costs_no_memory(provider: Provider) -> None:
    provider.fail("bomb", match="c1", bytes=300 * MB)
    run = start(provider, cases=2)
    gc.collect()
    tracemalloc.start()
    try:
        work(run)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    answer = sample(run, "c1")
    assert run.state == RunState.COMPLETE
    assert (answer.status, answer.error_kind, answer.attempts) == ("error", "too_large", 1)
    assert "GOVTRACK_MAX_ANSWER_BYTES" in answer.error_message
    assert sample(run, "c0").status == "answered"
    # The provider, in this process too, holds its 300 MB once; nothing comes near it.
    assert peak < 350 * MB


def test_a_provider_that_claims_another_model_each_time_fills_no_table(
    provider: Provider,
) -> None:
    provider.set(rename=True)
    run = work(start(provider, cases=150, endpoint_max_concurrency=8), seconds=60)

    assert run.state == RunState.COMPLETE
    # Every sample keeps what was claimed for it …
    assert samples(run).values("returned_model").distinct().count() == 150
    # … but the list of identities ends where it says nothing more.
    seen = ObservedIdentity.objects.filter(model_version=run.model_version)
    assert seen.count() == 101
    assert sum(seen.values_list("count", flat=True)) == 150
    assert seen.get(returned_model="(further names)").count == 50
    assert run.totals["identity_count"] == 150
    assert len(run.totals["identities"]) == 20


# Very many cases


def test_a_worker_takes_but_a_few_parts_of_a_large_suite_into_its_hands(
    provider: Provider,
) -> None:
    provider.set(latency=0.05)
    run = start(provider, cases=2_000, endpoint_max_concurrency=4)
    held: list[int] = []

    def look() -> None:
        for _ in range(20):
            held.append(run.shards.filter(done=False).exclude(lease_owner="").count())
            time.sleep(0.05)
        services.cancel_run(actor=make_owner(), run=run, reason="Seen enough.")

    meanwhile(run, provider, look)

    assert run.shards.count() == 200
    # Ten cases each: a worker loads what keeps four places busy, whatever the suite's size.
    assert 0 < max(held) <= 20
