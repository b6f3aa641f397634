"""What a run makes of endpoints that misbehave. Each against a real HTTP server."""

from __future__ import annotations

import itertools
import socket

import pytest
from django.test import override_settings

from apps.evaluations import leases, selectors, services
from apps.evaluations.models import Run, RunState, Score
from apps.evaluations.runner import loop, settling, writer
from tests.evaluations.helpers import endings, sample, samples, start, work
from tests.fixtures.evaluations import make_owner
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BACKOFF_SECONDS", 0.01)


def settings_with(**changed: object) -> override_settings:
    from django.conf import settings

    return override_settings(GOVTRACK={**settings.GOVTRACK, **changed})


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def assert_stopped(run: Run, *words: str) -> None:
    assert run.state == RunState.FAILED
    for word in words:
        assert word in run.state_reason, run.state_reason
    assert run.state_reason.rstrip().endswith(".")


# What stops a run, with a reason and a remedy


def test_a_wrong_credential_stops_the_run(provider: Provider) -> None:
    provider.set(key="right")
    run = work(start(provider, cases=30))

    assert_stopped(run, "refused the credential (HTTP 401)", "Check the endpoint's credential")
    assert samples(run).count() == 0
    # Stopped at once: no more calls than were under way (each on its connection, and ours here).
    assert provider.stats()["connections"] <= 4 + 2


def test_a_forbidden_endpoint_stops_the_run(provider: Provider) -> None:
    provider.fail("status", status=403, error={"message": "No access to this project."})
    assert_stopped(work(start(provider)), "HTTP 403", "No access to this project.")


def test_a_web_page_instead_of_json_stops_the_run(provider: Provider) -> None:
    provider.fail("html")
    assert_stopped(work(start(provider)), "answered with a web page", "base URL")


def test_a_web_page_with_404_stops_the_run(provider: Provider) -> None:
    provider.fail("html", status=404)
    assert_stopped(work(start(provider)), "answered with a web page (HTTP 404)")


def test_a_model_name_that_does_not_exist_stops_the_run(provider: Provider) -> None:
    run = work(start(provider, requested_name="assistant-9"))
    assert_stopped(run, "knows no model named 'assistant-9'", "requested name")


def test_a_model_missing_by_400_stops_the_run(provider: Provider) -> None:
    provider.fail("status", status=400, error={"message": "Invalid model: assistant"})
    assert_stopped(work(start(provider)), "knows no model named 'assistant'")


def test_a_wrong_path_stops_the_run(provider: Provider) -> None:
    provider.fail("status", status=404, error="Not Found")
    assert_stopped(work(start(provider)), "nothing at this path (HTTP 404)", "/v1")


def test_a_parameter_that_is_not_accepted_stops_the_run(provider: Provider) -> None:
    error = {"message": "Unsupported parameter.", "param": "top_k", "code": "invalid_value"}
    provider.fail("status", status=400, error=error)
    run = work(start(provider, parameters={"top_k": 3}))
    assert_stopped(run, "does not accept the parameter 'top_k'")


def test_an_empty_account_stops_the_run_though_it_says_429(provider: Provider) -> None:
    error = {"message": "You exceeded your quota.", "code": "insufficient_quota"}
    provider.fail("status", status=429, error=error)
    assert_stopped(work(start(provider)), "no quota left", "billing")


def test_a_redirect_is_not_followed_and_stops_the_run(provider: Provider) -> None:
    provider.fail("status", status=302, headers={"Location": "http://169.254.169.254/"})
    assert_stopped(work(start(provider)), "redirects (HTTP 302)", "not followed")


def test_a_host_that_does_not_exist_stops_the_run() -> None:
    run = work(start("http://no-such-host.invalid/v1"))
    # Without any name service the answer is "not now", which is waited for.
    assert run.state in (RunState.FAILED, RunState.RUNNING)
    if run.state == RunState.FAILED:
        assert_stopped(run, "no-such-host.invalid", "base URL")


def test_a_private_address_that_is_not_allowed_stops_the_run(provider: Provider) -> None:
    run = work(start(provider, endpoint_allow_private_address=False))
    assert_stopped(run, "may not be called", "loopback")
    assert provider.stats()["connections"] <= 1  # the question itself


def test_the_installation_s_ban_on_private_addresses_outweighs_the_endpoint(
    provider: Provider,
) -> None:
    with settings_with(ALLOW_PRIVATE_ADDRESSES=False):
        run = work(start(provider, endpoint_allow_private_address=True))
    assert_stopped(run, "may not be called")


def test_a_credential_that_cannot_be_read_stops_the_run(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_LABS_KEY", raising=False)
    run = work(start(provider, endpoint_credential_ref="env:LOCAL_LABS_KEY"))
    assert_stopped(run, "LOCAL_LABS_KEY")
    assert provider.stats()["total"] == 0


def test_what_was_answered_before_the_stop_is_kept_and_retry_goes_on(provider: Provider) -> None:
    provider.fail("status", status=401, match="c3")
    run = work(start(provider, cases=5, endpoint_max_concurrency=1))
    assert_stopped(run, "HTTP 401")
    kept = set(samples(run).values_list("id", flat=True))
    assert len(kept) == 3
    assert run.totals["answered"] == 3

    provider.heal()
    services.retry_failed(actor=make_owner(), run=run)
    work(run)

    assert run.state == RunState.COMPLETE
    assert kept < set(samples(run).values_list("id", flat=True))
    assert samples(run).count() == 5
    # Each ending is told, and none twice.
    assert endings(run) == 2


# An endpoint that is down


def test_a_refused_connection_is_waited_for_with_growing_pauses() -> None:
    run = work(start(f"http://127.0.0.1:{closed_port()}/v1"))

    assert run.state == RunState.RUNNING
    shard = run.shards.get()
    assert (shard.lease_owner, shard.attempts) == ("", 1)
    assert not leases.claimable().filter(run=run).exists()
    assert samples(run).count() == 0


def test_an_endpoint_that_comes_back_is_gone_on_with() -> None:
    port = closed_port()
    run = work(start(f"http://127.0.0.1:{port}/v1"))
    run.shards.update(not_before=run.created_at)

    with Provider(port=port):
        work(run)

    assert run.state == RunState.COMPLETE
    assert run.totals["answered"] == 4


def test_an_endpoint_that_stays_down_fails_the_run_after_a_bounded_time() -> None:
    run = start(f"http://127.0.0.1:{closed_port()}/v1")

    with settings_with(ENDPOINT_PATIENCE_SECONDS=1):
        work(run)

    assert_stopped(run, "did not answer", "Check that it runs", "Retry failed")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "status", "status": 500}, "server_error"),
        ({"kind": "raw", "body": "Oops"}, "malformed"),
        ({"kind": "cut"}, "cut"),
        ({"kind": "reset"}, "connection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_prompts_that_an_endpoint_fails_at_do_not_count_as_an_endpoint_that_is_down(
    provider: Provider, fault: dict[str, object], kind: str
) -> None:
    # The last ten, and one before: far more failures in a row than open the breaker.
    provider.set(faults=[{**fault, "match": "Case c2"}])
    run = start(provider, cases=30)

    with settings_with(ENDPOINT_PATIENCE_SECONDS=1):
        work(run, seconds=60)

    assert run.state == RunState.COMPLETE, run.state_reason
    assert (run.totals["answered"], run.totals["errors"]) == (19, {kind: 11})
    assert set(samples(run, status="error").values_list("attempts", flat=True)) == {5}


def test_an_endpoint_that_goes_down_in_the_middle_fails_the_run(provider: Provider) -> None:
    provider.fail("status", status=401, match="c3")
    run = work(start(provider, cases=30, endpoint_max_concurrency=1))
    assert run.totals["answered"] >= 1
    provider.set(faults=[{"kind": "status", "status": 503}])
    services.retry_failed(actor=make_owner(), run=run)

    with settings_with(ENDPOINT_PATIENCE_SECONDS=1):
        work(run)

    assert_stopped(run, "nothing but errors", "Check that it runs", "Retry failed")


# Transient errors: asked again, then an outcome


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "html", "status": 502},
        {"kind": "empty"},
        {"kind": "cut"},
        {"kind": "cut_stream"},
        {"kind": "reset"},
        {"kind": "raw", "body": "Oops"},
        {"kind": "raw", "body": "[1, 2]"},
        {"kind": "raw", "body": "[" * 100_000},
        {"kind": "raw", "body": '{"choices": [{}]}'},
    ],
    ids=lambda f: f"{f['kind']}-{str(f.get('status', f.get('body', '')))[:12]}",
)
def test_a_passing_error_is_asked_again_until_it_is_answered(
    provider: Provider, fault: dict[str, object]
) -> None:
    provider.set(faults=[{**fault, "times": 2}])
    run = work(start(provider, cases=1))

    answer = sample(run)

    assert run.state == RunState.COMPLETE
    assert (answer.status, answer.attempts) == ("answered", 3)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "status", "status": 429}, "rate_limited"),
        ({"kind": "status", "status": 500}, "server_error"),
        ({"kind": "empty"}, "empty"),
        ({"kind": "cut"}, "cut"),
        ({"kind": "cut_stream"}, "cut"),
        ({"kind": "reset"}, "connection"),
        ({"kind": "raw", "body": "Oops"}, "malformed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_that_stays_becomes_an_outcome_after_five_attempts(
    provider: Provider, fault: dict[str, object], kind: str
) -> None:
    provider.set(faults=[{**fault, "match": "c1"}])
    run = work(start(provider, cases=3))

    answer = sample(run, "c1")

    assert run.state == RunState.COMPLETE
    assert (answer.status, answer.error_kind, answer.attempts) == ("error", kind, 5)
    assert answer.error_message
    assert (run.totals["answered"], run.totals["errors"]) == (2, {kind: 1})
    assert not Score.objects.filter(run=run, case=answer.case).exists()


def test_a_time_out_is_asked_again(provider: Provider) -> None:
    provider.fail("hang", seconds=5, times=1)
    run = work(start(provider, cases=1, endpoint_timeout_seconds=1))

    assert run.state == RunState.COMPLETE
    assert sample(run).attempts == 2


def test_a_server_that_drips_is_ended_by_the_time_out(provider: Provider) -> None:
    provider.fail("drip", times=1)
    run = work(start(provider, cases=1, endpoint_timeout_seconds=1))

    assert run.state == RunState.COMPLETE
    assert sample(run).attempts == 2


def test_a_call_that_waits_out_its_retry_after_gives_its_place_to_another(
    provider: Provider,
) -> None:
    provider.set(
        faults=[{"kind": "status", "status": 429, "times": 1, "headers": {"Retry-After": "1"}}]
    )
    run = work(start(provider, cases=6, endpoint_max_concurrency=1))

    times = provider.stats()["times"]

    assert run.state == RunState.COMPLETE
    assert len(times) == 7
    assert times[5] - times[0] < 0.9, "the five others were held up"
    assert times[6] - times[0] >= 0.95


def test_several_retry_afters_in_a_row_are_honoured_by_all_calls(provider: Provider) -> None:
    provider.set(
        faults=[{"kind": "status", "status": 429, "times": 3, "headers": {"Retry-After": "1"}}]
    )
    run = work(start(provider, cases=12, endpoint_max_concurrency=1))

    times = provider.stats()["times"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert run.state == RunState.COMPLETE
    assert len(times) == 15
    assert max(gaps[:4]) >= 0.8


def test_a_wait_beyond_the_session_gives_the_shard_back(provider: Provider) -> None:
    provider.set(faults=[{"kind": "status", "status": 429, "headers": {"Retry-After": "100"}}])
    run = work(start(provider, cases=2), seconds=5)

    assert run.state == RunState.RUNNING
    assert samples(run).count() == 0
    wait = (run.shards.get().not_before - run.created_at).total_seconds()
    assert 80 < wait < 120


# Outcomes about one prompt


def test_a_prompt_that_is_refused_is_an_outcome_of_its_own(provider: Provider) -> None:
    provider.fail("status", status=400, match="c1", error={"message": "Messages must alternate."})
    run = work(start(provider, cases=3))

    answer = sample(run, "c1")

    assert run.state == RunState.COMPLETE
    assert (answer.status, answer.error_kind, answer.attempts) == ("refused", "bad_request", 1)
    assert "Messages must alternate." in answer.error_message
    assert provider.stats()["total"] == 3


def test_a_filtered_answer_is_a_result_and_no_error(provider: Provider) -> None:
    provider.fail("filter", match="c0")
    run = work(start(provider, cases=2))

    answer = sample(run, "c0")

    assert (answer.status, answer.finish_reason) == ("filtered", "content_filter")
    assert (run.totals["filtered"], run.totals["error"]) == (1, 0)


def test_a_filtered_prompt_is_told_from_a_refused_one(provider: Provider) -> None:
    error = {"message": "The prompt was filtered.", "code": "content_filter"}
    provider.fail("status", status=400, match="c0", error=error)
    run = work(start(provider, cases=1))

    assert sample(run).status == "filtered"


# Answers that try to break something


def test_a_20_mb_answer_is_cut_off_and_said_to_be_too_long(provider: Provider) -> None:
    provider.fail("huge", match="c1")
    run = work(start(provider, cases=2))

    answer = sample(run, "c1")

    assert run.state == RunState.COMPLETE
    assert (answer.status, answer.error_kind, answer.attempts) == ("error", "too_large", 1)
    assert "longer than 4,194,304 bytes" in answer.error_message
    assert answer.response_digest is None


def test_a_compressed_bomb_is_cut_off_after_decompression(provider: Provider) -> None:
    provider.fail("bomb", match="c0")
    run = work(start(provider, cases=1))

    assert sample(run).error_kind == "too_large"


def test_a_compressed_answer_is_read(provider: Provider) -> None:
    provider.fail("gzip")
    run = work(start(provider, cases=1))

    assert sample(run).status == "answered"


def test_nan_in_numbers_is_taken_as_unknown_and_said_so(provider: Provider) -> None:
    body = (
        '{"model": "assistant", "choices": [{"message": {"content": "motor"}, '
        '"finish_reason": "stop", "logprobs": {"content": [{"logprob": -Infinity}]}}], '
        '"usage": {"prompt_tokens": NaN, "completion_tokens": 1e999}}'
    )
    provider.fail("raw", body=body)
    run = work(start(provider, cases=1))

    answer = sample(run)

    assert (answer.status, answer.text) == ("answered", "motor")
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)
    assert "NaN" in answer.error_message
    assert run.totals["answered"] == 1
    # What came is kept as it came.
    assert selectors.response_of(answer) == body.encode()


def test_nul_bytes_and_lone_surrogates_are_stored_as_replacement_characters(
    provider: Provider,
) -> None:
    body = (
        r'{"model": "a\u0000b", "system_fingerprint": "\ud800", "choices": [{"message": '
        r'{"content": "motor\u0000\udfff!", "tool_calls": [{"id": "\u0000", "x\u0000": "\ud800"}]}'
        r', "finish_reason": "st\u0000op"}], "usage": {"prompt_tokens": -1}}'
    )
    provider.fail("raw", body=body)
    run = work(start(provider, cases=1))

    answer = sample(run)

    assert run.state == RunState.COMPLETE, run.state_reason
    assert answer.text == "motor\ufffd\ufffd!"
    assert answer.returned_model == "a\ufffdb"
    assert answer.tool_calls == [{"id": "\ufffd", "x\ufffd": "\ufffd"}]
    assert answer.prompt_tokens is None


def test_names_longer_than_their_columns_are_cut(provider: Provider) -> None:
    body = (
        f'{{"model": "{"m" * 999}", "system_fingerprint": "{"f" * 999}", "choices": '
        f'[{{"message": {{"content": ""}}, "finish_reason": "{"r" * 999}"}}]}}'
    )
    provider.fail("raw", body=body)
    run = work(start(provider, cases=1))

    answer = sample(run)
    assert (len(answer.returned_model), len(answer.system_fingerprint)) == (300, 200)
    assert (answer.status, answer.text) == ("answered", "")


# Defects of our own


def test_a_part_that_cannot_be_worked_on_stops_its_run_at_last(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(provider, cases=2)
    monkeypatch.setattr("apps.evaluations.runner.requests.build", lambda *_: 1 / 0)

    for _ in range(settling.MAX_DEFECTS):
        run.shards.update(not_before=run.created_at)
        work(run)

    assert_stopped(run, "could not be worked on (ZeroDivisionError)", "logs")


def test_a_result_that_cannot_be_stored_does_not_take_the_others_with_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.set(answers={"c1": "poison"}, latency=0.05)
    profile = writer.style_profile

    def poisoned(text: str) -> dict[str, float]:
        return {"words": 1 / 0} if text == "poison" else profile(text)

    monkeypatch.setattr(writer, "style_profile", poisoned)
    run = work(start(provider, cases=4))

    assert run.state == RunState.RUNNING
    assert samples(run).count() == 3
    assert run.shards.get().attempts == 1
