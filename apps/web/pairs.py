"""Pairs of answers, the most telling first: what differs, in which way, and how often."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apps.drift.models import Comparison, ExamplePair
from apps.evaluations import payloads
from apps.evaluations.models import Payload, Run, Sample, SampleStatus, Score

_JSON = {"added": "added", "removed": "removed"}
KINDS = {
    "format": "no longer the same format",
    "fields": "other fields or values",
    "score": "scored otherwise",
    "length": "much longer or shorter",
    "wording": "worded otherwise",
}
LONGEST = 200_000  # characters of a request or response that a page shows
LENGTH = 1.5  # so many times longer or shorter is a change of length
FIRST_REVISION = 1  # a comparison rests on the scores as they were first given


@dataclass(frozen=True)
class ScoreMove:
    """A metric of one case: the mean of the baseline's answers, and of those since the change."""

    label: str
    before: float
    now: float


@dataclass(frozen=True)
class Pair:
    """A pair of answers with its structured difference in the words of the page."""

    row: ExamplePair
    changes: list[dict[str, Any]]
    no_longer_json: str
    tags: list[str]
    moves: list[ScoreMove]
    unlike: int
    answers: int

    @property
    def expected(self) -> Any:
        return self.row.case.document.get("expect")

    @property
    def kinds(self) -> list[str]:
        """In which ways it differs; never none."""
        found = []
        if self.no_longer_json:
            found.append("format")
        if self.changes:
            found.append("fields")
        if self.moves:
            found.append("score")
        before, now = len(self.row.baseline_text), len(self.row.current_text)
        if max(before, now) > LENGTH * max(min(before, now), 1):
            found.append("length")
        return found or ["wording"]

    @property
    def agreement(self) -> str:
        """How far chance is out of the question for this case."""
        if not self.answers:
            return ""
        if self.answers == 1:
            return "1 answer since then"
        return (
            f"{self.unlike} of {self.answers} answers since then are unlike every baseline answer"
        )


def pairs_of(comparisons: Iterable[Comparison]) -> list[Pair]:
    """The most telling pairs first, over all the given comparisons."""
    rows = list(
        ExamplePair.objects.filter(comparison__in=list(comparisons))
        .select_related("case", "comparison__run", "comparison__baseline__suite_revision__suite")
        .order_by("-distance", "rank", "id")
    )
    context = _Context(rows)
    return [_pair(row, context) for row in rows]


def _pair(row: ExamplePair, context: _Context) -> Pair:
    changes, no_longer = told(row.json_diff)
    tags = [str(tag) for tag in row.case.document.get("tags", [])]
    unlike, answers = context.agreement(row)
    return Pair(row, changes, no_longer, tags, context.moves(row), unlike, answers)


def told(json_diff: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Rows of the JSON difference in the page's words, and the sentence of a changed format."""
    changes: list[dict[str, Any]] = []
    no_longer = ""
    for change in json_diff:
        kind = str(change.get("kind", ""))
        if kind == "not_json_after":
            no_longer = "It was JSON before; the answer now is no JSON."
        elif kind == "not_json_before":
            no_longer = "The answer now is JSON; it was plain text before."
        elif kind == "too_deep":
            no_longer = "The JSON is nested too deeply to compare field by field."
        else:
            changes.append({**change, "kind": _JSON.get(kind.rpartition("_")[2], "changed")})
    return changes, no_longer


def one_pair(row: ExamplePair) -> Pair:
    return _pair(row, _Context([row]))


@dataclass(frozen=True)
class Exchange:
    """One call as it was: JSON as sent and as it came back, indented for reading."""

    sample: Sample
    request: str
    response: str

    @property
    def sent(self) -> bytes:
        """The digest of the request: equal ones were word for word the same."""
        return bytes(self.sample.request_digest)


def exchange(sample_id: Any, runs: Iterable[Run]) -> Exchange | None:
    """The call behind a sample of one of `runs`; None where it is no longer kept."""
    months = {run.month for run in runs}  # samples are partitioned by it
    rows = Sample.objects.filter(month__in=months, id=sample_id)
    sample = rows.select_related("run", "case").first()
    if sample is None:
        return None
    return Exchange(sample, _stored(sample.request_digest), _stored(sample.response_digest))


def _stored(digest: Any) -> str:
    if digest is None:
        return ""
    try:
        raw = payloads.get(digest)
    except (Payload.DoesNotExist, ValueError):
        return ""
    text = raw.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)[:LONGEST]
    except (ValueError, RecursionError):
        return text[:LONGEST]


class _Context:
    """Texts and scores of the pairs' cases, before and since: a few queries for all of them."""

    def __init__(self, rows: list[ExamplePair]) -> None:
        self._texts: dict[tuple[Any, Any], list[str]] = defaultdict(list)
        self._scores: dict[tuple[Any, Any, str], list[float]] = defaultdict(list)
        self._before: dict[Any, list[Run]] = {}
        self._since: dict[Any, list[Run]] = {}
        cases = {row.case_id for row in rows}
        for row in rows:
            baseline = row.comparison.baseline
            if baseline.pk in self._before:
                continue
            self._before[baseline.pk] = list(baseline.runs.all())
            # Reruns from the first that showed it: the baseline's alarm, not one run's luck.
            showed = baseline.comparisons.filter(verdict__startswith="changed")
            self._since[baseline.pk] = [
                c.run for c in showed.select_related("run").order_by("-look")[:10]
            ]
        runs = {
            r.pk: r for known in (self._before, self._since) for rs in known.values() for r in rs
        }
        if not runs or not cases:
            return
        where: dict[str, Any] = {"run__in": list(runs), "case__in": list(cases)}
        where["month__in"] = list({run.month for run in runs.values()})
        answered = Sample.objects.filter(**where, status=SampleStatus.ANSWERED)
        for run, case, text in answered.values_list("run_id", "case_id", "text"):
            self._texts[run, case].append(_plain(text))
        scored = Score.objects.filter(**where, scoring_revision=FIRST_REVISION, value__isnull=False)
        for run, case, key, value in scored.values_list("run_id", "case_id", "metric_key", "value"):
            self._scores[run, case, key].append(value or 0.0)

    def agreement(self, row: ExamplePair) -> tuple[int, int]:
        """(answers unlike every baseline answer, answers) of this case since the change."""
        key = row.comparison.baseline_id
        before = {t for r in self._before[key] for t in self._texts[r.pk, row.case_id]}
        now = [t for r in self._since[key] for t in self._texts[r.pk, row.case_id]]
        return sum(text not in before for text in now), len(now)

    def moves(self, row: ExamplePair) -> list[ScoreMove]:
        """Scores of this case whose mean is another one since the change."""
        key = row.comparison.baseline_id
        labels = {
            m["key"]: m.get("label") or m["key"]
            for m in row.comparison.baseline.suite_revision.document.get("metrics", [])
        }
        found = []
        for metric, label in labels.items():
            before = self._mean(self._before[key], row.case_id, metric)
            now = self._mean(self._since[key], row.case_id, metric)
            if before is not None and now is not None and abs(before - now) > 1e-9:
                found.append(ScoreMove(label, before, now))
        return found

    def _mean(self, runs: list[Run], case: Any, metric: str) -> float | None:
        values = [v for run in runs for v in self._scores[run.pk, case, metric]]
        return sum(values) / len(values) if values else None


def _plain(text: str) -> str:
    """Blanks and case do not make another answer."""
    return " ".join(text.split()).casefold()
