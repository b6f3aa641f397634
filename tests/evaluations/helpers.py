from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from apps.audit.services import SYSTEM
from apps.core.models import Outbox
from apps.evaluations import services
from apps.evaluations.models import Run, Sample
from apps.evaluations.runner import loop
from tests.fixtures.evaluations import make_revision, make_version
from tests.fixtures.provider import Provider


def start(
    provider: Provider | str,
    *,
    cases: int = 4,
    replicates: int = 1,
    purpose: str = "manual",
    **version: Any,
) -> Run:
    """A queued run of a small suite against the provider (or an address)."""
    url = provider if isinstance(provider, str) else provider.url
    return services.start_run(
        actor=SYSTEM,
        model_version=make_version(url, **version),
        suite_revision=make_revision(cases),
        replicates=replicates,
        purpose=purpose,
    )


def work(run: Run, *, seconds: float = 20.0) -> Run:
    """One worker session in this process, as a task would have it."""
    loop.work(seconds=seconds)
    run.refresh_from_db()
    return run


def samples(run: Run, **which: Any) -> QuerySet[Sample]:
    return Sample.objects.filter(run=run, **which)


def sample(run: Run, case: str = "c0") -> Sample:
    """The one sample of a case."""
    return samples(run).get(case__case_id=case)


def endings(run: Run) -> int:
    """How often the next app was told that the run ended."""
    return Outbox.objects.filter(topic="run.finished", payload__run_id=str(run.pk)).count()
