"""Two revisions of a suite side by side: what changed, and which answers may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from apps.evaluations.models import SuiteCase, SuiteRevision
from apps.evaluations.stored import frame_of, suite_of
from apps.evaluations.suitefile import Suite
from apps.evaluations.suitefile.diffing import SuiteDiff, diff_suites


@dataclass(frozen=True)
class SameCases:
    """What two revisions ask alike. Only answers to these cases, and only metrics that are
    measured alike, may be compared over them."""

    case_ids: tuple[str, ...]
    """Ids within the suite, in the order of the second revision."""
    first_total: int
    second_total: int
    metric_keys: tuple[str, ...]
    """Metrics whose scorer is the same in both; style and outcome metrics always are."""
    other_metrics: tuple[str, ...]
    prompt_changed: bool

    def sentence(self) -> str:
        count = len(self.case_ids)
        if not count:
            why = "the prompt changed, so no question is the same" if self.prompt_changed else (
                "no case is the same in both"
            )  # fmt: skip
            return f"Nothing can be compared over these revisions: {why}."
        said = (
            f"Only the {count:,} case{'' if count == 1 else 's'} that both revisions ask alike "
            f"are compared (of {self.first_total:,} and {self.second_total:,})."
        )
        if self.other_metrics:
            said += f" Measured otherwise now, so left out: {', '.join(self.other_metrics)}."
        return said


def same_cases(first: SuiteRevision, second: SuiteRevision) -> SameCases:
    """Which cases two revisions ask alike: the same id, the same content and, for a case that
    uses the suite's prompt, the same prompt; nothing at all where length limit, stop texts, tools
    or answer form changed for every case."""
    old, new = frame_of(first.pk), frame_of(second.pk)
    asked_alike = (old.max_tokens, old.stop, old.asking) == (new.max_tokens, new.stop, new.asking)
    same_prompt = old.prompt == new.prompt
    before = _cases(first)
    ids: list[str] = []
    for case_id, (digest, own) in _cases(second).items():
        if asked_alike and before.get(case_id, ("", False))[0] == digest and (own or same_prompt):
            ids.append(case_id)
    alike, other = _metrics(old, new)
    return SameCases(tuple(ids), first.case_count, second.case_count, alike, other, not same_prompt)


def _cases(revision: SuiteRevision) -> dict[str, tuple[str, bool]]:
    """By id: content hash, and whether the case has its own messages."""
    rows = SuiteCase.objects.filter(revision=revision).order_by("position")
    return {
        row.case_id: (row.content_hash, "messages" in row.document)
        for row in rows.iterator(chunk_size=2000)
    }


def _metrics(old: Suite, new: Suite) -> tuple[tuple[str, ...], tuple[str, ...]]:
    scorers = {s.key: s for s in old.scorers}
    before = {m.key: (scorers.get(m.scorer), m.bounds, m.direction) for m in old.metrics}
    now = {s.key: s for s in new.scorers}
    alike: list[str] = []
    other: list[str] = []
    for metric in new.metrics:
        if metric.key in before:
            same = before[metric.key] == (now.get(metric.scorer), metric.bounds, metric.direction)
            (alike if same else other).append(metric.key)
    return tuple(alike), tuple(other)


@lru_cache(maxsize=32)
def _difference(first: UUID, second: UUID) -> SuiteDiff:
    # Cached by id: a revision never changes.
    rows = SuiteRevision.objects.in_bulk([first, second])
    return diff_suites(suite_of(rows[first]), suite_of(rows[second]))


def difference(first: SuiteRevision, second: SuiteRevision) -> SuiteDiff:
    """What `second` changed against `first`."""
    return _difference(first.pk, second.pk)
