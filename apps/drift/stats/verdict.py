"""From an e-value and an interval to one of four words, and the sentence that explains it.

Rules for a metric (alarm line 1/alpha, materiality margin m):

| alarm | interval of the effect                                    | verdict            | settled |
|-------|-----------------------------------------------------------|--------------------|---------|
| yes   | inside +-m, measured after the change                     | changed_immaterial | yes     |
| yes   | beyond m on one side, or estimate beyond m and 0 excluded | changed_material   | yes     |
| yes   | anything else, or no effect                               | changed_material   | no      |
| yes   | no margin, and an assumption rests on the metric          | changed_material   | no      |
| yes   | no margin, and none does                                  | changed_immaterial | yes     |
| no    | inside +-m                                                | equivalent         | yes     |
| no    | anything else, no effect, or no margin                    | inconclusive       | no      |

"Measured after the change": a change of last week hardly moves the mean of a year of reruns, so an
interval over all reruns proves nothing about the new regime. Only an effect on runs made after the
alarm (or, less cleanly, after the change window) can show that a change is immaterial.

The third line is a precaution: a proven change counts as material *until it is shown to be
immaterial*, and ``settled`` says that this is still open. A metric without a margin informs: nobody
said how much of it would matter, so its change is on record and no more, unless somebody signed an
assumption on it (``binding``). An interval beyond the margin without
an alarm is inconclusive: only the e-process opens a change, so that one error rate holds.

Rules for a version: *changed* only when the combined e-process crosses 1/alpha; immaterial only
when there is a metric with a margin, every one lies within it, and no binding metric changed.
*Equivalent* only without alarm, when at least one metric has a margin and every one of those is
equivalent. Everything else is inconclusive. Never
equivalent for want of data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from apps.drift.stats.checks import positive, probability
from apps.drift.stats.effect import Effect
from apps.drift.stats.power import further_answers


class Verdict(StrEnum):
    """The four words a comparison may end with."""

    EQUIVALENT = "equivalent"
    CHANGED_IMMATERIAL = "changed_immaterial"
    CHANGED_MATERIAL = "changed_material"
    INCONCLUSIVE = "inconclusive"

    @property
    def changed(self) -> bool:
        """Whether the verdict claims a change."""
        return self in (Verdict.CHANGED_IMMATERIAL, Verdict.CHANGED_MATERIAL)


@dataclass(frozen=True)
class MetricVerdict:
    """Verdict on one metric. ``more_answers`` is None when settled or when no number would do."""

    verdict: Verdict
    reason: str
    settled: bool
    more_answers: int | None
    log_e: float
    margin: float | None
    effect: Effect | None
    within_margin: bool
    binding: bool = False


@dataclass(frozen=True)
class VersionVerdict:
    """Verdict on a version; ``metrics`` explain it."""

    verdict: Verdict
    reason: str
    settled: bool
    more_answers: int | None
    log_e: float
    metrics: Mapping[str, MetricVerdict]


def decide_metric(
    *,
    log_e: float,
    alpha: float,
    effect: Effect | None,
    margin: float | None,
    effect_after_change: bool = False,
    unit: str = "",
    scale: float = 1.0,
    binding: bool = False,
) -> MetricVerdict:
    """Apply the table above.

    log_e: the watch's natural log e-value; pass ``max_log_e`` so that an alarm once raised stays.
    effect: None when it could not be computed. margin: > 0, in the metric's units; None when the
    metric has none (it can then never be equivalent). effect_after_change: the effect was measured
    on runs after the alarm; without it an alarm is never called immaterial. unit, scale: how
    numbers are worded (for a share: unit "points", scale 100). binding: an assumption of
    an approval in force names this metric.

    Raises ValueError on a NaN or infinite log_e, alpha outside (0, 1), or a margin not above 0.
    """
    _checked_log_e(log_e)
    if margin is not None:
        positive(margin, "margin")
    words = _Words(unit, positive(scale, "scale"))
    alarm = log_e >= -math.log(probability(alpha, "alpha"))
    inside = effect is not None and margin is not None and effect.inside(margin)
    if alarm and not effect_after_change:
        inside = False
    further = None if inside else _more_answers(effect, margin)
    size = words.effect(effect) if effect is not None else "the size of the effect is not known yet"
    if alarm:
        lead = f"Changed: {evidence(log_e, alpha)}; {size}"
        if inside and margin is not None:
            verdict, settled = Verdict.CHANGED_IMMATERIAL, True
            reason = f"{lead}, within the margin of ±{words.number(margin)}."
        elif margin is None:
            verdict, settled = Verdict.CHANGED_MATERIAL, False
            rest = "an assumption rests on it, so it counts as material"
            if not binding:
                verdict, settled = Verdict.CHANGED_IMMATERIAL, True
                rest = "no assumption rests on it, so it counts as immaterial"
            reason = f"{lead}. No margin says how much of it would matter; {rest}."
        elif effect is not None and _material(effect, margin):
            verdict, settled, further = Verdict.CHANGED_MATERIAL, True, None
            reason = f"{lead}, beyond the margin of ±{words.number(margin)}."
        else:
            verdict, settled = Verdict.CHANGED_MATERIAL, False
            reason = (
                f"{lead}. Not shown to be within ±{words.number(margin)}, so it counts as "
                f"material until it is{_further_words(effect, margin, further)}."
            )
    elif inside and effect is not None and margin is not None:
        verdict, settled = Verdict.EQUIVALENT, True
        reason = f"Equivalent within ±{words.number(margin)} ({words.interval(effect)})."
    else:
        verdict, settled = Verdict.INCONCLUSIVE, False
        reason = f"Inconclusive: {size}{_further_words(effect, margin, further)}."
        if margin is None:
            reason = f"Inconclusive: the metric has no margin to be equivalent within; {size}."
    return MetricVerdict(verdict, reason, settled, further, log_e, margin, effect, inside, binding)


def decide_version(
    *, log_e: float, alpha: float, metrics: Mapping[str, MetricVerdict]
) -> VersionVerdict:
    """Verdict on the version from the combined e-value and the metrics' verdicts.

    log_e: natural log of the combined e-process (`combine.combine_log_e` over *all* watches, with
    weights fixed beforehand), its running maximum so that an alarm stays. The error rate of
    "changed" is alpha over the whole life, whatever the number of metrics.
    """
    _checked_log_e(log_e)
    alarm = log_e >= -math.log(probability(alpha, "alpha"))
    bound = {name: metric for name, metric in metrics.items() if metric.margin is not None}
    outside = [name for name, metric in bound.items() if not metric.within_margin]
    unsettled = [name for name, metric in bound.items() if metric.verdict != Verdict.EQUIVALENT]
    if alarm:
        moved = [name for name, metric in metrics.items() if metric.verdict.changed]
        lead = f"Changed: {evidence(log_e, alpha)}"
        lead += f" (seen in {_listed(moved)})" if moved else " (no metric crosses the line alone)"
        proven = [n for n in outside if bound[n].settled and bound[n].verdict.changed]
        signed = [n for n, m in metrics.items() if m.binding and m.margin is None]
        signed = [n for n in signed if metrics[n].verdict.changed]
        if bound and not outside and not signed:
            verdict, settled, reason = (
                Verdict.CHANGED_IMMATERIAL,
                True,
                f"{lead}; every metric with a margin lies within it.",
            )
        elif proven:
            verdict, settled = Verdict.CHANGED_MATERIAL, True
            reason = f"{lead}; beyond the margin: {_listed(proven)}."
        else:
            verdict, settled = Verdict.CHANGED_MATERIAL, False
            open_ = _listed([*outside, *signed]) or "no metric has a margin"
            reason = f"{lead}; not shown to be within the margins, so it counts as material until "
            reason += f"it is ({open_})."
    elif bound and not unsettled:
        verdict, settled = Verdict.EQUIVALENT, True
        reason = f"Equivalent: {_listed(list(bound))} within the margin; {evidence(log_e, alpha)}."
    else:
        verdict, settled = Verdict.INCONCLUSIVE, False
        reason = "Inconclusive: "
        reason += f"open: {_listed(unsettled)}" if bound else "no metric has a margin"
        reason += f"; {evidence(log_e, alpha)}."
    wanted = [bound[name].more_answers for name in (outside if alarm else unsettled)]
    known = [count for count in wanted if count is not None]
    further = max(known) if known and not settled and len(known) == len(wanted) else None
    if further is not None:
        reason = f"{reason[:-1]}; about {further:,} more answers needed."
    return VersionVerdict(verdict, reason, settled, further, log_e, dict(metrics))


def evidence(log_e: float, alpha: float) -> str:
    """ "e-value 4,300, alarm line 100": the evidence in words, never a bare p-value."""
    return f"e-value {_rounded_e(log_e)}, alarm line {1.0 / alpha:,.0f}"


def _rounded_e(log_e: float) -> str:
    if log_e > math.log(1e6):
        exponent = math.floor(log_e / math.log(10.0))
        return f"above 10^{exponent}"
    value = math.exp(log_e)
    if value >= 100.0:
        digits = 1 - math.floor(math.log10(value))
        return f"{round(value, digits):,.0f}"
    return f"{value:.2g}"


def _checked_log_e(log_e: float) -> None:
    if math.isnan(log_e) or log_e == math.inf:
        raise ValueError(f"log_e: must be a number, got {log_e}.")


def _material(effect: Effect, margin: float) -> bool:
    return effect.beyond(margin) or (abs(effect.estimate) > margin and effect.excludes_zero())


def _more_answers(effect: Effect | None, margin: float | None) -> int | None:
    """Further answers until the interval lies inside, or beyond, the margin, by its estimate."""
    if effect is None or margin is None:
        return None
    return further_answers(effect, abs(abs(effect.estimate) - margin))


def _further_words(effect: Effect | None, margin: float | None, further: int | None) -> str:
    if effect is None or margin is None:
        return ""
    if further is not None:
        return f"; about {further:,} more answers needed"
    return "; reruns alone cannot settle this margin: the baseline is too small for it"


def _listed(names: list[str]) -> str:
    return ", ".join(names)


@dataclass(frozen=True)
class _Words:
    unit: str
    scale: float

    def number(self, value: float) -> str:
        text = f"{value * self.scale:.3g}"
        return f"{text} {self.unit}" if self.unit else text

    def signed(self, value: float) -> str:
        shown = value * self.scale
        text = f"{abs(shown):.1f}" if abs(shown) >= 0.1 or shown == 0.0 else f"{abs(shown):.2g}"
        return f"{'−' if shown < 0 else '+'}{text}"

    def interval(self, effect: Effect) -> str:
        percent = f"{100 * (1 - effect.alpha):.3g} %"
        low, high = self.signed(effect.low), self.signed(effect.high)
        return f"{percent} confidence sequence {low} … {high}"

    def effect(self, effect: Effect) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"effect {self.signed(effect.estimate)}{unit} ({self.interval(effect)})"
