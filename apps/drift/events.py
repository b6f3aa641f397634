"""From a changed comparison to one change event with its window, sentence and broken sentences."""

from __future__ import annotations

import datetime as dt

from django.db import connection, transaction
from django.db.models import Max

import apps.evaluations.selectors as evaluations
from apps.audit.services import SYSTEM, record
from apps.core.models import Outbox
from apps.drift.models import (
    BrokenAssumption,
    ChangeEvent,
    Comparison,
    MetricResult,
    Verdict,
)
from apps.drift.narrative import sentence_of
from apps.drift.stats import change_interval, change_window
from apps.drift.stats.bets import COUNT
from apps.drift.stats.changepoint import INTERVAL_CUT
from apps.registry.models import Approval, ApprovalState, ModelVersion

CHANGED = (Verdict.CHANGED_IMMATERIAL, Verdict.CHANGED_MATERIAL)
IN_FORCE = (ApprovalState.APPROVED, ApprovalState.CONDITIONAL, ApprovalState.ON_HOLD)
NUMBER_LOCK = 0x6774_6365  # pg_advisory_xact_lock key


@transaction.atomic
def open_or_extend_change_event(*, comparison: Comparison) -> ChangeEvent | None:
    """One open event for a version: opened by the first changed comparison, extended by others.

    None when the comparison found no change, or its baseline was retired in the meantime.
    """
    if comparison.verdict not in CHANGED or comparison.baseline.retired_at is not None:
        return None
    version = ModelVersion.objects.select_for_update().get(pk=comparison.baseline.model_version_id)
    start, end = _window(comparison)
    event = ChangeEvent.objects.filter(model_version=version, state=ChangeEvent.State.OPEN).first()
    opened = event is None
    if event is None:
        event = ChangeEvent(
            number=_next_number(),
            model_version=version,
            verdict=comparison.verdict,
            window_start=start,
            window_end=end,
            sentence="",
        )
        event.save()
    elif event.comparisons.filter(pk=comparison.pk).exists():
        return event
    event.comparisons.add(comparison)
    if comparison.verdict == Verdict.CHANGED_MATERIAL:
        event.verdict = Verdict.CHANGED_MATERIAL
    # Suites together narrow the window, as long as they tell the same story.
    if event.window_start < start < event.window_end:
        event.window_start = start
    if event.window_start < end < event.window_end:
        event.window_end = end
    broken = _break_assumptions(event, comparison)
    event.sentence = sentence_of(event)
    event.save_versioned("verdict", "window_start", "window_end", "sentence")
    record(
        "drift.change_event_opened" if opened else "drift.change_event_extended",
        actor=SYSTEM,
        obj=event,
        summary=f"Change {event} of {version}: {event.sentence}",
        changes={
            "comparison": str(comparison.pk),
            "verdict": event.verdict,
            "window": [event.window_start, event.window_end],
            "broken_assumptions": [str(b.assumption_id) for b in broken],
        },
    )
    topic = "change.opened" if opened else "change.extended"
    Outbox.put(topic, f"{event.pk}:{comparison.pk}", change_event_id=str(event.pk))
    return event


def _window(comparison: Comparison) -> tuple[dt.datetime, dt.datetime]:
    """From the end of the last run like the old regime to the end of the first that is not."""
    looks = list(
        Comparison.objects.filter(baseline=comparison.baseline, look__lte=comparison.look)
        .select_related("run")
        .order_by("look")
    )
    old_key, new_key = _between(looks)
    runs = {str(look.run_id): look.run for look in looks}
    if old_key is not None:
        start = runs[old_key].finished_at
    else:
        start = comparison.baseline.runs.aggregate(t=Max("finished_at"))["t"]
    end = runs[new_key].finished_at
    assert start is not None
    assert end is not None
    return min(start, end), end


def _between(looks: list[Comparison]) -> tuple[str | None, str]:
    """Runs between which it began, as an interval; where looks kept no bets, as an estimate."""
    gains = [look.method.get("gains") for look in looks]
    keys = sorted({key for row in gains if row for key, found in row.items() if found})
    if all(gains) and keys:
        rows = [[g for key in keys for g in row.get(key) or [0.0] * COUNT] for row in gains if row]
        first, last = change_interval(rows)
        quiet = _repeated(looks)
        if quiet >= first and _differing(looks[-1]) >= 2 * INTERVAL_CUT:
            first, last = quiet + 1, max(last, quiet + 1)
        return (str(looks[first - 1].run_id) if first else None), str(looks[last].run_id)
    increments, before = [], 0.0
    for look in looks:
        increments.append((str(look.run_id), look.log_e - before))
        before = look.log_e
    return change_window(increments, len(increments) - 1)


def _repeated(looks: list[Comparison]) -> int:
    """Position of the last look before the alarm in which every answer repeated all earlier ones in
    everything that is measured; -1: none.

    Ties neither win nor lose a bet, so the bets alone would leave such a look in doubt. At an
    endpoint that repeats itself it is the clearest sign of the old regime that there can be: if d
    cases differ at the alarm, a run of the new regime shows no difference with a chance of about
    exp(-d). The alarm was chosen for its d, hence twice the interval's cut.
    """
    still = [
        position
        for position, look in enumerate(looks[:-1])
        if not any(any(found) for found in look.method["gains"].values())
    ]
    return still[-1] if still else -1


def _differing(look: Comparison) -> int:
    """Cases of a run that differ from the baseline in anything that is watched."""
    before = evaluations.metric_values(look.baseline.runs.all())
    now = evaluations.metric_values([look.run])
    return len(
        {
            case
            for key in look.method["gains"]
            for case, values in now.get(key, {}).items()
            if set(values) - set(before.get(key, {}).get(case, values))
        }
    )


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBER_LOCK])
    return (ChangeEvent.objects.aggregate(top=Max("number"))["top"] or 0) + 1


def _break_assumptions(event: ChangeEvent, comparison: Comparison) -> list[BrokenAssumption]:
    """Record the sentences of approvals in force that the rerun's means contradict."""
    results = {m.metric_key: m for m in MetricResult.objects.filter(comparison=comparison)}
    suite = comparison.baseline.suite_revision.suite.slug
    broken = []
    for approval in Approval.objects.filter(
        model_version=event.model_version_id, state__in=IN_FORCE
    ).prefetch_related("assumptions"):
        for assumption in approval.assumptions.all():
            result = results.get(assumption.metric_key)
            if assumption.suite_slug != suite or result is None or result.current_mean is None:
                continue
            if assumption.holds(result.current_mean):
                continue
            row, created = BrokenAssumption.objects.get_or_create(
                change_event=event,
                assumption=assumption,
                defaults={
                    "comparison": comparison,
                    "value_before": result.baseline_mean,
                    "value_now": result.current_mean,
                },
            )
            if created:
                broken.append(row)
    return broken
