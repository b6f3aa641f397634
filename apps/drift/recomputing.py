"""Everything that a change rests on, in one document: for whoever wants the numbers again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

import apps.evaluations.selectors as evaluations
from apps.drift import wholes
from apps.drift.answered import answered
from apps.drift.metrics import FIRST_RERUN, watches_of
from apps.drift.models import (
    Baseline,
    ChangeEvent,
    Comparison,
    Evidence,
    EvidenceSource,
    Probe,
    ProbeKind,
)
from apps.drift.stats.recompute import FORMAT
from apps.evaluations.models import Run

Values = Mapping[str, Mapping[str, Sequence[float]]]


def document(event: ChangeEvent) -> dict[str, Any]:
    """The document of `govtrack recompute`: scores of every answer, watch keys, weights, and the
    recorded numbers. It holds no prompt and no answer text."""
    baselines = (
        Baseline.objects.filter(comparisons__change_events=event)
        .select_related("suite_revision__suite", "model_version__model__provider")
        .distinct()
        .order_by("created_at")
    )
    version = event.model_version
    watched = [b for b in baselines if b.summary.get("watched")]  # else it was never watched
    return {
        "format": FORMAT,
        "about": "Run `govtrack recompute FILE`: it starts every watch on the baseline's scores, "
        "feeds it each run in order, and compares with what was recorded. No database is needed. "
        "e-values are natural logarithms; null stands for minus infinity.",
        "change": {
            "number": event.number,
            "sentence": event.sentence,
            "verdict": event.verdict,
            "window": [event.window_start.isoformat(), event.window_end.isoformat()],
            "version": {
                "id": str(version.pk),
                "label": version.label,
                "requested_name": version.requested_name,
                "config_hash": version.config_hash,
            },
        },
        "baselines": [_baseline(b) for b in watched],
        "probes": [_probe(probe) for probe in _probes(event)],
        "lives": [_life(life) for life in _lives(event, watched)],
    }


def _probes(event: ChangeEvent) -> QuerySet[Probe]:
    """The probes that the change rests on, of the kinds whose rounds keep their ranks."""
    return Probe.objects.filter(
        pk__in=event.probe_evidence.values("round__probe"),
        kind__in=(ProbeKind.LOGPROB, ProbeKind.BORDER),
    ).order_by("created_at")


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "id": str(probe.pk),
        "kind": probe.kind,
        "alpha": probe.alpha,
        "rounds": [
            {
                "round": row.number,
                "id": str(row.pk),
                "at": row.finished_at.isoformat(),
                "ranks": [row.ranks[prompt] for prompt in sorted(row.ranks)],
                "recorded": {"log_e": _plain(row.log_e)},
            }
            for row in probe.rounds_done.order_by("number")
        ],
    }


def _lives(event: ChangeEvent, baselines: list[Baseline]) -> QuerySet[Evidence]:
    """The lives of the version's e-value that the change was found in."""
    probes = [str(pk) for pk in event.probe_evidence.values_list("round__probe", flat=True)]
    found = EvidenceSource.objects.filter(
        Q(baseline__in=baselines) | Q(key__in=probes), evidence__model_version=event.model_version
    )
    return Evidence.objects.filter(pk__in=found.values("evidence")).order_by("created_at")


def _life(life: Evidence) -> dict[str, Any]:
    return {
        "id": str(life.pk),
        "alpha": life.alpha,
        "sources": [
            {
                "id": str(s.pk),
                "kind": s.kind,
                "of": str(s.baseline_id or s.key),
                "weight": s.weight,
            }
            for s in life.sources.order_by("created_at", "id")
        ],
        "looks": [
            {
                "look": look.number,
                "source": str(look.source_id),
                "ref": look.ref,
                "at": look.at.isoformat(),
                "source_log_e": _plain(look.source_log_e),
                "recorded": {"log_e": _plain(look.log_e)},
            }
            for look in life.history.order_by("number")
        ],
    }


def _baseline(baseline: Baseline) -> dict[str, Any]:
    watches = {w.metric_key: w for w in baseline.watches.all()}
    metrics = watches_of(baseline)
    runs = list(baseline.runs.order_by("created_at"))
    keys = [m.key for m in metrics]
    whole = wholes.watched(baseline.summary["watched"])
    old = answered(runs) if whole else []
    looks = baseline.comparisons.select_related("run").prefetch_related("metrics").order_by("look")
    alarmed = False
    shown = []
    for comparison in looks:
        # Only what rests on this run alone can be found again from this run alone: after the
        # alarm of the version's e-value.
        peak = comparison.method.get("peak_log_e", comparison.log_e)
        alarmed = alarmed or peak >= -math.log(comparison.alpha)
        own = wholes.of_run(old, answered([comparison.run])) if whole else {}
        shown.append(_look(comparison, keys, own, own_run=alarmed))
    return {
        "id": str(baseline.pk),
        "suite": baseline.suite_revision.suite.name,
        "suite_hash": baseline.suite_revision.content_hash,
        "alpha": baseline.summary.get("alpha"),
        "runs": [str(run.pk) for run in runs],
        "metrics": [
            {
                "key": m.key,
                "label": m.label,
                "weight": m.weight,
                "margin": m.margin,
                "bounds": list(m.bounds) if m.bounds else None,
                "watch_key": watches[m.key].state["key"],
                "max_values": watches[m.key].state["max_values"],
            }
            for m in metrics
        ],
        "first_rerun": _first_rerun(baseline, watches),
        "answers": _values(runs, keys, wholes.of_baseline(old) if whole else {}),
        "looks": shown,
    }


def _first_rerun(baseline: Baseline, watches: Mapping[str, Any]) -> dict[str, Any] | None:
    setting = baseline.summary.get("first_rerun")
    if not setting or FIRST_RERUN not in watches:
        return None
    return {**setting, "key": watches[FIRST_RERUN].state["key"]}


def _look(comparison: Comparison, keys: list[str], own: Values, *, own_run: bool) -> dict[str, Any]:
    method = comparison.method
    recorded: dict[str, Any] = {
        "verdict": comparison.verdict,
        "log_e": _plain(comparison.log_e),
        "log_e_of": {key: _plain(method.get("log_e", {}).get(key)) for key in keys},
        "effect_alpha": method.get("effect_alpha"),
    }
    if own_run:
        recorded["effects"] = {
            r.metric_key: {"estimate": r.effect, "low": r.low, "high": r.high}
            for r in comparison.metrics.all()
            if r.effect is not None and r.metric_key in keys
        }
    at = comparison.run.finished_at or comparison.created_at
    return {
        "look": comparison.look,
        "run": str(comparison.run_id),
        "at": at.isoformat(),
        "answers": _values([comparison.run], keys, own),
        "recorded": recorded,
    }


def _values(runs: list[Run], keys: list[str], whole: Values) -> Values:
    found = {**evaluations.metric_values(runs), **whole}
    return {key: found[key] for key in keys if key in found}


def _plain(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
