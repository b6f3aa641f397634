"""A leased shard in a worker's hands, and what is loaded for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from apps.core.errors import GovTrackError
from apps.evaluations.leases import Lease
from apps.evaluations.models import Run, RunState, Sample, SuiteCase
from apps.evaluations.runner import requests
from apps.evaluations.runner.client import client_version
from apps.evaluations.runner.problems import Misconfigured, Problem
from apps.evaluations.stored import case_of, frame_of
from apps.registry import credentials
from apps.registry.models import Endpoint


@dataclass(frozen=True)
class Slot:
    case: SuiteCase
    replicate: int
    request: requests.Request


@dataclass(frozen=True)
class Loaded:
    run: Run
    endpoint: Endpoint
    secret: str
    slots: list[Slot]


class Job:
    """`halted`: make no new call. `settling`: no call is under way, the lease is being given up.
    `lost`: the lease is somebody else's now. `problem`: why the
    shard cannot be finished."""

    run: Run

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.task: asyncio.Task[None] | None = None
        self.problem: Problem | None = None
        self.delay = 0.0
        self.lost = False
        self.settling = False
        self.loaded = asyncio.Event()
        self.open_slots = 0
        self._slots: list[Slot] = []
        self._halt = asyncio.Event()

    @property
    def slots(self) -> list[Slot]:
        return self._slots

    @slots.setter
    def slots(self, slots: Iterable[Slot]) -> None:
        self._slots = list(slots)
        self.open_slots = len(self._slots)

    @property
    def halted(self) -> bool:
        return self._halt.is_set()

    def halt(self) -> None:
        self._halt.set()

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
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def sleep(self, seconds: float) -> bool:
        """Wait, but not longer than until the shard is halted: then True."""
        try:
            async with asyncio.timeout(seconds):
                await self._halt.wait()
        except TimeoutError:
            return False
        return True


def load(lease: Lease) -> Loaded | None:
    """What a shard still needs; None when its run takes no calls now. Raises Misconfigured."""
    run = Run.objects.select_related("model_version__endpoint", "suite_revision__suite").get(
        pk=lease.run_id
    )
    if run.state != RunState.RUNNING:
        return None
    if not run.client_version:
        Run.objects.filter(pk=run.pk, client_version="").update(client_version=client_version())
    version = run.model_version
    endpoint = version.endpoint
    if not endpoint.active:
        raise Misconfigured(
            "inactive",
            f"The endpoint '{endpoint.name}' was switched off. Switch it on, then Retry failed.",
        )
    frame = frame_of(run.suite_revision_id)
    cases = list(
        SuiteCase.objects.filter(
            revision=run.suite_revision_id,
            position__range=(lease.first_position, lease.last_position),
        ).order_by("position")
    )
    filled = set(
        Sample.objects.filter(month=run.month, run=run, case__in=cases).values_list(
            "case_id", "replicate"
        )
    )
    slots = [
        Slot(case, replicate, requests.build(version, endpoint.api_style, frame, case_of(case)))
        for replicate in range(run.replicates)
        for case in cases
        if (case.pk, replicate) not in filled
    ]
    return Loaded(run, endpoint, secret_of(endpoint), slots)


def secret_of(endpoint: Endpoint) -> str:
    """The endpoint's secret. It lives in this process only: no task argument, log or sample."""
    try:
        return credentials.resolve(endpoint)
    except GovTrackError as error:
        raise Misconfigured(
            "credential", f"The endpoint's credential cannot be read. {error} Then Retry failed."
        ) from None
