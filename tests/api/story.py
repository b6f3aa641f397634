"""One row of everything, for reading: a suite, a run with answers, a change, a ticket."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from apps.core import clock
from apps.drift.models import (
    Baseline,
    BrokenAssumption,
    ChangeEvent,
    Comparison,
    ExamplePair,
    MetricResult,
    Watch,
)
from apps.evaluations import payloads, services, suitefile
from apps.evaluations.models import (
    ObservedIdentity,
    Run,
    RunState,
    Sample,
    Schedule,
    Score,
    SuiteRevision,
)
from apps.registry.models import Approval
from apps.tickets.models import (
    Comment,
    ControlAction,
    ControlPolicy,
    Severity,
    Ticket,
    TicketApproval,
)
from apps.tickets.policy import current
from apps.vendors.models import Notice
from tests.world import World, approve

SUITE: dict[str, Any] = {
    "schema": suitefile.SCHEMA,
    "slug": "claims-triage",
    "name": "Claims triage",
    "summary": "Sorts claims into kinds.",
    "not_measured": "Anything but the kind.",
    "license": "CC0-1.0",
    "source": "Written for the tests.",
    "personal_data": False,
    "prompt": {"messages": [{"role": "user", "content": "Kind of claim: {{claim}}"}]},
    "scorers": [{"key": "kind", "type": "exact"}],
    "metrics": [
        {
            "key": "accuracy",
            "label": "Accuracy",
            "scorer": "kind",
            "direction": "higher",
            "margin": 0.05,
        }
    ],
    "cases": [
        {"id": "c1", "vars": {"claim": "Hail on the roof"}, "expect": "property"},
        {"id": "c2", "vars": {"claim": "Broken leg"}, "expect": "health"},
    ],
}


@dataclass
class Story:
    world: World
    approval: Approval
    revision: SuiteRevision
    schedule: Schedule
    before: Run
    after: Run
    baseline: Baseline
    comparison: Comparison
    pair: ExamplePair
    change: ChangeEvent
    ticket: Ticket
    notice: Notice
    policy: ControlPolicy


def import_suite(world: World) -> SuiteRevision:
    suite = suitefile.parse_suite_bytes(json.dumps(SUITE).encode(), filename="suite.json")
    return services.import_suite(actor=world.owner, suite=suite)[0]


def answered_run(world: World, revision: SuiteRevision, text: str, value: float) -> Run:
    """A complete run with an answer to every case, as a worker would have stored it."""
    run = services.start_run(
        actor=world.owner, model_version=world.version, suite_revision=revision, purpose="baseline"
    )
    request = payloads.put(b'{"messages":[],"model":"assistant-instant"}')
    response = payloads.put(b'{"choices":[{"message":{"content":"' + text.encode() + b'"}}]}')
    for case in revision.cases.order_by("position"):
        sample = Sample.objects.create(
            month=run.month,
            run=run,
            case=case,
            replicate=0,
            status="answered",
            text=text,
            request_digest=request,
            response_digest=response,
            prompt_tokens=9,
            completion_tokens=1,
            latency_ms=12.5,
            returned_model="assistant-instant",
            style={"words": 1},
        )
        Score.objects.create(
            month=run.month,
            run=run,
            sample_id=sample.id,
            case=case,
            replicate=0,
            metric_key="accuracy",
            value=value,
        )
    run.shards.update(done=True)
    now = clock.now()
    Run.objects.filter(pk=run.pk).update(
        state=RunState.COMPLETE, started_at=now - dt.timedelta(seconds=2), finished_at=now
    )
    run.refresh_from_db()
    return run


def tell(world: World) -> Story:
    approval = approve(world)
    revision = import_suite(world)
    schedule = services.create_schedule(
        actor=world.owner,
        model_version=world.version,
        suite_revision=revision,
        interval_seconds=3600,
    )
    before = answered_run(world, revision, "property", 1.0)
    after = answered_run(world, revision, "Sure! It is property.", 0.0)
    baseline = Baseline.objects.create(
        model_version=world.version, suite_revision=revision, created_by=world.owner
    )
    baseline.runs.set([before])
    # A log e-value of minus infinity is a legal number here, and JSON has none.
    Watch.objects.create(baseline=baseline, metric_key="accuracy", log_e=float("-inf"))
    comparison = Comparison.objects.create(
        baseline=baseline,
        run=after,
        look=1,
        verdict="changed_material",
        reason="Accuracy fell.",
        log_e=7.2,
        alpha=0.01,
    )
    MetricResult.objects.create(
        comparison=comparison,
        metric_key="accuracy",
        label="Accuracy",
        baseline_mean=1.0,
        current_mean=0.0,
        effect=-1.0,
        low=float("-inf"),
        high=-0.4,
        margin=0.05,
        log_e=7.2,
        verdict="changed_material",
    )
    first = revision.cases.get(case_id="c1")
    pair = ExamplePair.objects.create(
        comparison=comparison,
        case=first,
        rank=1,
        baseline_text="property",
        current_text="Sure! It is property.",
        baseline_sample_id=Sample.objects.get(run=before, case=first).id,
        current_sample_id=Sample.objects.get(run=after, case=first).id,
        distance=0.7,
    )
    now = clock.now()
    ObservedIdentity.objects.create(
        model_version=world.version,
        returned_model="assistant-instant",
        first_seen_at=now,
        last_seen_at=now,
    )
    change = ChangeEvent.objects.create(
        number=1,
        model_version=world.version,
        verdict="changed_material",
        window_start=now - dt.timedelta(hours=1),
        window_end=now,
        sentence="Began to answer in sentences.",
    )
    change.comparisons.add(comparison)
    BrokenAssumption.objects.create(
        change_event=change,
        assumption=approval.assumptions.get(code="A1"),
        comparison=comparison,
        value_before=1.0,
        value_now=0.0,
    )
    notice = Notice.objects.create(
        provider=world.provider,
        title="A refresh",
        model_names=["something-else"],
        announced_at=now,
        effective_at=now,
    )
    policy = current()
    ticket = Ticket.objects.create(
        number=1,
        change_event=change,
        severity=Severity.CRITICAL,
        severity_reason="Tier 1, material, a high assumption broke.",
        policy=policy,
        due_at=now + dt.timedelta(days=1),
        assignee=world.owner,
    )
    TicketApproval.objects.create(ticket=ticket, approval=approval)
    Comment.objects.create(ticket=ticket, author=world.owner, text="Looking at it.")
    ControlAction.objects.create(
        ticket=ticket,
        kind="hold_approval",
        target_type="registry.approval",
        target_id=approval.pk,
        target_name=str(approval),
    )
    return Story(
        world=world,
        approval=approval,
        revision=revision,
        schedule=schedule,
        before=before,
        after=after,
        baseline=baseline,
        comparison=comparison,
        pair=pair,
        change=change,
        ticket=ticket,
        notice=notice,
        policy=policy,
    )
