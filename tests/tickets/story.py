"""A changed model, as drift would have recorded it: runs with scores, baseline, change event."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from apps.access.auth import AuthContext
from apps.access.models import UserSession
from apps.accounts.models import User
from apps.core import clock
from apps.core.ids import uuid7
from apps.drift import services as drift
from apps.drift.models import (
    Baseline,
    BrokenAssumption,
    ChangeEvent,
    Comparison,
    Verdict,
)
from apps.evaluations.models import Run, RunState, Sample, Score, SuiteRevision
from apps.evaluations.partitions import ensure_month
from apps.registry.models import Assumption, ModelVersion
from apps.tickets import controls, services
from apps.tickets.models import Ticket
from tests.fixtures.evaluations import make_revision
from tests.world import World

CASES = 4


@dataclass
class Change:
    event: ChangeEvent
    revision: SuiteRevision
    baseline: Baseline
    rerun: Run

    def ticket(self) -> Ticket:
        ticket = services.open_or_update_ticket(change_event=self.event)
        assert ticket is not None
        return ticket

    def held_ticket(self) -> Ticket:
        """Opened, and the policy has acted."""
        ticket = self.ticket()
        controls.apply_policy(ticket=ticket)
        return ticket

    def breaks(self, code: str, value: float, approval: Any = None) -> BrokenAssumption:
        """One more sentence that no longer holds, as a later comparison would find."""
        found = Assumption.objects.filter(code=code).exclude(approval__state="superseded")
        if approval is not None:
            found = found.filter(approval=approval)
        return BrokenAssumption.objects.create(
            change_event=self.event,
            assumption=found.get(),
            comparison=self.event.comparisons.get(),
            value_before=0.9,
            value_now=value,
        )

    def material(self) -> None:
        self.event.verdict = Verdict.CHANGED_MATERIAL
        self.event.save_versioned("verdict")


def signed_in(user: User, *, ago: dt.timedelta = dt.timedelta(0)) -> AuthContext:
    """A browser session of this person, signed in just now or `ago`."""
    session = UserSession.objects.create(
        user=user, key_hash=uuid7().hex, authenticated_at=clock.now() - ago
    )
    return AuthContext(user=user, session=session, token=None)


def finished_run(
    version: ModelVersion, revision: SuiteRevision, *, right: bool, ago: dt.timedelta
) -> Run:
    """A complete run whose every answer is right, or wrong."""
    moment = clock.now() - ago
    run = Run.objects.create(
        model_version=version,
        suite_revision=revision,
        purpose="scheduled",
        replicates=1,
        state=RunState.COMPLETE,
        month=clock.month_of(moment),
        total_slots=revision.case_count,
        started_at=moment - dt.timedelta(minutes=1),
        finished_at=moment,
    )
    ensure_month(run.month)
    for case in revision.cases.all():
        sample = Sample.objects.create(
            month=run.month,
            run=run,
            case=case,
            replicate=0,
            status="answered",
            text="motor" if right else "fire",
            request_digest=b"\x00" * 32,
        )
        Score.objects.create(
            month=run.month,
            run=run,
            sample_id=sample.id,
            case=case,
            replicate=0,
            metric_key="accuracy",
            value=float(right),
        )
    return run


def change(
    world: World,
    *,
    version: ModelVersion | None = None,
    verdict: str = Verdict.CHANGED_MATERIAL,
    broken: dict[str, float] | None = None,
) -> Change:
    """The version answered otherwise since an hour ago. `broken`: code of an assumption → value."""
    version = version or world.version
    revision = make_revision(CASES)
    hour = dt.timedelta(hours=1)
    before = finished_run(version, revision, right=True, ago=3 * hour)
    baseline = drift.create_baseline(
        actor=world.owner, model_version=version, suite_revision=revision, runs=[before]
    )
    rerun = finished_run(version, revision, right=False, ago=hour)
    assert rerun.finished_at is not None
    comparison = Comparison.objects.create(
        baseline=baseline,
        run=rerun,
        look=1,
        verdict=verdict,
        reason="Accuracy fell.",
        log_e=9.0,
        alpha=0.01,
    )
    event = ChangeEvent.objects.create(
        number=(ChangeEvent.objects.count() + 1),
        model_version=version,
        verdict=verdict,
        window_start=clock.now() - 2 * hour,
        window_end=rerun.finished_at,
        sentence="Accuracy on Claims triage is down 40 points.",
    )
    event.comparisons.add(comparison)
    found = Change(event, revision, baseline, rerun)
    for code, value in (broken or {}).items():
        found.breaks(code, value)
    return found
