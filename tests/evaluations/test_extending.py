"""Retrying what came to an error, and taking more replicates: new slots, nothing overwritten."""

from __future__ import annotations

import time

import pytest
import redis
from django.conf import settings

from apps.accounts.models import Role
from apps.core.code import code_version
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.drift.services import compare_run, create_baseline
from apps.evaluations import records, services
from apps.evaluations.models import Run, RunState, Shard
from apps.evaluations.runner import loop
from tests.evaluations.helpers import endings, samples, start, work
from tests.fixtures.evaluations import make_owner, make_user
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live")


@pytest.fixture(autouse=True)
def _one_attempt_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts are tested elsewhere."""
    monkeypatch.setattr(loop, "MAX_ATTEMPTS", 1)


def break_once(provider: Provider, *cases: str) -> None:
    provider.set(
        faults=[
            {"kind": "status", "status": 500, "match": f"{case}:", "times": 1} for case in cases
        ]
    )


def slots(run: Run) -> list[tuple[str, int]]:
    return sorted(samples(run).values_list("case__case_id", "replicate"))


def test_a_complete_run_takes_more_replicates_beside_those_it_has(provider: Provider) -> None:
    run = work(start(provider, cases=12, replicates=2))
    first = {s.pk for s in samples(run)}

    services.extend_run(actor=make_owner(), run=run, replicates=3)
    work(run)

    assert (run.state, run.replicates, run.total_slots) == (RunState.COMPLETE, 5, 60)
    assert slots(run) == sorted((f"c{i}", r) for i in range(12) for r in range(5))
    assert first <= {s.pk for s in samples(run)}
    assert set(provider.stats()["calls"].values()) == {5}
    assert run.totals["answered"] == 60
    assert endings(run) == 2


def test_a_run_on_its_way_is_extended_without_stopping(provider: Provider) -> None:
    run = start(provider, cases=3)

    extended = services.extend_run(actor=make_owner(), run=run, replicates=1)

    assert extended.state == RunState.QUEUED
    work(run)
    assert (run.state, samples(run).count()) == (RunState.COMPLETE, 6)


def test_a_run_from_before_extensions_keeps_its_own_slots(provider: Provider) -> None:
    run = start(provider, cases=3, replicates=2)
    Shard.objects.filter(run=run).update(replicates=None)

    services.extend_run(actor=make_owner(), run=run, replicates=1)
    work(run)

    assert slots(run) == sorted((f"c{i}", r) for i in range(3) for r in range(3))


def test_slots_that_came_to_an_error_are_asked_once_more_and_stay_on_record(
    provider: Provider,
) -> None:
    break_once(provider, "c1", "c2")
    run = work(start(provider, cases=4))
    assert run.totals["error"] == 2

    services.retry_failed(actor=make_owner(), run=run)
    work(run)

    assert (run.state, run.total_slots) == (RunState.COMPLETE, 6)
    assert run.totals["answered"] == 4
    assert run.totals["error"] == 2  # what happened stays on record
    assert slots(run) == [("c0", 0), ("c1", 0), ("c1", 1), ("c2", 0), ("c2", 1), ("c3", 0)]
    with pytest.raises(Conflict, match="nothing to retry"):
        services.retry_failed(actor=make_owner(), run=run)


def test_an_extension_after_a_retry_uses_numbers_that_are_free(provider: Provider) -> None:
    break_once(provider, "c1")
    run = work(start(provider, cases=2))
    services.retry_failed(actor=make_owner(), run=run)
    work(run)

    services.extend_run(actor=make_owner(), run=run, replicates=1)
    work(run)

    assert slots(run) == [("c0", 0), ("c0", 2), ("c1", 0), ("c1", 1), ("c1", 2)]
    assert (run.state, run.total_slots) == (RunState.COMPLETE, 5)


def test_nothing_is_added_to_answers_that_a_baseline_rests_on(provider: Provider) -> None:
    run = work(start(provider, cases=3, purpose="baseline", replicates=2))
    create_baseline(
        actor=make_owner(), model_version=run.model_version, suite_revision=run.suite_revision
    )

    with pytest.raises(Conflict, match="A baseline rests on the answers"):
        services.extend_run(actor=make_owner(), run=run, replicates=1)

    rerun = services.start_run(
        actor=make_owner(), model_version=run.model_version, suite_revision=run.suite_revision
    )
    work(rerun)
    assert compare_run(run=rerun)
    with pytest.raises(Conflict, match="A comparison rests on the answers"):
        services.extend_run(actor=make_owner(), run=rerun, replicates=1)


def test_a_run_that_is_being_extended_is_not_compared_until_it_ends(provider: Provider) -> None:
    base = work(start(provider, cases=3, purpose="baseline", replicates=2))
    create_baseline(
        actor=make_owner(), model_version=base.model_version, suite_revision=base.suite_revision
    )
    run = work(
        services.start_run(
            actor=make_owner(), model_version=base.model_version, suite_revision=base.suite_revision
        )
    )
    stale = Run.objects.get(pk=run.pk)  # as the pipeline read it, just before
    services.extend_run(actor=make_owner(), run=run, replicates=1)

    assert compare_run(run=stale) is None

    work(run)
    found = compare_run(run=run)
    assert found is not None


@pytest.mark.parametrize("replicates", [0, 100])
def test_too_many_or_no_replicates_are_refused(provider: Provider, replicates: int) -> None:
    run = start(provider, cases=2)

    with pytest.raises(InvalidInput) as caught:
        services.extend_run(actor=make_owner(), run=run, replicates=replicates)

    assert caught.value.field == "replicates"
    run.refresh_from_db()
    assert (run.replicates, run.total_slots) == (1, 2)


def test_an_auditor_neither_extends_nor_retries(provider: Provider) -> None:
    run = start(provider, cases=2)
    with pytest.raises(NotAllowed):
        services.extend_run(actor=make_user(Role.AUDITOR), run=run, replicates=1)


def test_an_endpoint_that_is_up_again_is_asked_whatever_was_before(provider: Provider) -> None:
    """Its breaker is open since long: a run that is asked for now has a patience of its own."""
    run = start(provider, cases=3)
    client = redis.Redis.from_url(settings.REDIS_URL)
    long_ago = time.time() - 3600
    state = {"since": long_ago, "fails": 50, "open_until": long_ago + 60, "open_for": 1, "cap": 4}
    client.hset(f"govtrack:{{{run.model_version.endpoint_id}}}:limits", mapping=state)

    work(run)

    assert (run.state, run.totals.get("answered")) == (RunState.COMPLETE, 3), run.state_reason


def test_a_run_names_every_code_version_that_worked_on_it(provider: Provider) -> None:
    run = start(provider, cases=2)
    assert run.code_version == code_version()
    Run.objects.filter(pk=run.pk).update(code_version="0.0.9+abc")

    work(run)

    assert run.code_version == f"0.0.9+abc, {code_version()}"
    assert records.of_run(services.run_by_id(run.pk))["code"]["govtrack"] == run.code_version
