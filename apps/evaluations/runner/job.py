"""A leased shard in a worker's hands, and what is loaded for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import Q

from apps.core.code import code_version
from apps.core.errors import GovTrackError
from apps.evaluations import budgets, finishing
from apps.evaluations.leases import Lease
from apps.evaluations.models import Run, RunState, Sample, SampleStatus, SuiteCase
from apps.evaluations.runner import halts, requests
from apps.evaluations.runner.client import client_version
from apps.evaluations.runner.problems import Misconfigured, Problem
from apps.evaluations.stored import case_of, frame_of
from apps.evaluations.suitefile import Case
from apps.registry import credentials
from apps.registry.models import Endpoint


@dataclass(frozen=True)
class Slot:
    row: SuiteCase
    case: Case
    replicate: int
    request: requests.Request


@dataclass(frozen=True)
class Loaded:
    run: Run
    endpoint: Endpoint
    secret: str
    slots: list[Slot]
    limited: bool = False
    """Under a budget: as many calls as may be under way are counted until they are stored."""


class Job:
    """`halted`: make no new call. `settling`: no call is under way, the lease is being given up.
    `lost`: the lease is somebody else's now. `problem`: why the shard cannot be finished."""

    run: Run

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.problem: Problem | None = None
        self.defect: BaseException | None = None
        self.delay = 0.0
        self.hopeless = False
        """What stands in the way has stood there for longer than the patience lasts."""
        self.lost = False
        self.settling = False
        self.halted = False
        self.ended = asyncio.Event()
        self.limited = False
        self.open_slots = 0
        self.under_way = 0
        """Entries that are not concluded: waiting, asked, or being stored."""
        self.queued: set[Any] = set()
        self.calls: set[asyncio.Task[None]] = set()
        self.concludes: Callable[[Any], None] = lambda entry: None

    def halt(self) -> None:
        """Make no new call. What is under way comes to its end."""
        self.halted = True
        while self.queued:
            self.concludes(self.queued.pop())

    def stop(self, problem: Problem, *, delay: float = 0.0) -> None:
        """Make no new call, since this stands in the way. What stops a run outweighs the rest."""
        if self.problem is None or isinstance(problem, Misconfigured):
            self.problem = problem
        self.delay = max(self.delay, delay)
        self.halt()

    def lose(self) -> None:
        """The lease is gone: nothing of it may be stored any more, so nothing more is paid for."""
        self.lost = True
        self.abandon()

    def abandon(self) -> None:
        self.halt()
        for call in self.calls:
            call.cancel()


def load(leases: Sequence[Lease]) -> dict[UUID, Loaded | Exception | None]:
    """What each shard still needs, by its id: None when its run takes no calls now, Misconfigured
    when a person must change something first, any other exception for a defect of ours. A few
    queries for each run, not for each shard. Raises when the database is away."""
    by_run: dict[UUID, list[Lease]] = defaultdict(list)
    for lease in leases:
        by_run[lease.run_id].append(lease)
    found: dict[UUID, Loaded | Exception | None] = {}
    for run_id, group in by_run.items():
        try:
            found |= _load_run(run_id, group)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            found |= {lease.shard_id: error for lease in group}
    return found


def _load_run(run_id: UUID, group: list[Lease]) -> dict[UUID, Loaded | Exception | None]:
    run = _run(run_id)
    if run.state == RunState.QUEUED:
        finishing.begin([run_id])
        run = _run(run_id)
    if run.state != RunState.RUNNING:
        return {lease.shard_id: None for lease in group}
    if not run.client_version:
        Run.objects.filter(pk=run.pk, client_version="").update(client_version=client_version())
    if code_version() not in run.code_version.split(", "):  # upgraded while the run was on its way
        both = ", ".join(filter(None, [run.code_version, code_version()]))[:200]
        Run.objects.filter(pk=run.pk, code_version=run.code_version).update(code_version=both)
    version = run.model_version
    endpoint = version.endpoint
    if not endpoint.active:
        raise Misconfigured(
            "inactive",
            f"The endpoint '{endpoint.name}' was switched off. Switch it on, then Retry failed.",
        )
    _keep_to_one_address(run, endpoint)
    secret = secret_of(endpoint)
    frame = frame_of(run.suite_revision_id)
    wanted = Q()
    for lease in group:
        wanted |= Q(position__range=(lease.first_position, lease.last_position))
    rows = {
        row.position: row
        for row in SuiteCase.objects.filter(wanted, revision=run.suite_revision_id)
    }
    filled = set(
        Sample.objects.filter(
            month=run.month, run=run, case__in=[row.pk for row in rows.values()]
        ).values_list("case_id", "replicate")
    )
    built: dict[int, tuple[Case, requests.Request]] = {}
    halts.lift(run.pk)
    limited = budgets.applies(run)
    found: dict[UUID, Loaded | Exception | None] = {}
    for lease in group:
        slots = []
        for replicate in replicates_of(lease, run):
            for position in range(lease.first_position, lease.last_position + 1):
                row = rows.get(position)
                if row is None or (row.pk, replicate) in filled:
                    continue
                if position not in built:
                    case = case_of(row)
                    built[position] = (
                        case,
                        requests.build(version, endpoint.api_style, frame, case),
                    )
                slots.append(Slot(row, built[position][0], replicate, built[position][1]))
        found[lease.shard_id] = Loaded(run, endpoint, secret, slots, limited=limited)
    return found


def outdated(known: Sequence[tuple[UUID, int]]) -> list[tuple[UUID, int]]:
    """Which of these (endpoint, version of its row) are not as the endpoint is now."""
    rows = Endpoint.objects.filter(pk__in=[pk for pk, _ in known])
    current = dict(rows.values_list("pk", "row_version"))
    return [(pk, version) for pk, version in known if current.get(pk) != version]


def _keep_to_one_address(run: Run, endpoint: Endpoint) -> None:
    """The answers of a run come from one address: what is compared later must have one origin. An
    address that gave no answer yet may be mended."""
    address = f"{endpoint.api_style} {endpoint.base_url}"
    if run.asked_at == address:
        return
    answered = Sample.objects.filter(month=run.month, run=run).exclude(status=SampleStatus.ERROR)
    if run.asked_at and answered.exists():
        before, now = run.asked_at.partition(" "), address.partition(" ")
        what = "address" if before[2] != now[2] else "API style"
        old, new = (before[2], now[2]) if what == "address" else (before[0], now[0])
        raise Misconfigured(
            "endpoint_changed",
            f"The {what} of the endpoint '{endpoint.name}' was changed from {old} to {new} after "
            "this run had answers, and one run holds the answers of one origin. Change it back "
            "and Retry failed, or start a new run.",
        )
    Run.objects.filter(pk=run.pk).update(asked_at=address)


def _run(run_id: UUID) -> Run:
    related = ("model_version__endpoint", "suite_revision__suite")
    return Run.objects.select_related(*related).get(pk=run_id)


def replicates_of(lease: Lease, run: Run) -> range:
    """Shards from before runs could be extended hold all replicates that their run began with."""
    count = run.replicates if lease.replicates is None else lease.replicates
    return range(lease.first_replicate, lease.first_replicate + count)


def secret_of(endpoint: Endpoint) -> str:
    """The endpoint's secret. It lives in this process only: no task argument, log or sample."""
    try:
        return credentials.resolve(endpoint)
    except GovTrackError as error:
        raise Misconfigured(
            "credential", f"The endpoint's credential cannot be read. {error} Then Retry failed."
        ) from None
