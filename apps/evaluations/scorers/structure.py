"""Two JSON values compared path by path: how many values differ, out of how many, and where.

The whole is every value expected plus every value that should not be there. So one wrong field of
four is 1 of 4, and forty invented fields are not outweighed by one right one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from deepdiff import DeepDiff

from apps.evaluations.scorers.jsontext import leaves

MAX_CHANGES = 20


@dataclass(frozen=True)
class Difference:
    wrong: int
    total: int
    changes: list[dict[str, Any]] = field(default_factory=list)
    """The first changes, each with path, kind, what was expected and what was found."""

    @property
    def share(self) -> float:
        """The share that is right, 0 to 1."""
        return min(1.0, max(0.0, 1.0 - self.wrong / max(self.total, 1)))


def compare(
    expected: Any,
    found: Any,
    *,
    tolerance: float = 0.0,
    ignore_case: bool = False,
    ignore_order: bool = False,
) -> Difference:
    """The differences. The caller bounds the size: `leaves` and `depth` of both values."""
    left, right = plain(expected, ignore_case), plain(found, ignore_case)
    total = leaves(expected)
    diff = DeepDiff(
        left,
        right,
        view="tree",
        ignore_order=ignore_order,
        report_repetition=ignore_order,
        math_epsilon=tolerance or None,
        threshold_to_diff_deeper=0,  # always path by path, never the whole as one change
        max_passes=1000,
        max_diffs=20_000,
        cache_size=500,
    )
    wrong = 0
    changes: list[dict[str, Any]] = []
    for kind, levels in diff.items():
        for level in levels if kind != "deep_distance" else ():
            before = 0 if kind.endswith("_added") else leaves(level.t1)
            after = 0 if kind.endswith("_removed") else leaves(level.t2)
            total += after if before == 0 else max(0, after - before)
            wrong += max(before, after)
            if len(changes) < MAX_CHANGES:
                changes.append(
                    {
                        "path": str(level.path())[:200].replace("root", "$", 1),
                        "change": kind,
                        "expected": _short(level.t1) if before else None,
                        "found": _short(level.t2) if after else None,
                    }
                )
    return Difference(wrong, total, changes)


def plain(value: Any, ignore_case: bool = False) -> Any:
    """Numbers as floats, so that 5 equals 5.0 and differs from true; texts in one case."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        number = float(value)
        return number if math.isfinite(number) else str(value)
    if isinstance(value, str):
        return value.casefold() if ignore_case else value
    if isinstance(value, list):
        return [plain(v, ignore_case) for v in value]
    if isinstance(value, dict):
        return {k: plain(v, ignore_case) for k, v in value.items()}
    return value


def _short(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return text[:200]
