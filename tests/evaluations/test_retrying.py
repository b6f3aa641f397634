"""Retrying by class of error, as the API and the command line do it: exactly the slots that came to
an error of the class are asked once more, and every stored answer stays."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.core.errors import Conflict
from apps.evaluations import services
from apps.evaluations.models import Run, RunState, Shard
from apps.evaluations.runner import loop
from tests.api.conftest import Api, is_problem
from tests.cli.conftest import Cli, cli
from tests.evaluations.helpers import samples, start, work
from tests.fixtures.evaluations import make_owner
from tests.fixtures.provider import Provider

__all__ = ["cli"]
pytestmark = pytest.mark.usefixtures("live")
WAYS = pytest.mark.parametrize("way", ["api", "cli"])

CONTEXT = {"message": "maximum context length is 8192", "code": "context_length_exceeded"}
# What becomes of a case: two errors of one class, one each of two others, and one that is none.
FAULTS: dict[str, dict[str, Any]] = {
    "c1": {"kind": "status", "status": 429},
    "c2": {"kind": "status", "status": 500},
    "c3": {"kind": "raw", "body": "no JSON"},
    "c5": {"kind": "status", "status": 429},
    "c6": {"kind": "status", "status": 400, "error": CONTEXT},
}
OF_CLASS = {"rate_limited": ["c1", "c5"], "server_error": ["c2"], "malformed": ["c3"]}


@pytest.fixture(autouse=True)
def _one_attempt_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts are tested elsewhere."""
    monkeypatch.setattr(loop, "MAX_ATTEMPTS", 1)


@pytest.fixture
def owner() -> User:
    return make_owner()


def fail(provider: Provider, **cases: dict[str, Any]) -> None:
    """Each of these cases meets its fault once."""
    faults = [{**fault, "match": f"{case}:", "times": 1} for case, fault in cases.items()]
    provider.set(faults=faults)


def failed_run(provider: Provider, owner: User, **more: Any) -> Run:
    fail(provider, **FAULTS)
    run = work(start(provider, cases=8, owner=owner, **more))
    assert run.state == RunState.COMPLETE, run.state_reason
    assert run.totals["errors"] == {
        "rate_limited": 2,
        "server_error": 1,
        "malformed": 1,
        "context_length": 1,
    }
    return run


class Way:
    """One of the doors through which a person retries."""

    def __init__(self, way: str, cli: Cli, owner: User) -> None:
        self.way, self.cli, self.owner = way, cli, owner

    def retry(self, run: Run, *kinds: str) -> None:
        if self.way == "api":
            body = {"error_kinds": list(kinds)} if kinds else None
            response = Api(self.owner).post(f"runs/{run.pk}/retry-failed", body)
            assert response.status_code == 200, response.json()
            assert response.json()["state"] == "queued"
        else:
            result = self.call(run, *kinds)
            assert result.exit_code == 0, result.output
        run.refresh_from_db()

    def refused(self, run: Run, *kinds: str, status: int) -> str:
        """What the person reads; the run is as it was."""
        before = (Run.objects.values().get(pk=run.pk), run.shards.count())
        if self.way == "api":
            body = {"error_kinds": list(kinds)}
            response = Api(self.owner).post(f"runs/{run.pk}/retry-failed", body)
            problem = is_problem(response, status, field="error_kinds")
            said = " ".join(str(problem[k]) for k in ("detail", "remedy") if k in problem)
        else:
            result = self.call(run, *kinds)
            assert result.exit_code == 1
            assert "error_kinds: " in result.output
            said = " ".join(result.output.split())
        assert (Run.objects.values().get(pk=run.pk), run.shards.count()) == before
        return said

    def call(self, run: Run, *kinds: str) -> Any:
        options = [word for kind in kinds for word in ("--error-kind", kind)]
        return self.cli("run", "retry", run.pk, "--as", self.owner.email, *options)


@pytest.fixture
def door(way: str, cli: Cli, owner: User) -> Way:
    return Way(way, cli, owner)


def rows(run: Run) -> dict[Any, dict[str, Any]]:
    return {row["id"]: dict(row) for row in samples(run).values()}


def retryable(run: Run, owner: User) -> dict[str, int]:
    return dict(Api(owner).get(f"runs/{run.pk}/progress").json()["retryable"])


def asked_again(before: dict[str, Any], provider: Provider) -> list[str]:
    """The cases that were asked since `before`, one entry a call."""
    after = provider.stats()["calls"]
    return [
        prompt.split()[1].rstrip(":")
        for prompt in sorted(after)
        for _ in range(after[prompt] - before["calls"].get(prompt, 0))
    ]


@WAYS
@pytest.mark.parametrize(
    "kinds", [("rate_limited",), ("server_error",), ("malformed",), ("malformed", "rate_limited")]
)
def test_only_slots_of_the_class_are_asked_once_more(
    provider: Provider, owner: User, door: Way, kinds: tuple[str, ...]
) -> None:
    run = failed_run(provider, owner)
    kept, before = rows(run), provider.stats()
    cases = sorted(case for kind in kinds for case in OF_CLASS[kind])
    open_before = retryable(run, owner)
    assert open_before == {kind: len(of_kind) for kind, of_kind in OF_CLASS.items()}

    door.retry(run, *kinds)
    assert run.total_slots == 8 + len(cases)
    assert f"{len(cases)} slots are asked once more" in run.state_reason
    assert f"left as they are: {4 - len(cases)} of other classes" in run.state_reason
    work(run)

    assert run.state == RunState.COMPLETE
    assert asked_again(before, provider) == cases
    after = rows(run)
    assert {pk: after[pk] for pk in kept} == kept
    new = samples(run).exclude(pk__in=[(run.month, pk) for pk in kept])
    assert sorted(new.values_list("case__case_id", "status")) == [(c, "answered") for c in cases]
    assert all(new.values_list("replicate", flat=True))
    # What happened stays on record, and counts as it did.
    assert (run.totals["answered"], run.totals["error"]) == (3 + len(cases), 4)
    assert run.totals["errors"]["rate_limited"] == 2
    left = {kind: count for kind, count in open_before.items() if kind not in kinds}
    assert retryable(run, owner) == left
    assert door.refused(run, kinds[0], status=409)

    # The rest, without naming it.
    before = provider.stats()
    door.retry(run)
    work(run)
    rest = sorted(case for kind in left for case in OF_CLASS[kind])
    assert asked_again(before, provider) == rest
    assert (run.totals["answered"], run.totals["refused"], run.total_slots) == (7, 1, 12)
    assert retryable(run, owner) == {}


@WAYS
def test_without_a_class_every_error_is_asked_once_more_and_no_outcome(
    provider: Provider, owner: User, door: Way
) -> None:
    run = failed_run(provider, owner)
    kept, before = rows(run), provider.stats()

    door.retry(run)
    assert (run.total_slots, run.state_reason) == (12, "4 slots are asked once more.")
    work(run)

    assert asked_again(before, provider) == ["c1", "c2", "c3", "c5"]
    assert {pk: row for pk, row in rows(run).items() if pk in kept} == kept
    assert (run.totals["answered"], run.totals["error"], run.totals["refused"]) == (7, 4, 1)


@WAYS
def test_a_class_that_is_no_error_is_told_and_nothing_is_asked(
    provider: Provider, owner: User, door: Way
) -> None:
    run = failed_run(provider, owner)
    before = provider.stats()

    said = door.refused(run, "rate_limited", "context_length", status=400)
    assert "'context_length' is not retried: it is what the endpoint says" in said
    assert "rate_limited (2)" in said

    said = door.refused(run, "too_large", status=409)
    assert "No slot of this run that came to 'too_large' is without another." in said
    assert "malformed (1)" in said
    assert provider.stats()["total"] == before["total"]


def test_an_empty_list_of_classes_is_not_taken_for_all(provider: Provider, owner: User) -> None:
    run = failed_run(provider, owner)
    response = Api(owner).post(f"runs/{run.pk}/retry-failed", {"error_kinds": []})
    assert "Name at least one class" in is_problem(response, 400, field="error_kinds")["detail"]
    response = Api(owner).post(f"runs/{run.pk}/retry-failed", {"error_kind": "malformed"})
    is_problem(response, 400, field="error_kind")


def test_a_slot_that_fails_again_otherwise_counts_for_its_new_class(
    provider: Provider, owner: User
) -> None:
    run = failed_run(provider, owner)
    fail(provider, c1=FAULTS["c3"])
    services.retry_failed(actor=owner, run=run, error_kinds=["rate_limited"])
    work(run)

    assert retryable(run, owner) == {"malformed": 2, "server_error": 1}

    before = provider.stats()
    services.retry_failed(actor=owner, run=run, error_kinds=["malformed"])
    work(run)
    assert asked_again(before, provider) == ["c1", "c3"]
    assert retryable(run, owner) == {"server_error": 1}


def test_two_classes_at_one_case_are_retried_one_by_one(provider: Provider, owner: User) -> None:
    provider.set(
        faults=[
            {**FAULTS[case], "match": "c1:", "times": times}
            for case, times in (("c2", 1), ("c3", 2))
        ]
    )
    run = work(start(provider, cases=2, replicates=4, owner=owner))
    assert retryable(run, owner) == {"malformed": 2, "server_error": 1}

    services.retry_failed(actor=owner, run=run, error_kinds=["malformed"])
    work(run)
    assert retryable(run, owner) == {"server_error": 1}
    with pytest.raises(Conflict, match="'malformed' is without another"):
        services.retry_failed(actor=owner, run=run, error_kinds=["malformed"])

    services.retry_failed(actor=owner, run=run, error_kinds=["server_error"])
    work(run)
    assert retryable(run, owner) == {}
    assert (run.total_slots, samples(run).count(), run.totals["answered"]) == (11, 11, 8)


def test_both_classes_at_one_case_are_retried_at_once(provider: Provider, owner: User) -> None:
    provider.set(faults=[{**FAULTS[c], "match": "c1:", "times": 1} for c in ("c2", "c3")])
    run = work(start(provider, cases=2, replicates=2, owner=owner))

    services.retry_failed(actor=owner, run=run)
    work(run)

    assert (run.totals["answered"], run.totals["error"], run.total_slots) == (4, 2, 6)
    assert retryable(run, owner) == {}


def test_retries_from_before_classes_were_kept_are_not_made_twice(
    provider: Provider, owner: User
) -> None:
    run = failed_run(provider, owner)
    services.retry_failed(actor=owner, run=run, error_kinds=["rate_limited"])
    Shard.objects.filter(run=run).update(error_kind="")
    fail(provider, c1=FAULTS["c3"])
    work(run)

    # The older error of c1 has its other slot, which came to the newer one.
    assert retryable(run, owner) == {"malformed": 2, "server_error": 1}


def test_a_run_that_failed_goes_on_with_what_was_not_asked_and_the_class(
    provider: Provider, owner: User
) -> None:
    fail(provider, c0=FAULTS["c1"], c1=FAULTS["c2"], c3={"kind": "status", "status": 401})
    run = work(start(provider, cases=6, owner=owner, endpoint_max_concurrency=1))
    assert run.state == RunState.FAILED
    asked = samples(run).count()
    assert retryable(run, owner) == {"rate_limited": 1, "server_error": 1}

    services.retry_failed(actor=owner, run=run, error_kinds=["server_error"])
    work(run)

    assert (run.state, run.total_slots) == (RunState.COMPLETE, 7)
    assert asked < samples(run).count() == 7
    assert retryable(run, owner) == {"rate_limited": 1}
