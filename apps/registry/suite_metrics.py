"""Which metrics a stored suite has. Suites live to the right of this app, which may not import
them: `evaluations` hands in the answer when it starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from apps.core.errors import InvalidInput

Catalogue = Callable[[str], Collection[str] | None]
_catalogue: list[Catalogue] = []


def tell(catalogue: Catalogue) -> None:
    """`catalogue(slug)` gives the metric keys of a suite, or None where no such suite is stored."""
    _catalogue[:] = [catalogue]


def check(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidInput for an assumption that nothing measures: no change could break it."""
    for index, row in enumerate(rows):
        where, slug, metric = f"assumptions[{index}]", row["suite_slug"], row["metric_key"]
        known = _catalogue[0](slug)
        if known is None:
            raise InvalidInput(
                f"There is no suite “{slug}”, so nothing would check {row['code']}.",
                field=f"{where}.suite_slug",
                remedy="Import the suite first, or name one that is stored.",
            )
        if metric not in known:
            near = get_close_matches(metric, known, n=3, cutoff=0.3) or sorted(known)[:5]
            raise InvalidInput(
                f"The suite {slug} has no metric “{metric}”, so nothing would check {row['code']}.",
                field=f"{where}.metric_key",
                remedy=f"It has, among others: {', '.join(near)}.",
            )
