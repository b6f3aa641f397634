"""May use case U call version V now? One query when it may, two when it may not.

The clock decides about expiry, not the task that tidies up afterwards. Whoever asks gets a
sentence. "Cannot decide" (the database does not answer) is the only case in which a use case's
`gate_fails_open` counts, and the answer says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import structlog
from django.db import Error as DatabaseError

from apps.core import clock
from apps.registry.lifecycle import LIVE
from apps.registry.models import Approval, ApprovalState, ModelVersion, UseCase

log = structlog.get_logger(__name__)
S = ApprovalState
Answer = Literal["allow", "conditional", "hold", "deny"]


@dataclass(frozen=True)
class GateAnswer:
    answer: Answer
    reason: str
    use_case: UseCase
    model_version: ModelVersion
    approval: Approval | None
    checked_at: dt.datetime
    conditions: str = ""
    decided: bool = True  # False: the gate could not decide, and the use case's policy answered

    @property
    def open(self) -> bool:
        return self.answer in ("allow", "conditional")


def check(*, use_case: UseCase, model_version: ModelVersion) -> GateAnswer:
    """Never raises for a database that does not answer: it fails closed or open as the use case
    says."""
    now = clock.now()
    approval: Approval | None = None
    decided = True
    try:
        approval = _live(use_case, model_version, now) or _latest(use_case, model_version)
        answer, reason = _judge(approval, use_case, model_version, now)
    except DatabaseError as error:
        log.error("gate_cannot_decide", use_case=use_case.slug, error=type(error).__name__)
        answer, reason = _undecided(use_case)
        decided = False
    return GateAnswer(
        answer=answer,
        reason=reason,
        use_case=use_case,
        model_version=model_version,
        approval=approval,
        checked_at=now,
        conditions=approval.conditions if approval and answer == "conditional" else "",
        decided=decided,
    )


def _live(use_case: UseCase, version: ModelVersion, now: dt.datetime) -> Approval | None:
    rows = Approval.objects.filter(
        use_case_id=use_case.pk, model_version_id=version.pk, state__in=LIVE
    ).order_by("-number")[:2]
    # Two only while an expired one waits to be tidied up: prefer the one that is not.
    return next((r for r in rows if not _over(r, now)), None)


def _latest(use_case: UseCase, version: ModelVersion) -> Approval | None:
    return (
        Approval.objects.filter(use_case_id=use_case.pk, model_version_id=version.pk)
        .order_by("-number")
        .first()
    )


def _over(approval: Approval, now: dt.datetime) -> bool:
    return approval.expires_at is not None and approval.expires_at <= now


def _judge(
    approval: Approval | None, use_case: UseCase, version: ModelVersion, now: dt.datetime
) -> tuple[Answer, str]:
    if approval is None:
        return "deny", f"{version} was never approved for {use_case}."
    why = f": {approval.state_reason}" if approval.state_reason else "."
    if approval.state in LIVE and _over(approval, now):
        assert approval.expires_at is not None
        ended = approval.expires_at.astimezone(dt.UTC)
        return "deny", f"{approval} expired on {ended:%Y-%m-%d at %H:%M} UTC."
    if approval.state == S.APPROVED:
        until = ""
        if approval.expires_at:
            until = f" until {approval.expires_at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
        return "allow", f"{approval} approves {version} for {use_case}{until}."
    if approval.state == S.CONDITIONAL:
        return "conditional", f"{approval} approves it under conditions: {approval.conditions}"
    if approval.state == S.ON_HOLD:
        return "hold", f"{approval} is on hold{why}"
    if approval.state in (S.REQUESTED, S.VALIDATED):
        return "deny", f"{approval} is {approval.get_state_display().lower()} but not approved yet."
    return "deny", f"{approval} is {approval.get_state_display().lower()}{why}"


def _undecided(use_case: UseCase) -> tuple[Answer, str]:
    what = "The gate cannot decide: the database does not answer."
    if use_case.gate_fails_open:
        return "allow", f"{what} {use_case} is set to fail open, so this is allowed."
    return "deny", f"{what} {use_case} is set to fail closed, so this is denied."


def check_many(versions: Iterable[ModelVersion]) -> dict[UUID, list[GateAnswer]]:
    """For each version, `check` for every use case that it was ever asked for; two queries in all.

    For lists; a call to a model asks `check`. Raises what the database raises.
    """
    now = clock.now()
    by_id = {version.pk: version for version in versions}
    rows = (
        Approval.objects.filter(model_version_id__in=by_id)
        .select_related("use_case")
        .order_by("use_case__risk_tier", "use_case__name", "-number")
    )
    pairs: dict[tuple[UUID, UUID], list[Approval]] = {}
    for row in rows:
        pairs.setdefault((row.model_version_id, row.use_case_id), []).append(row)
    answers: dict[UUID, list[GateAnswer]] = {pk: [] for pk in by_id}
    for (version_id, _), found in pairs.items():
        live = next((r for r in found if r.state in LIVE and not _over(r, now)), None)
        approval, version = live or found[0], by_id[version_id]
        answer, reason = _judge(approval, approval.use_case, version, now)
        conditions = approval.conditions if answer == "conditional" else ""
        answers[version_id].append(
            GateAnswer(
                answer, reason, approval.use_case, version, approval, now, conditions=conditions
            )
        )
    return answers
