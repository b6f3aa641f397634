"""Verbs of drift: what later runs are compared with, and the end of a change event.

Comparing lives in `comparing`, change events in `events`; both are named here for callers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

import apps.evaluations.selectors as evaluations
from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, System, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.drift import evidence, wholes
from apps.drift.answered import answered
from apps.drift.comparing import compare_run
from apps.drift.events import open_or_extend_change_event
from apps.drift.metrics import (
    FIRST_RERUN,
    FIRST_RERUN_SHARE,
    first_rerun_weights,
    frozen,
    watched,
)
from apps.drift.models import ApprovalBaseline, Baseline, ChangeEvent, Watch
from apps.drift.stats import CaseWatch
from apps.drift.stats.run_effect import of_one_day
from apps.evaluations.models import Run, RunState, SuiteRevision
from apps.evaluations.services import seal_run
from apps.registry.models import Approval, ModelVersion

__all__ = [
    "attach_baselines",
    "close_change_event",
    "compare_run",
    "create_baseline",
    "open_or_extend_change_event",
    "rebaseline",
]


@transaction.atomic
def create_baseline(
    *,
    actor: Any,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    runs: Sequence[Run] | None = None,
) -> Baseline:
    """Make `runs` (default: the newest complete baseline run) the answers to compare with.

    The current baseline of the pair is retired; its watches stay readable. Raises InvalidInput
    when a run belongs to another version or suite, is unfinished, or answered nothing.
    """
    require(actor, "baseline.set", model_version)
    if runs is None:
        newest = (
            Run.objects.filter(
                model_version=model_version,
                suite_revision=suite_revision,
                purpose=Run.Purpose.BASELINE,
                state=RunState.COMPLETE,
            )
            .order_by("-created_at")
            .first()
        )
        runs = [newest] if newest else []
    return _start_baseline(
        actor=actor, version=model_version, revision=suite_revision, runs=list(runs)
    )


def _start_baseline(
    *, actor: Actor, version: ModelVersion, revision: SuiteRevision, runs: list[Run]
) -> Baseline:
    if not runs:
        raise InvalidInput(
            f"There is no complete baseline run of {version} on {revision}.",
            field="runs",
            remedy="Start a run with purpose “baseline” and wait until it is complete.",
        )
    for run in runs:
        if run.model_version_id != version.pk or run.suite_revision_id != revision.pk:
            raise InvalidInput(
                f"Run {run.pk} is of another version or suite revision.",
                field="runs",
                remedy="Choose runs of this version on this suite revision.",
            )
        because = "A baseline rests on the answers it has."
        if run.state != RunState.COMPLETE or not seal_run(run=run, because=because):
            raise InvalidInput(
                f"Run {run.pk} is {run.get_state_display().lower()}, not complete.",
                field="runs",
                remedy="Wait for it, or retry what failed.",
            )
    values = evaluations.metric_values(runs) | wholes.of_baseline(answered(runs))
    metrics = watched(revision, {key for key, cases in values.items() if any(cases.values())})
    if not any(m.key != "outcome.error" for m in metrics) or not evaluations.any_answer(runs):
        raise InvalidInput(
            "The baseline runs hold no usable answer, so there is nothing to compare with.",
            field="runs",
            remedy="Look at the errors of the runs, mend the endpoint, and run again.",
        )
    now = clock.now()
    # Before baselines and evidence, as `compare_run` and decisions do.
    ModelVersion.objects.select_for_update(of=("self",), no_key=True).get(pk=version.pk)
    retired = Baseline.objects.filter(
        model_version=version, suite_revision=revision, retired_at__isnull=True
    )
    evidence.close_sources(baselines=list(retired))
    retired.update(retired_at=now)
    baseline = Baseline.objects.create(
        model_version=version,
        suite_revision=revision,
        created_by=actor if not isinstance(actor, System) else None,  # type: ignore[misc]
        summary={
            # Fixed now, with metrics and weights: the error rate holds for the watch's whole life.
            "alpha": float(settings.GOVTRACK["ALPHA"]),
            "watched": frozen(metrics),
            "first_rerun": {"share": FIRST_RERUN_SHARE, "weights": first_rerun_weights(metrics)},
            "metrics": [
                {
                    "key": m.key,
                    "label": m.label,
                    "weight": m.weight,
                    "mean": _mean_of_means(values[m.key]),
                }
                for m in metrics
            ],
            "answers": sum(len(v) for v in values.get("outcome.error", {}).values()),
            "cases": len(values.get("outcome.error", {})),
        },
    )
    baseline.runs.set(runs)
    for m in metrics:
        scores = {case: vs for case, vs in values[m.key].items() if vs}
        watch = Watch(baseline=baseline, metric_key=m.key)
        watch.state = CaseWatch.start(
            scores, f"{baseline.pk}:{m.key}", one_day=of_one_day(len(runs))
        ).to_state()
        watch.save()
    Watch.objects.create(
        baseline=baseline, metric_key=FIRST_RERUN, state={"key": f"{baseline.pk}:{FIRST_RERUN}"}
    )
    evidence.attach(
        model_version=version, kind=evidence.Kind.SUITE, key=str(baseline.pk), baseline=baseline
    )
    record(
        "drift.baseline_created",
        actor=actor,
        obj=baseline,
        object_name=f"Baseline of {version} on {revision}",
        summary=f"{actor.name} set the baseline of {version} on {revision} "
        f"({baseline.summary['answers']} answers to {baseline.summary['cases']} cases).",
        changes={"runs": [str(r.pk) for r in runs], "suite_hash": revision.content_hash},
    )
    return baseline


def _mean_of_means(cases: dict[str, list[float]]) -> float | None:
    means = [sum(v) / len(v) for v in cases.values() if v]
    return sum(means) / len(means) if means else None


@transaction.atomic
def attach_baselines(*, approval: Approval, actor: Actor | None = None) -> int:
    """Tie the version's current baselines to an approval: what it was given on. Idempotent."""
    added = 0
    for baseline in Baseline.objects.filter(
        model_version=approval.model_version_id, retired_at__isnull=True
    ).select_related("suite_revision__suite"):
        _, created = ApprovalBaseline.objects.get_or_create(approval=approval, baseline=baseline)
        if created:
            added += 1
            record(
                "drift.baseline_attached",
                actor=actor or SYSTEM,
                obj=approval,
                summary=f"Approval {approval} rests on the baseline of {baseline.suite_revision}.",
                changes={"baseline": str(baseline.pk)},
            )
    return added


@transaction.atomic
def rebaseline(*, actor: Any, change_event: ChangeEvent) -> list[Baseline]:
    """New baselines from the answers after the change, one for each suite that showed it.

    Takes complete baseline runs started after the change's window; where there is none, the
    reruns that showed the change. Raises Conflict when nothing was run since.
    """
    require(actor, "ticket.confirm", change_event)
    evidence.end_life(model_version=change_event.model_version_id, reason=f"{change_event}")
    made = []
    current = Baseline.objects.filter(
        model_version=change_event.model_version_id, retired_at__isnull=True
    ).select_related("suite_revision__suite", "model_version")
    for baseline in current:
        since = Run.objects.filter(
            model_version=change_event.model_version_id,
            suite_revision=baseline.suite_revision_id,
            state=RunState.COMPLETE,
            finished_at__gte=change_event.window_end,
        ).order_by("created_at")
        fresh = list(since.filter(purpose=Run.Purpose.BASELINE)) or list(since)
        if not fresh:
            raise Conflict(
                f"{baseline.suite_revision} has not been run since the change.",
                field="outcome",
                remedy="Start a baseline run (three replicates are advised), then confirm again.",
            )
        made.append(
            _start_baseline(
                actor=actor,
                version=baseline.model_version,
                revision=baseline.suite_revision,
                runs=fresh,
            )
        )
    return made


@transaction.atomic
def close_change_event(
    *, actor: Any, change_event: ChangeEvent, reason: str, watches: str = "restart"
) -> None:
    """End an event after its decision.

    `watches`: "keep" (baselines were renewed just now), "restart" (false alarm: begin again on the
    same answers, with the whole alpha again) or "end" (suspended or retired: watch no more). A
    baseline that cannot begin again, as its answers are gone, is retired and the reason says so:
    the decision stands all the same.
    """
    current = Baseline.objects.filter(
        model_version=change_event.model_version_id, retired_at__isnull=True
    ).select_related("suite_revision__suite", "model_version")
    if watches != "keep":
        evidence.end_life(model_version=change_event.model_version_id, reason=f"{change_event}")
    if watches == "restart":
        reason = " ".join([reason, *_restart(actor, current)])
    elif watches == "end":
        current.update(retired_at=clock.now())
    change_event.state = ChangeEvent.State.CLOSED
    change_event.closed_reason = reason
    change_event.save_versioned("state", "closed_reason")
    record(
        "drift.change_event_closed",
        actor=actor,
        obj=change_event,
        summary=f"{actor.name} closed change {change_event}: {reason}",
        changes={"watches": watches},
    )


def _restart(actor: Actor, baselines: Iterable[Baseline]) -> list[str]:
    """Begin again on the same answers. Sentences on the baselines that could not."""
    lost = []
    for baseline in list(baselines):
        try:
            with transaction.atomic():
                _start_baseline(
                    actor=actor,
                    version=baseline.model_version,
                    revision=baseline.suite_revision,
                    runs=list(baseline.runs.all()),
                )
        except InvalidInput as problem:
            lost.append(_retire(actor, baseline, str(problem)))
    return lost


def _retire(actor: Actor, baseline: Baseline, problem: str) -> str:
    said = (
        f"{baseline.suite_revision} needs a new baseline: its watch cannot begin again. {problem}"
    )
    evidence.close_sources(baselines=[baseline])
    baseline.retired_at = clock.now()
    baseline.summary = {**baseline.summary, "needs_new": said}
    baseline.save(update_fields=["retired_at", "summary"])
    record(
        "drift.baseline_retired",
        actor=actor,
        obj=baseline,
        object_name=f"Baseline of {baseline.model_version} on {baseline.suite_revision}",
        summary=said,
    )
    return said
