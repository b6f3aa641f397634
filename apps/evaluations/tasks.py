"""Tasks are wake-up calls: they carry no work, and may be lost or delivered twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import structlog
from celery import shared_task
from django.db import close_old_connections

from apps.evaluations import finishing, leases, schedules, wake

log = structlog.get_logger(__name__)
BUDGET_SECONDS = 40.0
MAX_WAKE_UPS = wake.MAX_WAKE_UPS


@shared_task
def work() -> None:
    """Work off shards for a while; then wake somebody up again if there is more."""
    # Only a worker needs the HTTP client: the web process imports this module too.
    from apps.evaluations.runner import loop

    if not leases.claimable().exists():
        return
    report = loop.work(seconds=float(os.environ.get("GOVTRACK_WORK_SECONDS", BUDGET_SECONDS)))
    log.info("worked", shards=report.shards, samples=report.samples, lost=report.lost)
    if leases.claimable().exists():
        wake.workers()


@shared_task
def score() -> None:
    """Score stored answers for a while; then wake somebody up again if there is more."""
    # Judges and embeddings bring much along that a runner does not need.
    from apps.evaluations import rescoring

    if rescoring.todo().exists():
        rescoring.work(seconds=BUDGET_SECONDS)
        if rescoring.todo().exists():
            wake.scorers()


@shared_task
def tick() -> None:
    """Everything that has to happen by itself. Any number of beats may call it at once."""
    steps: tuple[Callable[[], Any], ...] = (
        schedules.claim_due,
        _sweep,
        finishing.complete_done,
        finishing.end_stopped,
        _wake,
        _wake_scorers,
    )
    for step in steps:
        try:
            step()
        except Exception:
            # One broken step must not stop the others; the next tick tries again.
            log.exception("tick_step_failed", step=step.__name__)
            close_old_connections()


def _sweep() -> None:
    swept = leases.sweep()
    for run_id in set(swept.deadly):
        finishing.fail(
            run_id,
            reason=f"A part of this run ended its worker {leases.MAX_DEATHS} times in a row. Look "
            "into the workers' logs (out of memory?), then Retry failed.",
        )


def _wake() -> None:
    wake.workers(leases.claimable()[:MAX_WAKE_UPS].count())


def _wake_scorers() -> None:
    from apps.evaluations import rescoring

    if rescoring.todo().exists():
        wake.scorers()
