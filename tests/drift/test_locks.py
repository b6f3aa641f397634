"""Comparisons and decisions that meet: they lock version, baseline and evidence in one order."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import connection, transaction

from apps.core import clock
from apps.drift import services
from apps.drift.models import Baseline, Comparison
from apps.registry.models import ModelVersion
from tests.drift.story import baseline_of, run_of, suite
from tests.fixtures.live import live_db, live_template
from tests.world import build_world

__all__ = ["live_db", "live_template"]


def waiting() -> bool:
    """Does another connection wait for a row that this one holds?"""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_decision_that_retires_a_baseline_and_a_comparison_with_it_do_not_block_each_other(
    live_db: str, django_db_blocker: Any
) -> None:
    with django_db_blocker.unblock():
        world = build_world()
        baseline = baseline_of(world, suite())
        run = run_of(world.version, suite(), seed=3)
        said: list[object] = []

        def compare() -> None:
            try:
                said.append(services.compare_run(run=run))
            except Exception as error:
                said.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=compare)
        with transaction.atomic():  # as `confirm_decision` does it
            ModelVersion.objects.select_for_update().get(pk=world.version.pk)
            thread.start()
            while not waiting() and thread.is_alive():
                time.sleep(0.02)
            Baseline.objects.filter(pk=baseline.pk).update(retired_at=clock.now())
        thread.join(30)

        # There is no successor to compare with, and nothing was added to the retired one.
        assert said == [None]
        assert not Comparison.objects.exists()
