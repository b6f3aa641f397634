"""Schedules: many due at once and several tickers, and how soon a due run makes its first call.

python -m benchmarks.engine.schedules        one ticker: claims until nothing is due, prints
                                             how many runs it created (used by `tickers`)
"""

from __future__ import annotations

import datetime as dt
import json
import random
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.engine.control import ROOT, Provider, Variant
from benchmarks.engine.product import Product


def tickers(product: Product, *, due: int = 10_000, count: int = 4) -> dict[str, Any]:
    """`count` processes claim `due` schedules that are all due now. The product's own worker,
    runner and beat must be stopped. Each schedule must have exactly one run afterwards."""
    from django.db.models import Count

    from apps.core import clock
    from apps.evaluations.models import Run, Schedule
    from apps.evaluations.partitions import ensure_month
    from tests.fixtures.evaluations import make_revision, make_version

    side = round(due**0.5)
    versions = [make_version("http://127.0.0.1:9/v1") for _ in range(side)]
    revisions = [make_revision(1, slug=f"ticker-{i}") for i in range(side)]
    now = clock.now()
    ensure_month(clock.month_of(now))
    made = Schedule.objects.bulk_create(
        [
            Schedule(
                model_version=version,
                suite_revision=revision,
                interval_seconds=86_400,
                next_due_at=now - dt.timedelta(seconds=1),
            )
            for version in versions
            for revision in revisions
        ],
        batch_size=1000,
    )
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.schedules"],
            cwd=ROOT,
            env=product.env,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    claimed = [json.loads(p.communicate()[0].splitlines()[-1])["created"] for p in processes]
    seconds = time.monotonic() - started
    per_schedule = list(
        Run.objects.filter(schedule__model_version__in=versions)
        .values("schedule")
        .annotate(n=Count("id"))
        .values_list("n", flat=True)
    )
    return {
        "due": len(made),
        "tickers": count,
        "claimed_by_each": claimed,
        "runs": sum(per_schedule),
        "schedules_with_one_run": per_schedule.count(1),
        "seconds": round(seconds, 2),
        "per_second": round(len(made) / seconds),
    }


def first_calls(product: Product, provider: Provider, *, count: int = 20) -> dict[str, float]:
    """Seconds from a schedule's due time to its first call, with idle workers; every schedule
    comes due at another moment of the tick."""
    from apps.core import clock
    from apps.evaluations.models import Schedule
    from tests.fixtures.evaluations import make_revision

    revision = make_revision(2, slug="first-call")
    waits = []
    for _ in range(count):
        version = product.make_version(provider, 4)
        provider.prepare(Variant("first", "first", 4, median=0.01))
        due = clock.now() + dt.timedelta(seconds=random.uniform(0.2, 1.2))
        Schedule.objects.create(
            model_version=version, suite_revision=revision, interval_seconds=86_400, next_due_at=due
        )
        deadline = time.monotonic() + 30
        while not (first := provider.stats()["first"]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not first:
            raise RuntimeError("a due schedule made no call within 30 seconds")
        at = time.time() + first - time.monotonic()
        waits.append(at - due.timestamp())
        time.sleep(0.3)
    return {
        "count": count,
        "median": round(statistics.median(waits), 3),
        "p95": round(sorted(waits)[max(0, -(-95 * count // 100) - 1)], 3),
        "max": round(max(waits), 3),
    }


def main() -> None:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
    import django

    django.setup()
    from apps.core import clock
    from apps.evaluations import schedules, wake
    from apps.evaluations.models import Schedule

    wake.workers = lambda count=1: None
    created = 0
    while Schedule.objects.filter(enabled=True, next_due_at__lte=clock.now()).exists():
        created += len(schedules.claim_due())
    print(json.dumps({"created": created}))


if __name__ == "__main__":
    main()
