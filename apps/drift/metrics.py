"""Which metrics a suite is watched by, with their margins and their weights in the evidence.

Weights are fixed with the baseline, before any look. Half goes to what the suite measures, most of
the rest to style (silent refreshes change style first), a little to failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from apps.drift.models import Baseline
from apps.evaluations import style
from apps.evaluations.models import SuiteRevision

SUITE_WEIGHT, STYLE_WEIGHT, OUTCOME_WEIGHT, WHOLE_WEIGHT = 0.5, 0.4, 0.1, 0.1
# Whole outputs against the approved answer; see `stats.whole`. They inform: no margin.
WHOLE_METRICS = {
    "whole.match": "Same answer as approved",
    "whole.similarity": "Likeness to the approved answer",
}
ERROR_METRIC = "outcome.error"
# Share of a suite's capital that is bet on the first rerun, over all features together; see
# `stats.labelling`. The rest is bet by the watches, rerun by rerun.
FIRST_RERUN_SHARE = 0.6
FIRST_RERUN = "first.rerun"
# Style by facet, with the facet's weight. The frame of an answer (how it opens, how it ends) comes
# from habit and hardly from the question, so it varies least within a model and moves first with
# it: double weight. Markup is rare in short answers: half.
FACETS: dict[str, tuple[float, dict[str, str]]] = {
    "length": (1.0, {"chars": "Length", "words": "Words", "lines": "Lines"}),
    "opening": (
        2.0,
        {
            "opens_with_letter": "Opens with a letter",
            "opening_chars": "Length of the opening",
            "starts_with_label": "Opens with a label",
        },
    ),
    "ending": (
        2.0,
        {
            "closing_chars": "Length of the last line",
            "ends_with_period": "Ends with a full stop",
            "ends_with_bracket": "Ends with a bracket",
        },
    ),
    "sentence": (
        1.0,
        {"words_per_sentence": "Words a sentence", "mean_word_length": "Word length"},
    ),
    "wording": (
        1.0,
        {
            "modals": "Modal words",
            "second_person": "Second person",
            "first_person": "First person",
            "hedging": "Hedging",
            "function_word_share": "Function words",
            "type_token_ratio": "Different words",
        },
    ),
    "notation": (
        1.0,
        {
            "digit_share": "Digits",
            "punctuation_share": "Punctuation",
            "formula_share": "Formulae",
            "uppercase_share": "Upper case",
        },
    ),
    "markup": (
        0.5,
        {
            "list_items": "List items",
            "markdown_marks": "Markdown",
            "headings": "Headings",
            "code_fences": "Code blocks",
            "table_rows": "Table rows",
        },
    ),
    "manner": (
        0.5,
        {
            "sentences": "Sentences",
            "exclamations": "Exclamation marks",
            "pleasantry": "Pleasantries",
            "refusal": "Refusals",
        },
    ),
}
FIRST_SCORE_WEIGHT = 0.5  # what the suite measures, beside the facets, in the first rerun's test
STYLE_METRICS = {
    f"style.{name}": label for _, names in FACETS.values() for name, label in names.items()
}
_FACET_WEIGHT = {
    f"style.{name}": weight / len(names) for weight, names in FACETS.values() for name in names
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
        return self.bounds == (0.0, 1.0) or shown_as_share(self.key)

    @property
    def shown_unit(self) -> str:
        """What stands behind its numbers: "points", the suite's own unit, "chars", or nothing."""
        if self.is_share:
            return "points"
        return self.unit or style.UNITS.get(self.key.removeprefix("style."), "")


def shown_as_share(key: str) -> bool:
    """A style feature whose mean is a part of the answers, or of their text."""
    return key.startswith("style.") and key.removeprefix("style.") in style.SHARES


def watched(revision: SuiteRevision, measured: set[str]) -> list[WatchedMetric]:
    """The metrics of a suite revision that the baseline has values for. Weights sum to 1."""
    return watched_of_document(revision.document, measured)


def watched_of_document(document: Mapping[str, Any], measured: set[str]) -> list[WatchedMetric]:
    """The same of a suite's document, without the database."""
    own = [m for m in document.get("metrics", []) if m["key"] in measured]
    features = {k: v for k, v in STYLE_METRICS.items() if k in measured}
    groups: list[tuple[float, list[WatchedMetric]]] = [
        (SUITE_WEIGHT, [_of_suite(m) for m in own if not m["key"].startswith("style.")]),
        (
            STYLE_WEIGHT,
            [_of_suite(m) for m in own if m["key"].startswith("style.")]
            + [
                WatchedMetric(k, label, "", "neutral", None, None, 0.0)
                for k, label in features.items()
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
    whole = [
        WatchedMetric(key, label, "", "neutral", None, (0.0, 1.0), 0.0)
        for key, label in WHOLE_METRICS.items()
        if key in measured
    ]
    groups.append((WHOLE_WEIGHT, whole))
    groups = [(share, metrics) for share, metrics in groups if metrics]
    total = sum(share for share, _ in groups)
    dealt = []
    for share, metrics in groups:
        sizes = [_FACET_WEIGHT.get(m.key, 0.25) for m in metrics]
        if share != STYLE_WEIGHT:
            sizes = [1.0] * len(metrics)
        dealt += [
            replace(m, weight=share / total * size / sum(sizes))
            for m, size in zip(metrics, sizes, strict=True)
        ]
    return dealt


def first_rerun_weights(metrics: list[WatchedMetric]) -> dict[str, float]:
    """Weights of the features in the first rerun's test; fixed with the baseline. Sum 1.

    Errors are left out: an answer that failed has no features to compare. So are whole outputs:
    the reference answer has no score, and the test needs all features of each answer.
    """
    left_out = {ERROR_METRIC, *WHOLE_METRICS, *_FACET_WEIGHT}
    scores = [m.key for m in metrics if m.key not in left_out]
    sizes = {m.key: _FACET_WEIGHT[m.key] for m in metrics if m.key in _FACET_WEIGHT}
    sizes |= {key: FIRST_SCORE_WEIGHT / len(scores) for key in scores}
    total = sum(sizes.values())
    return {key: size / total for key, size in sizes.items()}


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


def not_measured(baseline: Baseline) -> list[str]:
    """Labels of the suite's own metrics that the baseline has no value of: nothing watches them."""
    watched_keys = {m["key"] for m in baseline.summary.get("watched", [])}
    return [
        m.get("label") or m["key"]
        for m in baseline.suite_revision.document.get("metrics", [])
        if m["key"] not in watched_keys
    ]
