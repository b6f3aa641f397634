"""One run against its baseline: ranks, e-values, effects, a verdict. Safe to call twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.db.models import Max

import apps.evaluations.selectors as evaluations
from apps.audit.services import SYSTEM, record
from apps.core.models import Outbox
from apps.drift import evidence, hygiene, pairs, wholes
from apps.drift.answered import answered
from apps.drift.metrics import ERROR_METRIC, FIRST_RERUN, WatchedMetric, not_measured, watches_of
from apps.drift.models import Baseline, Comparison, MetricResult, Watch
from apps.drift.stats import (
    CaseWatch,
    Effect,
    MetricVerdict,
    NotEnoughAnswers,
    Verdict,
    decide_metric,
    decide_version,
    effect_interval,
    first_rerun_log_e,
    suite_log_e,
)
from apps.drift.structures import structure_rows
from apps.evaluations.models import Run, RunState
from apps.evaluations.services import seal_run
from apps.registry.lifecycle import LIVE
from apps.registry.models import Assumption, ModelVersion

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
    if not seal_run(run=run, because="A comparison rests on the answers it has."):
        return None  # it goes on meanwhile, and tells us again when it ends
    before_runs = list(baseline.runs.order_by("created_at"))
    before = evaluations.metric_values(before_runs)
    now = evaluations.metric_values([run])
    pooled_runs = [c.run for c in baseline.comparisons.select_related("run").order_by("-look")]
    pooled = evaluations.metric_values([*reversed(pooled_runs[: POOLED_RUNS - 1]), run])
    old, new = answered(before_runs), answered([run])
    if wholes.watched(baseline.summary["watched"]):
        before = before | wholes.of_baseline(old)
        # Where a run of the baseline is gone, the first answer that is left is another reference
        # than the one that the watch ranked by: scores against both are not exchangeable.
        compared = {} if _partly_gone(baseline, before) else wholes.of_run(old, new)
        # Pooling them would read the texts of thirty runs; the effect is then this run's alone.
        now, pooled = now | compared, pooled | compared
    structure = structure_rows(old, new)

    with transaction.atomic():
        # Version, then baseline, then evidence: in the order in which decisions lock them.
        ModelVersion.objects.select_for_update(of=("self",), no_key=True).get(
            pk=baseline.model_version_id
        )
        held = Baseline.objects.select_for_update().get(pk=baseline.pk)
        if done := Comparison.objects.filter(baseline=baseline, run=run).first():
            return done
        if held.retired_at is None:
            return _compare(run, baseline, before, now, pooled, structure)
    return compare_run(run=run)  # it was retired meanwhile: with its successor, if there is one


def _compare(
    run: Run,
    baseline: Baseline,
    before: Values,
    now: Values,
    pooled: Values,
    structure: list[dict[str, Any]],
) -> Comparison:
    alpha = float(baseline.summary["alpha"])
    watches = {w.metric_key: w for w in Watch.objects.filter(baseline=baseline)}
    metrics = watches_of(baseline)
    growth: dict[str, float] = {}
    gains: dict[str, list[float]] = {}
    effects: dict[str, float] = {}
    absent: set[str] = set()
    for m in metrics:
        watch = watches[m.key]
        process = CaseWatch.from_state(watch.state)
        look = process.observe_run(str(run.pk), now.get(m.key, {}))
        growth[m.key] = look.log_e_increment
        if not look.ranks:
            absent.add(m.key)
        effects[m.key] = round(process.design_effect, 2)
        gains[m.key] = [round(g, 3) for g in look.gains]
        watch.state = process.to_state()
        watch.log_e, watch.max_log_e, watch.looks = (
            process.log_e,
            process.max_log_e,
            process.looks,
        )
        watch.save_versioned("state", "log_e", "max_log_e", "looks")

    first = _first_rerun(baseline, watches.get(FIRST_RERUN), before, now)
    combined = suite_log_e(
        first=first.log_e if first else 0.0,
        share=_first_share(baseline) if first else 0.0,
        watches=[watches[m.key].log_e for m in metrics],
        weights=[m.weight for m in metrics],
    )
    earlier = baseline.comparisons.aggregate(looks=Max("look"))
    source = evidence.attach(
        model_version=baseline.model_version,
        kind=evidence.Kind.SUITE,
        key=str(baseline.pk),
        baseline=baseline,
    )
    alarmed_before = evidence.alarmed(source.evidence)
    version_look = evidence.advance(
        source=source, log_e=combined, ref=str(run.pk), at=run.finished_at
    )
    peak = version_look.max_log_e
    alarmed = peak >= -math.log(alpha)

    signed = _signed_for(baseline)
    verdicts: dict[str, MetricVerdict] = {}
    for m in metrics:
        # After an alarm the question is how it is now; before, all reruns speak together.
        answers = now if alarmed else pooled
        verdicts[m.key] = decide_metric(
            log_e=watches[m.key].max_log_e,
            alpha=alpha,
            effect=None if m.key in absent else _effect(m, before, answers),
            margin=m.margin,
            effect_after_change=alarmed_before,
            unit=m.shown_unit,
            scale=m.scale,
            binding=m.key in signed,
        )
        if m.key in absent and not verdicts[m.key].verdict.changed:
            # Earlier reruns must not speak for one that says nothing.
            verdicts[m.key] = replace(
                verdicts[m.key], reason="Inconclusive: this run holds no value of it."
            )
    whole = decide_version(log_e=peak, alpha=alpha, metrics=verdicts)
    unmeasured = not_measured(baseline)
    notes = _notes(before, now, unmeasured)
    if _partly_gone(baseline, before):
        notes.append("Some of the baseline's answers are gone: whole outputs are left out.")
    comparison = Comparison.objects.create(
        baseline=baseline,
        run=run,
        look=(earlier["looks"] or 0) + 1,
        verdict=whole.verdict.value,
        reason=" ".join([whole.reason, *notes]),
        log_e=combined,
        alpha=alpha,
        method={
            "name": "first rerun: naming test over all features; conformal test martingales on "
            "within-case ranks with a restart mixture; averaged",
            "weights": {m.key: m.weight for m in metrics},
            "log_e": {m.key: watches[m.key].log_e for m in metrics},
            "log_e_increment": growth,
            "gains": gains,
            "run_effect": effects,
            "first_rerun": {
                "share": _first_share(baseline),
                "log_e": first.log_e if first else 0.0,
            },
            "peak_log_e": peak,
            "version_log_e": version_look.log_e,
            "version_look": version_look.number,
            "effect_alpha": EFFECT_ALPHA,
            "confounders": hygiene.notes(baseline, run),
            "more_answers": whole.more_answers,
            "unmeasured": unmeasured,
            "structure": structure,
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
    if whole.verdict == Verdict.INCONCLUSIVE:
        Outbox.put("comparison.inconclusive", comparison.pk, comparison_id=str(comparison.pk))
    return comparison


def _signed_for(baseline: Baseline) -> set[str]:
    """Metrics of the suite that assumptions of approvals in use name: their change matters."""
    rows = Assumption.objects.filter(
        approval__model_version=baseline.model_version_id,
        approval__state__in=LIVE,
        suite_slug=baseline.suite_revision.suite.slug,
    )
    return set(rows.values_list("metric_key", flat=True))


def _notes(before: Values, now: Values, unmeasured: list[str]) -> list[str]:
    """What the verdict does not rest on, as sentences: nothing is left out in silence."""
    said = []
    if not any(cases for cases in before.values()):
        said.append(
            "The baseline's answers are gone, so no effect can be given; the watches go on with "
            "what they remember. Set a new baseline."
        )
    elif silent := _unanswered(before, now):
        names = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
        said.append(f"The baseline has no answer to {names}, so this says nothing about it.")
    if not any(cases for cases in now.values()):
        said.append("The run holds no answer any more.")
    if unmeasured:
        were = "was" if len(unmeasured) == 1 else "were"
        said.append(
            f"{', '.join(unmeasured)} {were} not measured in the baseline, so this says nothing "
            "about it."
        )
    return said


def _partly_gone(baseline: Baseline, before: Values) -> bool:
    left = sum(len(found) for found in before.get(ERROR_METRIC, {}).values())
    return 0 < left < baseline.summary.get("answers", 0)


def _unanswered(before: Values, now: Values) -> list[str]:
    """Cases that the run asked and the baseline has no answer to: no watch looks at them."""
    known = {case for key in before if key != ERROR_METRIC for case, v in before[key].items() if v}
    return sorted(set(now.get(ERROR_METRIC, {})) - known)


def _first_share(baseline: Baseline) -> float:
    return float(baseline.summary.get("first_rerun", {}).get("share", 0.0))


def _first_rerun(
    baseline: Baseline, watch: Watch | None, before: Values, now: Values
) -> Watch | None:
    """The test over all features together: made once, on the first rerun, and kept."""
    if watch is None or not _first_share(baseline):
        return None  # a baseline from before there was this test
    if watch.looks == 0:
        watch.log_e = first_rerun_log_e(
            before, now, weights=baseline.summary["first_rerun"]["weights"], key=watch.state["key"]
        )
        watch.max_log_e, watch.looks = max(0.0, watch.log_e), 1
        watch.save_versioned("log_e", "max_log_e", "looks")
    return watch


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
        unit=metric.shown_unit,
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
