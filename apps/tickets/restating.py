"""A re-approval must say of every broken assumption what now holds in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.core.errors import InvalidInput
from apps.drift.models import BrokenAssumption, ChangeEvent
from apps.registry.assumptions import restated
from apps.registry.models import Approval, Assumption

FIELD = "assumption_changes"


def changes_for(approval: Approval, changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that speak of this approval: by its name, or of a code that it has."""
    codes = {a.code.lower() for a in approval.assumptions.all()}
    return [
        c
        for c in changes
        if c.get("approval") == str(approval)
        or ("approval" not in c and c["code"].lower() in codes)
    ]


def check_restated(
    event: ChangeEvent, approvals: Sequence[Approval], changes: Sequence[dict[str, Any]]
) -> None:
    """Raise InvalidInput that names every code which is unknown, not restated or still broken."""
    problems: list[dict[str, object]] = []
    used: list[int] = []
    for approval in approvals:
        mine = changes_for(approval, changes)
        used += [id(c) for c in mine]
        restated(list(approval.assumptions.all()), mine)
        by_code = {c["code"].lower(): c for c in mine}
        broken = BrokenAssumption.objects.filter(
            change_event=event, assumption__approval=approval
        ).select_related("assumption")
        for row in broken.order_by("assumption__code"):
            change = by_code.get(row.assumption.code.lower())
            if sentence := _fault(row, approval, change):
                problems.append({"field": f"{FIELD}.{row.assumption.code}", "message": sentence})
    for change in changes:
        if id(change) not in used:
            message = f"There is no assumption {change['code']} in {change.get('approval', 'any')}."
            problems.append({"field": f"{FIELD}.{change['code']}", "message": message})
    if problems:
        raise InvalidInput(
            " ".join(str(p["message"]) for p in problems),
            field=FIELD,
            remedy="Give each a new threshold that the model keeps now, or drop it.",
            problems=problems,
        )


def _fault(row: BrokenAssumption, approval: Approval, change: dict[str, Any] | None) -> str:
    old = row.assumption
    if change is None:
        return (
            f"{old.code} of {approval} no longer holds ({row.value_now:.3g} now) and is neither "
            "restated nor dropped."
        )
    if change.get("drop"):
        return ""
    new = Assumption(
        comparator=old.comparator,
        threshold=change["threshold"],
        tolerance=change.get("tolerance", old.tolerance),
    )
    if new.holds(row.value_now):
        return ""
    return (
        f"{old.code} of {approval} restated as {new.get_comparator_display()} "
        f"{new.threshold:g} would be broken from its first day: it is {row.value_now:.3g} now."
    )
