"""How a row of `lifecycle.RULES` is written down: lock, move, close the range, record."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Max, QuerySet

from apps.audit.services import SYSTEM, record
from apps.registry.lifecycle import RULES
from apps.registry.models import Approval, ApprovalState, ModelVersion, UseCase
from apps.registry.rows import stale

NUMBER_LOCK = 0x6774_6170  # pg_advisory_xact_lock key
S = ApprovalState


def of_pair(use_case: UseCase, version: ModelVersion) -> QuerySet[Approval]:
    return Approval.objects.filter(use_case=use_case, model_version=version)


def lock_pair(use_case: UseCase) -> None:
    """One writer at a time over the approvals of a use case, so that the checks below hold."""
    UseCase.objects.select_for_update(no_key=True).get(pk=use_case.pk)


def next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBER_LOCK])
    return int(Approval.objects.aggregate(top=Max("number"))["top"] or 0) + 1


def locked(approval: Approval, row_version: int | None) -> Approval:
    row = (
        Approval.objects.select_for_update(no_key=True, of=("self",))
        .select_related("use_case", "model_version")
        .get(pk=approval.pk)
    )
    if row_version is not None and row.row_version != row_version:
        raise stale("this approval")
    return row


def expire(row: Approval) -> None:
    assert row.expires_at is not None
    reason = f"Its time ended at {row.expires_at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC."
    end(row, "expire", SYSTEM, reason, S.EXPIRED, row.expires_at)


def end(
    row: Approval, move: str, actor: Any, reason: str, target: ApprovalState, at: dt.datetime
) -> Approval:
    """A move after which it is no longer in force: the range is closed at `at`."""
    fields = []
    if row.in_force is not None and (row.in_force.upper is None or row.in_force.upper > at):
        # The clock may have been set back: a range must not end before it begins.
        row.in_force = DateTimeTZRange(row.in_force.lower, max(at, row.in_force.lower))
        fields.append("in_force")
    return write(row, move, actor, reason, target, *fields)


def write(
    row: Approval,
    move: str,
    actor: Any,
    reason: str,
    target: ApprovalState,
    *fields: str,
    past: str = "",
) -> Approval:
    before = row.state
    row.state, row.state_reason = target, reason
    row.save_versioned("state", "state_reason", *fields)
    past = past or RULES[move].past
    record(
        f"registry.approval_{past.replace(' ', '_')}",
        actor=actor,
        obj=row,
        summary=f"{actor.name}: approval {row} ({row.model_version} for {row.use_case}) "
        f"{past}{f' – {reason}' if reason else ''}",
        changes={"state": [before, target], "reason": reason}
        | {f: getattr(row, f) for f in fields if f in ("conditions", "supersedes", "held_from")},
    )
    return row
