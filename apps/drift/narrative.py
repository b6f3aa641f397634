"""The one sentence at the top of a change event, written from the data."""

from __future__ import annotations

import datetime as dt
import math

from apps.drift.metrics import FACETS
from apps.drift.models import ChangeEvent, MetricResult, ProbeEvidence, ProbeKind

CLAUSES = 3
# Odds of a million to one are enough: beyond them a clause's place follows from what it tells a
# reader, not from evidence. A refresh that shortens answers moves two dozen measures of style in
# every case at once, all with the same evidence; "99 % shorter" says it, "Upper case" does not.
ENOUGH = math.log(1e6)
TELLING = ("length", "manner", "markup", "opening", "ending", "sentence", "wording", "notation")
_FACET = {f"style.{name}": facet for facet, (_, names) in FACETS.items() for name in names}
_FACET["style.sentences"] = "length"  # shorter answers have fewer of them
_FIRST = ("style.chars", "style.words")  # of their facet: these are told as a percentage
# What an alarm of a cheap layer says.
PROBE_SAYS = {
    ProbeKind.IDENTITY: "the endpoint says that it serves something else",
    ProbeKind.PASSIVE: "production traffic is answered under another name or fingerprint",
    ProbeKind.LOGPROB: "the log-probabilities of first tokens differ from the baseline's",
    ProbeKind.BORDER: "the model decides otherwise on inputs where it used to hesitate",
    ProbeKind.SAMPLING: "tokens are drawn otherwise than before (temperature, top-p or a penalty)",
}
SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def sentence_of(event: ChangeEvent) -> str:
    """'Since between … and … UTC, answers are 71 % shorter; two assumptions no longer hold.'"""
    told = event.probe_evidence.select_related("round__probe").order_by("created_at").first()
    if told is not None and rests_on_probes(event):
        return _probe_told(event, told)
    results = MetricResult.objects.filter(comparison__in=event.comparisons.all()).select_related(
        "comparison__baseline__suite_revision__suite"
    )
    newest: dict[tuple[str, str], MetricResult] = {}
    for result in results.order_by("comparison__created_at"):
        suite = result.comparison.baseline.suite_revision.suite.name
        newest[suite, result.metric_key] = result
    clauses: list[str] = []
    seen: set[str] = set()
    ranked = sorted(newest.items(), key=lambda item: rank(item[1]), reverse=True)
    for (suite, key), result in ranked:
        if _weight(result) <= 0 or _family(key) in seen:
            continue
        if clause := _clause(result, suite):
            seen.add(_family(key))
            clauses.append(clause)
        if len(clauses) == CLAUSES:
            break
    what = _joined(clauses) if clauses else "answers differ from the approved baseline"
    text = f"Since between {span(event.window_start, event.window_end)}, {what}"
    if tail := _broken(event):
        text += f"; {tail}"
    return text + "."


def rests_on_probes(event: ChangeEvent) -> bool:
    """No suite has evidence of its own: whatever its metrics show now may be chance."""
    rows = event.comparisons.all()
    return event.probe_evidence.exists() and not any(
        row.log_e >= -math.log(row.alpha) for row in rows
    )


def _probe_told(event: ChangeEvent, told: ProbeEvidence) -> str:
    says = PROBE_SAYS[ProbeKind(told.round.probe.kind)]
    text = (
        f"Since between {span(event.window_start, event.window_end)}, {says} (e-value "
        f"{number(told.round.max_log_e)}). No suite has moved by itself yet"
    )
    if tail := _broken(event):
        text += f", but {tail}"
    return text + "."


def number(log_e: float) -> str:
    return f"{math.exp(log_e):,.0f}" if log_e < 20 else f"above 10^{int(log_e / math.log(10))}"


def _weight(result: MetricResult) -> float:
    """Material metrics first, then by evidence."""
    if result.effect is None or not result.effect:
        return 0.0
    material = result.verdict == "changed_material"
    beyond = (
        result.low is not None and result.high is not None and (result.low > 0 or result.high < 0)
    )
    if not material and not beyond and result.log_e < math.log(20):
        return 0.0
    return result.log_e + (1000.0 if material else 0.0) + 1.0


def rank(result: MetricResult) -> tuple[float, int, bool, float]:
    """Enough evidence, then what tells most, then all the evidence."""
    weight, facet = _weight(result), _FACET.get(result.metric_key)
    telling = len(TELLING) - TELLING.index(facet) if facet else len(TELLING) + 1
    enough = 1001.0 if weight > 1000 else 1.0
    return min(weight, enough + ENOUGH), telling, result.metric_key in _FIRST, weight


def _family(key: str) -> str:
    """One clause a facet: “Words” after “Length” would say the same again."""
    return _FACET.get(key, key)


def _clause(result: MetricResult, suite: str) -> str:
    effect = result.effect or 0.0
    if result.metric_key in ("style.chars", "style.words") and result.baseline_mean:
        share = abs(effect / result.baseline_mean) * 100
        if share < 1:
            return ""
        if effect > 0:
            return f"answers on {suite} are {share:.0f} % longer"
        # Nothing that was answered is 100 % shorter.
        return f"answers on {suite} are {'over 99' if share > 99 else f'{share:.0f}'} % shorter"
    if result.unit == "points" and not result.metric_key.startswith("style."):
        points = abs(effect) * 100
        verb = "rose" if effect > 0 else "fell"
        return f"“{result.label}” {verb} by {points:.0f} points on {suite}"
    verb = "rose" if effect > 0 else "fell"
    share = result.unit == "points"
    before, after = _short(result.baseline_mean, share), _short(result.current_mean, share)
    return f"“{result.label}” {verb} from {before} to {after} on {suite}"


def _short(value: float | None, share: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if share else f"{value:.3g}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def span(start: dt.datetime, end: dt.datetime) -> str:
    """ "Tue 24 Nov 14:00 and Wed 25 Nov 02:00 UTC"; seconds where it is short."""
    start, end = start.astimezone(dt.UTC), end.astimezone(dt.UTC)
    seconds = ":%S" if (end - start) < dt.timedelta(minutes=10) else ""
    later = f"%H:%M{seconds}" if start.date() == end.date() else f"%a %d %b %H:%M{seconds}"
    return f"{start:%a %d %b %H:%M{seconds}} and {end:{later}} UTC"


def _broken(event: ChangeEvent) -> str:
    rows = list(event.broken_assumptions.select_related("assumption__approval"))
    if not rows:
        return ""
    approvals = sorted({str(b.assumption.approval) for b in rows})
    count = SMALL[len(rows)] if len(rows) < len(SMALL) else str(len(rows))
    noun, verb = ("assumption", "holds") if len(rows) == 1 else ("assumptions", "hold")
    whose = "approval" if len(approvals) == 1 else "approvals"
    return f"{count} {noun} of {whose} {_joined(approvals)} no longer {verb}"
