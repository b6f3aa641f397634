"""Which metrics a suite is watched by, with their margins and their weights in the evidence.

Weights are fixed with the baseline, before any look. Half goes to what the suite measures, most of
the rest to style (silent refreshes change style first), a little to failures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from apps.drift.models import Baseline
from apps.evaluations.models import SuiteRevision

SUITE_WEIGHT, STYLE_WEIGHT, OUTCOME_WEIGHT = 0.5, 0.4, 0.1
ERROR_METRIC = "outcome.error"
STYLE_METRICS = {
    "style.chars": "Length",
    "style.words": "Words",
    "style.sentences": "Sentences",
    "style.mean_word_length": "Word length",
    "style.uppercase_share": "Upper case",
    "style.markdown_marks": "Markdown",
    "style.list_items": "List items",
    "style.exclamations": "Exclamation marks",
    "style.hedging": "Hedging",
    "style.pleasantry": "Pleasantries",
    "style.refusal": "Refusals",
}


@dataclass(frozen=True)
class WatchedMetric:
    """margin None: informs, but can never be called equivalent. bounds None: unbounded."""

    key: str
    label: str
    unit: str
    direction: str
    margin: float | None
    bounds: tuple[float, float] | None
    weight: float

    @property
    def scale(self) -> float:
        """Shares are shown as points, percent of 1."""
        return 100.0 if self.is_share else 1.0

    @property
    def is_share(self) -> bool:
        return self.bounds == (0.0, 1.0)


def watched(revision: SuiteRevision, measured: set[str]) -> list[WatchedMetric]:
    """The metrics of a suite revision that the baseline has values for. Weights sum to 1."""
    own = [m for m in revision.document.get("metrics", []) if m["key"] in measured]
    style = {k: v for k, v in STYLE_METRICS.items() if k in measured}
    groups: list[tuple[float, list[WatchedMetric]]] = [
        (SUITE_WEIGHT, [_of_suite(m) for m in own if not m["key"].startswith("style.")]),
        (
            STYLE_WEIGHT,
            [_of_suite(m) for m in own if m["key"].startswith("style.")]
            + [
                WatchedMetric(k, label, "", "neutral", None, None, 0.0)
                for k, label in style.items()
                if k not in {m["key"] for m in own}
            ],
        ),
        (
            OUTCOME_WEIGHT,
            [WatchedMetric(ERROR_METRIC, "Errors", "", "lower", 0.05, (0.0, 1.0), 0.0)]
            if ERROR_METRIC in measured
            else [],
        ),
    ]
    groups = [(share, metrics) for share, metrics in groups if metrics]
    total = sum(share for share, _ in groups)
    return [
        WatchedMetric(
            m.key, m.label, m.unit, m.direction, m.margin, m.bounds, share / total / len(metrics)
        )
        for share, metrics in groups
        for m in metrics
    ]


def _of_suite(spec: dict[str, Any]) -> WatchedMetric:
    bounds = spec.get("bounds")
    return WatchedMetric(
        key=spec["key"],
        label=spec.get("label") or spec["key"],
        unit=spec.get("unit") or "",
        direction=spec.get("direction") or "neutral",
        margin=float(spec["margin"]) if spec.get("margin") else None,
        bounds=(float(bounds[0]), float(bounds[1])) if bounds else None,
        weight=0.0,
    )


def frozen(metrics: list[WatchedMetric]) -> list[dict[str, Any]]:
    """What a baseline keeps: a weight that moved after looking would void the error rate."""
    return [asdict(m) for m in metrics]


def watches_of(baseline: Baseline) -> list[WatchedMetric]:
    """The metrics as they were fixed when the baseline was set."""
    return [
        WatchedMetric(**{**m, "bounds": tuple(m["bounds"]) if m["bounds"] else None})
        for m in baseline.summary["watched"]
    ]
