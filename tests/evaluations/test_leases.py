"""Leases: one owner at a time, and nothing written by one whose time is over."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import connection

from apps.core import clock
from apps.evaluations import leases, services, tasks
from apps.evaluations.leases import Lease
from apps.evaluations.models import Run, RunState, Sample, Score, Shard, SuiteCase
from apps.evaluations.runner import writer
from apps.evaluations.runner.answers import Parsed
from apps.evaluations.runner.client import Outcome
from apps.evaluations.runner.requests import Request
from tests.evaluations.helpers import endings, samples, start
from tests.fixtures.evaluations import make_owner

pytestmark = pytest.mark.usefixtures("live")
NOWHERE = "http://127.0.0.1:9/v1"


def claim_one(owner: str = "a") -> Lease:
    return leases.claim(owner=owner, limit=1)[0]


def running(cases: int = 4) -> Run:
    run = start(NOWHERE, cases=cases)
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    run.refresh_from_db()
    return run


def result(run: Run, lease: Lease, *, text: str = "motor", case: str = "c0") -> writer.Result:
    request = Request("/chat/completions", {}, b"{}")
    outcome = Outcome(request, "answered", Parsed(text=text), response=b'{"id": 1}')
    row = SuiteCase.objects.get(revision=run.suite_revision, case_id=case)
    return writer.Result(run, lease, row, 0, outcome, clock.now())


def expire(lease: Lease) -> None:
    past = clock.now() - dt.timedelta(seconds=1)
    Shard.objects.filter(pk=lease.shard_id).update(lease_until=past)


def test_two_workers_that_claim_at_once_get_different_shards() -> None:
    run = start(NOWHERE, cases=80)
    taken: list[Lease] = []
    barrier = threading.Barrier(4)

    def worker(name: str) -> None:
        barrier.wait()
        for _ in range(4):
            taken.extend(leases.claim(owner=name, limit=1))
        connection.close()

    threads = [threading.Thread(target=worker, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert run.shards.count() == 8
    assert len(taken) == len({lease.shard_id for lease in taken}) == 8


def test_a_shard_of_a_busy_endpoint_is_left_to_others() -> None:
    run = start(NOWHERE)

    busy = [run.model_version.endpoint_id]

    assert leases.claim(owner="a", limit=5, busy_endpoints=busy) == []
    assert len(leases.claim(owner="b", limit=5)) == 1


def test_a_result_under_a_held_lease_is_stored_with_its_score() -> None:
    run = running()

    assert writer.write([result(run, claim_one())]) == [True]

    assert samples(run).count() == 1
    assert Score.objects.get(run=run, metric_key="accuracy").value == 1.0


def test_the_old_owner_cannot_write_after_the_shard_was_taken_over() -> None:
    run = running()
    old = claim_one("old")
    expire(old)
    leases.sweep()
    new = claim_one("new")

    assert writer.write([result(run, old, text="from the old owner")]) == [False]
    assert writer.write([result(run, new, text="from the new owner")]) == [True]

    assert [s.text for s in samples(run)] == ["from the new owner"]


def test_the_same_owner_cannot_write_under_an_old_fence() -> None:
    run = running()
    old = claim_one("same")
    leases.release(old)
    claim_one("same")

    assert writer.write([result(run, old)]) == [False]
    assert not samples(run).exists()


def test_a_slot_that_is_filled_keeps_its_first_answer() -> None:
    run = running()
    lease = claim_one()
    writer.write([result(run, lease, text="first")])

    assert writer.write([result(run, lease, text="second")]) == [True]

    assert samples(run).get().text == "first"
    assert Score.objects.filter(run=run, metric_key="accuracy").count() == 1


def test_a_batch_keeps_what_may_be_kept() -> None:
    run = running(cases=20)
    lost, held = leases.claim(owner="a", limit=2)
    leases.release(lost)

    stored = writer.write([result(run, lost, case="c0"), result(run, held, case="c10")])

    assert stored == [False, True]
    assert samples(run).get().case.case_id == "c10"


def test_an_answer_to_a_cancelled_run_is_not_stored() -> None:
    run = running()
    lease = claim_one()
    services.cancel_run(actor=make_owner(), run=run)

    assert writer.write([result(run, lease)]) == [False]
    assert not samples(run).exists()


def test_an_answer_under_way_when_the_run_was_paused_is_kept() -> None:
    run = running()
    lease = claim_one()
    services.pause_run(actor=make_owner(), run=run)

    assert writer.write([result(run, lease)]) == [True]


def test_a_sample_cannot_be_changed_or_deleted() -> None:
    run = running()
    writer.write([result(run, claim_one())])

    with pytest.raises(Exception, match="immutable"):
        samples(run).update(text="better")
    connection.close()
    with pytest.raises(Exception, match="immutable"):
        Sample.objects.filter(run=run).delete()
    connection.close()


def test_a_heartbeat_prolongs_what_is_held_and_leaves_out_what_is_lost() -> None:
    run = running(cases=20)
    held, lost = leases.claim(owner="a", limit=2)
    leases.release(lost)
    before = Shard.objects.get(pk=held.shard_id).lease_until

    states = leases.heartbeat([held, lost], seconds=100)

    assert states == {held.shard_id: run.state}
    after = Shard.objects.get(pk=held.shard_id).lease_until
    assert before is not None
    assert after is not None
    assert after > before


def test_finishing_under_a_lost_lease_changes_nothing() -> None:
    run = running()
    lease = claim_one()
    leases.release(lease)

    assert leases.finish(lease) is False
    assert not run.shards.get().done


def test_the_sweep_frees_shards_of_silent_owners_only() -> None:
    running(cases=20)
    silent, alive = leases.claim(owner="a", limit=2)
    expire(silent)

    assert leases.sweep().freed == 1

    assert Shard.objects.get(pk=silent.shard_id).lease_owner == ""
    assert Shard.objects.get(pk=alive.shard_id).lease_owner == "a"


def test_a_shard_that_ends_its_workers_again_and_again_stops_its_run() -> None:
    run = running()
    lease = claim_one()
    expire(lease)
    run.shards.update(attempts=leases.MAX_DEATHS - 1)

    tasks.tick()

    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert "ended its worker" in run.state_reason
    assert endings(run) == 1


def test_retrying_a_failed_run_keeps_out_the_owner_from_before() -> None:
    run = running()
    old = claim_one()
    Run.objects.filter(pk=run.pk).update(state=RunState.FAILED)

    services.retry_failed(actor=make_owner(), run=run)
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)

    assert writer.write([result(run, old)]) == [False]
    assert claim_one("next").fence == old.fence + 2
