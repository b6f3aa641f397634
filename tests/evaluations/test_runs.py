"""A run from its start to its end, against a real HTTP server."""

from __future__ import annotations

import pytest

from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.models import Outbox
from apps.evaluations import payloads, selectors, services
from apps.evaluations.models import ObservedIdentity, Run, RunState, Sample, Score
from apps.evaluations.runner import loop
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live_db")


def finished(run: Run, *, seconds: float = 20) -> Run:
    loop.work(seconds=seconds)
    run.refresh_from_db()
    return run


def test_a_run_fills_every_slot_once_and_completes(provider: Provider) -> None:
    version = make_version(provider.url)
    run = services.start_run(
        actor=SYSTEM, model_version=version, suite_revision=make_revision(12), replicates=2
    )

    finished(run)

    assert run.state == RunState.COMPLETE, run.state_reason
    slots = list(Sample.objects.values_list("case__case_id", "replicate"))
    assert sorted(slots) == sorted((f"c{i}", r) for i in range(12) for r in range(2))
    assert provider.stats()["total"] == 24
