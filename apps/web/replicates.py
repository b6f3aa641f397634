"""Several answers to each case: equal ones shown once, what differs, and pass^k.

pass^k is the share of cases of which all k answers are right: what a process may count on that asks
once and cannot try again. The pass rate beside it is the share of answers that are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from apps.evaluations.models import Run, Sample, SampleStatus, Score, SuiteCase
from apps.evaluations.scoring import FIRST_REVISION
from apps.web.lists import chosen, listing, param, select
from apps.web.rundata import AnswerRow, answer_rows, pass_filter

VIEWS = {"differs": "Only what differs", "each": "Each answer on a line of its own"}


@dataclass
class Group:
    """Equal answers to one case; the first stands for all."""

    row: AnswerRow
    count: int = 1


@dataclass
class CaseAnswers:
    case: SuiteCase
    groups: list[Group] = field(default_factory=list)
    total: int = 0
    right: int | None = None
    """How many are right; None where the suite has no right and wrong."""

    @property
    def expected(self) -> Any:
        return self.case.document.get("expect")

    @property
    def state(self) -> str:
        if self.right is None:
            return ""
        return "pass" if self.right == self.total else "fail" if not self.right else "flaky"


@dataclass(frozen=True)
class Summary:
    """Over all cases of a run. Rates are None where the suite has no right and wrong."""

    k: int
    cases: int
    differing: list[Any]
    pass_rate: float | None
    pass_all: float | None


def _samples(run: Run) -> QuerySet[Sample]:
    return Sample.objects.filter(month=run.month, run=run)


def summary(run: Run, scoring_revision: int = FIRST_REVISION) -> Summary:
    """Two aggregates over the run's own partition."""
    rows = list(
        _samples(run)
        .values("case_id")
        .annotate(
            n=Count("id"),
            lost=Count("id", filter=~Q(status=SampleStatus.ANSWERED)),
            texts=Count("text", distinct=True),
            statuses=Count("status", distinct=True),
            calls=Count("tool_calls", distinct=True),
        )
    )
    differing = [r["case_id"] for r in rows if max(r["texts"], r["statuses"], r["calls"]) > 1]
    wrong = pass_filter(run.suite_revision)
    rate = every = None
    if wrong is not None and rows:
        scores = Score.objects.filter(
            wrong, month=run.month, run=run, scoring_revision=scoring_revision
        )
        bad = dict(
            scores.values("case_id")
            .annotate(n=Count("sample_id", distinct=True))
            .values_list("case_id", "n")
        )
        right = [(r["n"] - r["lost"] - bad.get(r["case_id"], 0), r["n"]) for r in rows]
        rate = sum(good for good, _ in right) / sum(n for _, n in right)
        every = sum(good == n for good, n in right) / len(right)
    return Summary(run.replicates, len(rows), differing, rate, every)


def by_case(
    run: Run, cases: Sequence[SuiteCase], scoring_revision: int = FIRST_REVISION
) -> list[CaseAnswers]:
    """The answers to some cases, equal ones together, in the order of their replicates."""
    samples = list(
        _samples(run)
        .filter(case__in=cases)
        .select_related("case")
        .order_by("case__position", "replicate")
    )
    judged = pass_filter(run.suite_revision) is not None
    found = {case.pk: CaseAnswers(case, right=0 if judged else None) for case in cases}
    seen: dict[Any, Group] = {}
    for row in answer_rows(run, samples, scoring_revision):
        sample = row.sample
        mine = found[sample.case_id]
        mine.total += 1
        if mine.right is not None and row.state == "pass":
            mine.right += 1
        said = (sample.status, sample.error_kind, sample.text.strip(), str(sample.tool_calls))
        key = (sample.case_id, row.state, *said)
        if key in seen:
            seen[key].count += 1
        else:
            seen[key] = Group(row)
            mine.groups.append(seen[key])
    for one in found.values():
        one.groups.sort(key=lambda group: -group.count)
    return list(found.values())


def view_select(chosen_view: str) -> dict[str, Any]:
    return select("show", "Show", chosen_view, VIEWS.items(), "By case, equal answers once")


def context(request: HttpRequest, run: Run, words: str, scoring_revision: int) -> dict[str, Any]:
    """The page's answers by case; {} where each answer is asked for on its own."""
    view = chosen(request, "show", VIEWS)
    if view == "each" or param(request, "failed") == "1":
        return {}
    whole = summary(run, scoring_revision)
    cases = SuiteCase.objects.filter(revision=run.suite_revision_id).order_by("position")
    cases = cases.filter(pk__in=_samples(run).values("case_id"))
    if view == "differs":
        cases = cases.filter(pk__in=whole.differing)
    if words:
        fitting = _samples(run).filter(Q(text__icontains=words) | Q(error_message__icontains=words))
        cases = cases.filter(Q(case_id__icontains=words) | Q(pk__in=fitting.values("case_id")))
    page = listing(request, cases, size=25)
    return {
        "page": page,
        "by_case": by_case(run, page.rows, scoring_revision),
        "replicated": whole,
        "q": words,
        "differs_only": view == "differs",
        "selects": [view_select(view)],
    }
