"""What an alarm of a cheap layer sets off: the suites at once, and a change event on the evidence
there is. When the suites are in, the event is completed: they change it, or they do not."""

from __future__ import annotations

import datetime as dt
import math

from django.db import transaction

from apps.audit.services import SYSTEM, record
from apps.core.models import Outbox
from apps.drift import events, identity, narrative
from apps.drift.models import (
    ChangeEvent,
    Comparison,
    IdentityFinding,
    Probe,
    ProbeEvidence,
    ProbeKind,
    ProbeRound,
    Verdict,
)
from apps.drift.stats import change_window
from apps.evaluations.services import start_urgent_runs
from apps.registry.models import ModelVersion

KEY = 120
PENDING = "; the suites have not answered yet."


def answer_finding(*, finding: IdentityFinding) -> int:
    """A telling value that was never seen before: have the suites look at once. It opens no change
    event by itself; that takes the e-process of its probe, or the suites. Returns runs started."""
    runs = start_urgent_runs(
        model_version=finding.model_version,
        reason=f"{identity.sentence_of(finding)} Do the suites see a change too?",
        key=f"finding:{finding.pk}"[:KEY],
    )
    return len(runs)


def answer_alarm(*, round: ProbeRound) -> ChangeEvent:
    """Suites at once, and a change event: changed (immaterial) as long as no suite says more.
    Idempotent."""
    probe = round.probe
    event = _open(round)
    start_urgent_runs(
        model_version=probe.model_version,
        reason=f"Change {event}: {_says(probe)}. How much do answers change?",
        key=f"probe:{round.pk}"[:KEY],
    )
    return event


@transaction.atomic
def _open(round: ProbeRound) -> ChangeEvent:
    probe = round.probe
    version = ModelVersion.objects.select_for_update().get(pk=probe.model_version_id)
    if done := ProbeEvidence.objects.filter(round=round).select_related("change_event").first():
        return done.change_event
    start, end = _window(round)
    sentence = (
        f"Since between {narrative.span(start, end)}, {_says(probe)} "
        f"(its e-value is {narrative.number(round.max_log_e)}){PENDING}"
    )
    event = ChangeEvent.objects.filter(model_version=version, state=ChangeEvent.State.OPEN).first()
    opened = event is None
    if event is None:
        event = ChangeEvent(
            number=events._next_number(),
            model_version=version,
            verdict=Verdict.CHANGED_IMMATERIAL,
            window_start=start,
            window_end=end,
            sentence=sentence,
        )
        event.save()
    ProbeEvidence.objects.create(change_event=event, round=round, sentence=sentence)
    record(
        "drift.change_event_opened" if opened else "drift.change_event_extended",
        actor=SYSTEM,
        obj=event,
        summary=f"Change {event} of {version}: {sentence}",
        changes={
            "probe": str(probe.pk),
            "round": str(round.pk),
            "verdict": event.verdict,
            "window": [start, end],
        },
    )
    topic = "change.opened" if opened else "change.extended"
    Outbox.put(topic, f"{event.pk}:{round.pk}", change_event_id=str(event.pk))
    return event


@transaction.atomic
def complete(*, comparison: Comparison) -> ChangeEvent | None:
    """A suite that stays as it was, after a probe's alarm: the event says so, and stays what it
    is: changed (immaterial), on record. None where there is nothing to say: no probe raised the
    alarm, or a suite has evidence of its own, and then tells the story."""
    version = comparison.baseline.model_version_id
    event = (
        ChangeEvent.objects.select_for_update()
        .filter(
            model_version=version,
            state=ChangeEvent.State.OPEN,
            verdict=Verdict.CHANGED_IMMATERIAL,
            pk__in=ProbeEvidence.objects.filter(created_at__lte=comparison.created_at).values(
                "change_event"
            ),
        )
        .first()
    )
    if event is None:
        return None
    first = event.probe_evidence.order_by("created_at")[0]
    newest: dict[str, Comparison] = {}
    rows = Comparison.objects.filter(
        baseline__model_version=version,
        baseline__retired_at__isnull=True,
        run__created_at__gte=first.created_at,
    ).select_related("baseline__suite_revision__suite")
    for row in rows.order_by("created_at"):
        if row.log_e >= -math.log(row.alpha):
            return None
        newest[row.baseline.suite_revision.suite.name] = row
    told = "; ".join(f"{name}: {_unmoved(row)}" for name, row in sorted(newest.items()))
    head = first.sentence.removesuffix(PENDING)
    sentence = f"{head}; suites rerun since then see no change of their own ({told})."
    if not told or sentence == event.sentence:
        return event
    event.sentence = sentence
    event.save_versioned("sentence")
    record(
        "drift.change_event_completed",
        actor=SYSTEM,
        obj=event,
        summary=f"Change {event}: {sentence}",
        changes={"comparison": str(comparison.pk), "verdict": comparison.verdict},
    )
    return event


def _unmoved(row: Comparison) -> str:
    """How far a suite without evidence of its own got: metrics shown equivalent, or too few."""
    metrics = list(row.metrics.exclude(margin=None))
    equal = sum(
        m.low is not None
        and m.high is not None
        and m.margin is not None
        and -m.margin < m.low
        and m.high < m.margin
        for m in metrics
    )
    return f"{equal} of {len(metrics)} metrics equivalent within their margins"


def _says(probe: Probe) -> str:
    return narrative.PROBE_SAYS[ProbeKind(probe.kind)]


def _window(round: ProbeRound) -> tuple[dt.datetime, dt.datetime]:
    """From the last round like the old regime to the first that is not."""
    rounds = list(
        ProbeRound.objects.filter(probe=round.probe_id, number__lte=round.number)
        .exclude(phase="failed")
        .order_by("number")
    )
    increments, last = [], 0.0
    for row in rounds:
        increments.append((str(row.pk), row.log_e - last))
        last = row.log_e
    old, new = change_window(increments, len(increments) - 1)
    by_key = {str(row.pk): row for row in rounds}
    end = by_key[new].finished_at
    start = by_key[old].finished_at if old is not None else rounds[0].started_at
    return min(start, end), end
