"""A run from its start to its end, against a real HTTP server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.evaluations import finishing, leases, payloads, selectors, services, tasks
from apps.evaluations.models import (
    ObservedIdentity,
    Payload,
    Run,
    RunState,
    Score,
)
from apps.registry.models import Endpoint
from tests.evaluations.helpers import endings, sample, samples, start, work
from tests.fixtures.evaluations import make_owner, make_revision, make_user, make_version
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live")


def test_a_run_fills_every_slot_once_and_completes(provider: Provider) -> None:
    run = start(provider, cases=12, replicates=2)
    assert run.state == RunState.QUEUED

    work(run)

    assert run.state == RunState.COMPLETE, run.state_reason
    slots = list(samples(run).values_list("case__case_id", "replicate"))
    assert sorted(slots) == sorted((f"c{i}", r) for i in range(12) for r in range(2))
    assert set(provider.stats()["calls"].values()) == {2}


def test_a_sample_keeps_request_answer_usage_and_identity(provider: Provider) -> None:
    provider.set(serve_as="assistant-2026", answers={"c0": "motor"})
    run = work(start(provider, cases=1))

    answer = sample(run)

    assert (answer.status, answer.text, answer.finish_reason) == ("answered", "motor", "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (4, 1)
    assert (answer.returned_model, answer.system_fingerprint) == ("assistant-2026", "fp_1")
    assert answer.headers["x-request-id"] == "req_1"
    assert answer.style["words"] == 1.0
    request = json.loads(selectors.request_of(answer))
    assert request == {
        "model": "assistant",
        "messages": [{"role": "user", "content": "Case c0: which department?"}],
        "max_tokens": 20,
    }
    assert provider.stats()["last_body"] == request
    assert json.loads(selectors.response_of(answer) or b"")["model"] == "assistant-2026"
    seen = ObservedIdentity.objects.get(model_version=run.model_version)
    assert (seen.returned_model, seen.count) == ("assistant-2026", 1)
    assert "openai/" in Run.objects.get(pk=run.pk).client_version


def test_a_version_s_own_parameters_win_over_the_suite_s_defaults(provider: Provider) -> None:
    run = start(
        provider,
        cases=1,
        parameters={"max_tokens": 7, "temperature": 0.2, "top_k": 5},
        system_prompt="Be brief.",
        tools=[{"type": "function", "function": {"name": "look_up"}}],
    )
    work(run)

    asked = provider.stats()["last_body"]

    assert (asked["max_tokens"], asked["temperature"], asked["top_k"]) == (7, 0.2, 5)
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked["tools"][0]["function"]["name"] == "look_up"


@pytest.mark.parametrize("style", ["chat_completions", "responses", "completions"])
def test_every_api_style_is_answered(provider: Provider, style: str) -> None:
    run = work(start(provider, cases=2, endpoint_api_style=style))

    assert run.state == RunState.COMPLETE
    assert run.totals["answered"] == 2
    assert all(s.text and s.completion_tokens for s in samples(run))


def test_a_streaming_version_s_answer_is_put_together(provider: Provider) -> None:
    provider.set(answers={"c0": "motor damage"})
    run = work(start(provider, cases=1, parameters={"stream": True}))

    assert run.totals["answered"] == 1
    assert sample(run).text == "motor damage"


def test_equal_payloads_are_stored_once(provider: Provider) -> None:
    run = work(start(provider, cases=3, replicates=4))

    assert samples(run).count() == 12
    # Three requests and three answers, each asked four times.
    pairs = samples(run).values_list("request_digest", "response_digest")
    digests = {bytes(digest or b"") for pair in pairs for digest in pair}
    assert len(digests) == 6
    assert all(payloads.digest_of(payloads.get(d)) == d for d in digests)


def test_scores_are_stored_with_the_sample(provider: Provider) -> None:
    provider.set(answers={"c0": "motor", "c1": "water or fire"})
    run = work(start(provider, cases=2))

    scores = Score.objects.filter(run=run).values_list("case__case_id", "metric_key", "value")
    values = {(case, key): value for case, key, value in scores}

    assert values == {
        ("c0", "accuracy"): 1.0,
        ("c0", "words"): 1.0,
        ("c1", "accuracy"): 0.0,
        ("c1", "words"): 3.0,
    }
    assert run.totals["metrics"]["accuracy"] == 0.5
    assert run.totals["metrics"]["style.words"] == 2.0
    assert run.totals["metrics"]["outcome.error"] == 0.0


def test_metric_values_hold_scores_style_and_outcome_of_every_replicate(
    provider: Provider,
) -> None:
    provider.set(answers={"c0": "motor"})
    provider.fail("status", status=400, match="c1")
    run = work(start(provider, cases=2, replicates=3))

    values = selectors.metric_values([run])

    assert values["accuracy"] == {"c0": [1.0, 1.0, 1.0]}
    assert values["style.words"] == {"c0": [1.0, 1.0, 1.0]}
    assert values["outcome.error"] == {"c0": [0.0] * 3, "c1": [1.0] * 3}


def test_the_end_leaves_totals_audit_entry_and_outbox_row(provider: Provider) -> None:
    run = work(start(provider, cases=3))

    assert run.totals["slots"] == run.totals["answered"] == 3
    assert run.totals["prompt_tokens"] == 12
    assert run.totals["identities"] == [
        {"returned_model": "assistant", "system_fingerprint": "fp_1"}
    ]
    assert endings(run) == 1
    actions = AuditEvent.objects.filter(object_id=str(run.pk)).order_by("occurred_at")
    assert list(actions.values_list("action", flat=True)) == [
        "evaluations.run_requested",
        "evaluations.run_begin",
        "evaluations.run_complete",
    ]


def test_completing_twice_tells_the_next_app_once(provider: Provider) -> None:
    run = work(start(provider, cases=1))

    assert finishing.complete_if_done(run.pk) is None
    assert finishing.complete_done() == 0
    assert endings(run) == 1


def test_progress_counts_what_is_stored(provider: Provider) -> None:
    provider.fail("status", status=400, match="c1")
    run = start(provider, cases=3)
    before = selectors.progress(run)
    work(run)

    after = selectors.progress(run)

    assert (before.done, before.total, before.eta_seconds) == (0, 3, None)
    assert (after.done, after.answered, after.errors) == (3, 2, {"bad_request": 1})
    assert after.per_second > 0


def test_a_paused_run_makes_no_call_until_it_is_resumed(provider: Provider) -> None:
    owner = make_owner()
    run = start(provider, cases=2)
    services.pause_run(actor=owner, run=run, reason="The vendor asked us to.")
    work(run)
    assert (run.state, provider.stats()["total"]) == (RunState.PAUSED, 0)

    services.resume_run(actor=owner, run=run)
    work(run)

    assert (run.state, provider.stats()["total"]) == (RunState.COMPLETE, 2)


@pytest.mark.parametrize(
    ("steer", "state"),
    [(services.pause_run, RunState.PAUSED), (services.cancel_run, RunState.CANCELLED)],
)
def test_a_run_that_is_stopped_in_the_middle_makes_no_call_after_two_seconds(
    provider: Provider, steer: Callable[..., Run], state: RunState
) -> None:
    provider.set(latency=0.1)
    run = start(provider, cases=200, endpoint_max_concurrency=2)
    worker = Thread(target=lambda: work(Run.objects.get(pk=run.pk)))
    worker.start()
    while provider.state.total < 4:
        time.sleep(0.02)

    steer(actor=make_owner(), run=run, reason="Enough.")
    worker.join(4)

    assert not worker.is_alive()
    run.refresh_from_db()
    assert run.state == state
    # What was under way at a pause is paid for, and kept.
    if state == RunState.PAUSED:
        assert samples(run).count() == provider.stats()["total"]
    assert samples(run).count() < 60


def test_a_cancelled_run_cannot_be_resumed_and_says_so(provider: Provider) -> None:
    owner = make_owner()
    run = start(provider, cases=2)
    run = services.cancel_run(actor=owner, run=run, reason="Wrong suite.")

    with pytest.raises(Conflict, match="This run is cancelled") as caught:
        services.resume_run(actor=owner, run=run)

    assert caught.value.field == "state"
    assert endings(run) == 1


def test_an_auditor_may_not_start_or_cancel_a_run(provider: Provider) -> None:
    auditor = make_user(Role.AUDITOR)
    run = start(provider, cases=1)

    with pytest.raises(NotAllowed):
        services.cancel_run(actor=auditor, run=run)
    with pytest.raises(NotAllowed):
        services.start_run(
            actor=auditor, model_version=run.model_version, suite_revision=run.suite_revision
        )

    assert Run.objects.filter(model_version=run.model_version).count() == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"replicates": 0}, "replicates"),
        ({"replicates": 101}, "replicates"),
        ({"purpose": "x"}, "purpose"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_the_field(
    provider: Provider, wrong: dict[str, Any], field: str
) -> None:
    before = Run.objects.count()

    with pytest.raises(InvalidInput) as caught:
        start(provider, cases=1, **wrong)

    assert caught.value.field == field
    assert caught.value.remedy
    assert Run.objects.count() == before


def test_no_run_is_started_at_an_endpoint_that_is_switched_off(provider: Provider) -> None:
    with pytest.raises(Conflict, match="switched off"):
        start(provider, cases=1, endpoint_active=False)


def test_switching_the_endpoint_off_stops_a_queued_run(provider: Provider) -> None:
    run = start(provider, cases=1)
    Endpoint.objects.filter(pk=run.model_version.endpoint_id).update(active=False)

    work(run)

    assert run.state == RunState.FAILED
    assert "switched off" in run.state_reason


def test_concurrency_never_exceeds_the_endpoint_s_limit(provider: Provider) -> None:
    provider.set(latency=0.02)
    work(start(provider, cases=30, endpoint_max_concurrency=3))

    stats = provider.stats()
    assert stats["total"] == 30
    assert stats["peak"] == 3


def test_a_session_that_runs_out_of_time_gives_its_shards_back(provider: Provider) -> None:
    provider.set(latency=0.1)
    run = start(provider, cases=20, endpoint_max_concurrency=1)

    work(run, seconds=0.5)

    done = samples(run).count()
    assert 0 < done < 20
    assert run.state == RunState.RUNNING
    assert leases.claimable().filter(run=run).exists()

    provider.set(latency=0.0)
    work(run)
    assert run.state == RunState.COMPLETE
    assert provider.stats()["total"] == 20


def test_several_runs_feed_one_session(provider: Provider) -> None:
    revision = make_revision(6)
    runs = [
        services.start_run(
            actor=SYSTEM, model_version=make_version(provider.url), suite_revision=revision
        )
        for _ in range(3)
    ]

    work(runs[0])

    for run in runs:
        run.refresh_from_db()
        assert (run.state, samples(run).count()) == (RunState.COMPLETE, 6)


def test_the_tick_completes_what_a_dead_worker_left_done(provider: Provider) -> None:
    run = start(provider, cases=1)
    leases.claim(owner="dead", limit=5)
    run.shards.update(done=True, lease_owner="", lease_until=None)

    tasks.tick()

    run.refresh_from_db()
    assert run.state == RunState.COMPLETE


def test_the_secret_is_sent_and_stored_nowhere(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCAL_LABS_KEY", "sk-very-secret-value")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody-else")
    provider.set(key="sk-very-secret-value")
    run = work(start(provider, cases=1, endpoint_credential_ref="env:LOCAL_LABS_KEY"))

    assert run.state == RunState.COMPLETE, run.state_reason
    sent = provider.stats()["last_headers"]
    assert sent["authorization"] == "Bearer sk-very-secret-value"
    assert "openai-organization" not in sent
    stored = [payloads.get(p.digest) for p in Payload.objects.all()]
    assert not any(b"sk-very-secret" in content for content in stored)
    assert "sk-very-secret" not in caplog.text


def test_without_a_credential_no_authorization_is_sent(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    run = work(start(provider, cases=1))

    assert run.state == RunState.COMPLETE
    assert "authorization" not in provider.stats()["last_headers"]
