"""Which slots of a run came to an error and have no other slot yet: what a retry asks once more.

A slot that a retry adds belongs to a shard that names the class of error it makes good, so that
each class is counted by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

from apps.core.errors import Conflict, InvalidInput
from apps.evaluations.models import Run, Sample, SampleStatus

# A row for each case and class of error: its errors without another slot, newest first, and how
# many answers the case wants in all. Shards from before runs could be extended have no number.
OPEN = """
WITH told AS (
  SELECT case_id, status, error_kind, count(*) AS n, max(replicate) AS newest
    FROM evaluations_sample WHERE month = %(month)s AND run_id = %(run)s GROUP BY 1, 2, 3),
shards AS (
  SELECT first_position, last_position, error_kind,
         coalesce(replicates, %(replicates)s) AS replicates
    FROM evaluations_shard WHERE run_id = %(run)s),
wrong AS (
  SELECT case_id, sum(n) AS stored, coalesce(sum(n) FILTER (WHERE status <> 'error'), 0) AS good
    FROM told GROUP BY 1 HAVING bool_or(status = 'error')),
wanting AS (
  SELECT w.case_id, c.position,
         %(replicates)s - w.good - (sum(s.replicates) - w.stored) AS wanting
    FROM wrong w
    JOIN evaluations_suitecase c ON c.id = w.case_id
    JOIN shards s ON c.position BETWEEN s.first_position AND s.last_position
   GROUP BY 1, 2, w.good, w.stored)
SELECT w.position, t.error_kind, t.n - coalesce(sum(s.replicates), 0), w.wanting
  FROM wanting w
  JOIN told t ON t.case_id = w.case_id AND t.status = 'error'
  LEFT JOIN shards s ON s.error_kind = t.error_kind AND s.error_kind <> ''
       AND w.position BETWEEN s.first_position AND s.last_position
 GROUP BY w.position, t.error_kind, t.n, w.wanting, t.newest
 ORDER BY w.position, t.newest DESC, t.error_kind
"""


@dataclass(frozen=True)
class Open:
    """`count` slots of the case at `position` came to an error of this class, and have no other."""

    position: int
    kind: str
    count: int


def open_slots(run: Run) -> list[Open]:
    """By position."""
    values: dict[str, Any] = {
        "month": run.month,
        "run": run.pk,
        "replicates": run.replicates,
    }
    with connection.cursor() as cursor:
        cursor.execute(OPEN, values)
        rows = cursor.fetchall()
    found: list[Open] = []
    used: Counter[int] = Counter()
    for position, kind, count, wanting in rows:
        # Slots of retries from before shards named a class: the older errors have theirs.
        count = min(int(count), int(wanting) - used[position])
        if count > 0:
            used[position] += count
            found.append(Open(position, kind, count))
    return found


def by_kind(slots: Iterable[Open]) -> dict[str, int]:
    """How many slots of each class, the most frequent first."""
    counts: Counter[str] = Counter()
    for slot in slots:
        counts[slot.kind] += slot.count
    return dict(counts.most_common())


def open_errors(run: Run) -> dict[str, int]:
    """Classes of error, and how many slots of each a retry would ask once more."""
    return by_kind(open_slots(run))


def of_kinds(run: Run, slots: Sequence[Open], kinds: Sequence[str]) -> list[Open]:
    """The slots of these classes. Raises InvalidInput (error_kinds) where none is named or one is
    no error but what the endpoint has to say, and Conflict where a class has no open slot."""
    there = by_kind(slots)
    listed = ", ".join(f"{kind} ({count:,})" for kind, count in there.items())
    remedy = f"Classes that can be retried: {listed}." if listed else "Nothing is to be retried."
    if not kinds:
        raise InvalidInput("Name at least one class of error.", field="error_kinds", remedy=remedy)
    for kind in kinds:
        if kind in there:
            continue
        said = Sample.objects.filter(month=run.month, run=run).exclude(
            status__in=(SampleStatus.ANSWERED, SampleStatus.ERROR)
        )
        if said.filter(Q(error_kind=kind) | Q(error_kind="", status=kind)).exists():
            raise InvalidInput(
                f"'{kind}' is not retried: it is what the endpoint says to these prompts, however "
                "often it is asked.",
                field="error_kinds",
                remedy=f"Change the cases or the version, and start another run. {remedy}",
            )
        raise Conflict(
            f"No slot of this run that came to '{kind[:40]}' is without another.",
            field="error_kinds",
            remedy=remedy,
        )
    return [slot for slot in slots if slot.kind in kinds]


def stretches(slots: Iterable[Open]) -> dict[int, list[tuple[int, int]]]:
    """By how many slots each case wants: the stretches of neighbouring cases that want as many."""
    found: dict[int, list[tuple[int, int]]] = {}
    for slot in slots:
        alike = found.setdefault(slot.count, [])
        if alike and alike[-1][1] == slot.position - 1:
            alike[-1] = (alike[-1][0], slot.position)
        else:
            alike.append((slot.position, slot.position))
    return found
