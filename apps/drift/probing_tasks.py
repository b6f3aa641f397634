"""Tasks are wake-up calls: they carry no work, and may be lost or delivered twice."""

from __future__ import annotations

from celery import current_app, shared_task

WORK = "apps.drift.probing_tasks.work"


@shared_task
def tick() -> None:
    """Begin what should run by default; wake a worker where a probe is due."""
    # Runners register these tasks too: they need neither the statistics nor, before a probe is
    # due, the HTTP client in memory.
    from apps.drift import probing, probing_work

    probing.renew()
    probing.ensure_probes()
    if probing_work.due():
        current_app.send_task(WORK, expires=60.0, retry=False, ignore_result=True)


@shared_task
def work() -> None:
    from apps.drift import probing_work

    probing_work.work()
