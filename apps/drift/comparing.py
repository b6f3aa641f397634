"""One run against its baseline: ranks, e-values, effects, a verdict. Safe to call twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import Max

import apps.evaluations.selectors as evaluations
from apps.audit.services import SYSTEM, record
from apps.core.models import Outbox
from apps.drift import pairs
from apps.drift.metrics import WatchedMetric, watches_of
from apps.drift.models import Baseline, Comparison, MetricResult, Watch
from apps.drift.stats import (
    CaseWatch,
    Effect,
    MetricVerdict,
    NotEnoughAnswers,
    combine_log_e,
    decide_metric,
    decide_version,
    effect_interval,
)
from apps.evaluations.models import Run, RunState

Values = Mapping[str, Mapping[str, Sequence[float]]]
EFFECT_ALPHA = 0.05
POOLED_RUNS = 30


def compare_run(*, run: Run) -> Comparison | None:
    """Compare a complete rerun with the current baseline of its version and suite revision.

    None where there is nothing to compare: the run is a baseline run, did not complete, is older
    than the baseline, or there is no baseline. Answers are read before the short transaction in
    which the watches move; a second call returns the stored comparison.
    """
    if run.state != RunState.COMPLETE or run.purpose == Run.Purpose.BASELINE:
        return None
    baseline = (
        Baseline.objects.filter(
            model_version=run.model_version_id,
            suite_revision=run.suite_revision_id,
            retired_at__isnull=True,
            created_at__lte=run.created_at,
        )
        .select_related("suite_revision__suite", "model_version")
        .first()
    )
    if baseline is None:
        return None
    before = evaluations.metric_values(list(baseline.runs.order_by("created_at")))
    now = evaluations.metric_values([run])
    pooled_runs = [c.run for c in baseline.comparisons.select_related("run").order_by("-look")]
    pooled = evaluations.metric_values([*reversed(pooled_runs[: POOLED_RUNS - 1]), run])

    with transaction.atomic():
        Baseline.objects.select_for_update().get(pk=baseline.pk)
        if done := Comparison.objects.filter(baseline=baseline, run=run).first():
            return done
        return _compare(run, baseline, before, now, pooled)


def _compare(
    run: Run, baseline: Baseline, before: Values, now: Values, pooled: Values
) -> Comparison:
    alpha = float(baseline.summary["alpha"])
    watches = {w.metric_key: w for w in Watch.objects.filter(baseline=baseline)}
    metrics = watches_of(baseline)
    growth: dict[str, float] = {}
    for m in metrics:
        watch = watches[m.key]
        process = CaseWatch.from_state(watch.state)
        look = process.observe_run(str(run.pk), now.get(m.key, {}))
        growth[m.key] = look.log_e_increment
        watch.state = process.to_state()
        watch.log_e, watch.max_log_e, watch.looks = (
            process.log_e,
            process.max_log_e,
            process.looks,
        )
        watch.save_versioned("state", "log_e", "max_log_e", "looks")

    combined = combine_log_e([watches[m.key].log_e for m in metrics], [m.weight for m in metrics])
    # An alarm once raised stays: the running maximum keeps the same error rate (Ville).
    earlier = baseline.comparisons.aggregate(top=Max("log_e"), looks=Max("look"))
    peak = max(combined, earlier["top"] if earlier["top"] is not None else combined)
    alarmed_before = earlier["top"] is not None and earlier["top"] >= -math.log(alpha)
    alarmed = peak >= -math.log(alpha)

    verdicts: dict[str, MetricVerdict] = {}
    for m in metrics:
        # After an alarm the question is how it is now; before, all reruns speak together.
        answers = now if alarmed else pooled
        verdicts[m.key] = decide_metric(
            log_e=watches[m.key].max_log_e,
            alpha=alpha,
            effect=_effect(m, before, answers),
            margin=m.margin,
            effect_after_change=alarmed_before,
            unit="points" if m.is_share else m.unit,
            scale=m.scale,
        )
    whole = decide_version(log_e=peak, alpha=alpha, metrics=verdicts)
    comparison = Comparison.objects.create(
        baseline=baseline,
        run=run,
        look=(earlier["looks"] or 0) + 1,
        verdict=whole.verdict.value,
        reason=whole.reason,
        log_e=combined,
        alpha=alpha,
        method={
            "name": "conformal test martingales on within-case ranks, restart mixture, averaged",
            "weights": {m.key: m.weight for m in metrics},
            "log_e": {m.key: watches[m.key].log_e for m in metrics},
            "log_e_increment": growth,
            "peak_log_e": peak,
            "effect_alpha": EFFECT_ALPHA,
            "more_answers": whole.more_answers,
        },
    )
    MetricResult.objects.bulk_create(
        [_result(comparison, m, watches[m.key], verdicts[m.key]) for m in metrics]
    )
    if whole.verdict.changed:
        pairs.store(comparison)
    record(
        "drift.run_compared",
        actor=SYSTEM,
        obj=comparison,
        object_name=f"Comparison {comparison.look} of {baseline.model_version}",
        summary=f"{baseline.model_version} on {baseline.suite_revision}: {whole.reason}",
        changes={"run": str(run.pk), "verdict": whole.verdict.value, "log_e": combined},
    )
    Outbox.put("comparison.made", comparison.pk, comparison_id=str(comparison.pk))
    return comparison


def _effect(metric: WatchedMetric, before: Values, answers: Values) -> Effect | None:
    """None where the answers cannot carry an interval: the verdict then says so."""
    old, new = before.get(metric.key, {}), answers.get(metric.key, {})
    if not any(old[case] and new.get(case) for case in old):
        return None
    try:
        return effect_interval(old, new, alpha=EFFECT_ALPHA, bounds=_bounds(metric, old, new))
    except NotEnoughAnswers:
        return None


def _bounds(
    metric: WatchedMetric, *arms: Mapping[str, Sequence[float]]
) -> tuple[float, float] | None:
    """A suite may promise bounds that answers break; then there are none to rely on."""
    if metric.bounds is None:
        return None
    low, high = metric.bounds
    inside = all(low <= v <= high for arm in arms for values in arm.values() for v in values)
    return metric.bounds if inside else None


def _result(
    comparison: Comparison, metric: WatchedMetric, watch: Watch, verdict: MetricVerdict
) -> MetricResult:
    effect = verdict.effect
    return MetricResult(
        comparison=comparison,
        metric_key=metric.key,
        label=metric.label,
        unit="points" if metric.is_share else metric.unit,
        baseline_mean=effect.baseline_mean if effect else None,
        current_mean=effect.current_mean if effect else None,
        effect=effect.estimate if effect else None,
        low=effect.low if effect else None,
        high=effect.high if effect else None,
        margin=metric.margin,
        log_e=watch.max_log_e,
        verdict=verdict.verdict.value,
        reason=verdict.reason,
        more_answers=verdict.more_answers,
    )
