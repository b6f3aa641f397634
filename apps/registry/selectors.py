"""Reads of the registry. What a user may see is decided here, by team."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, IntegerField, Prefetch, QuerySet, Value, When

from apps.accounts.permissions import roles_of, visible
from apps.registry.lifecycle import IN_USE, LIVE, PENDING, moves_for
from apps.registry.models import (
    AIModel,
    Approval,
    ApprovalState,
    Assumption,
    Endpoint,
    ModelVersion,
    Provider,
    UseCase,
)

S = ApprovalState
# The order in which states tell how a version stands: what holds it up comes first.
STANDING = (S.ON_HOLD, S.SUSPENDED, S.CONDITIONAL, S.APPROVED, S.VALIDATED, S.REQUESTED)


def providers(user: Any) -> QuerySet[Provider]:
    """Providers, endpoints and models belong to the organisation: any role may see them."""
    return Provider.objects.order_by("name") if roles_of(user) else Provider.objects.none()


def endpoints(user: Any) -> QuerySet[Endpoint]:
    rows = Endpoint.objects.select_related("provider").defer("credential_ciphertext")
    return rows.order_by("provider__name", "name") if roles_of(user) else rows.none()


def models(user: Any) -> QuerySet[AIModel]:
    rows = AIModel.objects.select_related("provider").order_by("provider__name", "name")
    return rows if roles_of(user) else rows.none()


def versions(user: Any) -> QuerySet[ModelVersion]:
    return visible(
        user,
        ModelVersion.objects.select_related("model__provider", "endpoint", "owner", "team"),
    ).order_by("label", "id")


def use_cases(user: Any) -> QuerySet[UseCase]:
    rows = UseCase.objects.select_related("owner", "team")
    return visible(user, rows).order_by("risk_tier", "name")


def approvals(user: Any) -> QuerySet[Approval]:
    rows = Approval.objects.select_related(
        "use_case", "model_version", "requested_by", "validated_by", "approved_by", "supersedes"
    ).prefetch_related(Prefetch("assumptions", Assumption.objects.order_by("code")))
    return visible(user, rows, team_path="use_case__team").order_by("-number")


def live_approvals(version: ModelVersion) -> QuerySet[Approval]:
    """In force, or on hold: what a change of the version touches."""
    rows = Approval.objects.filter(model_version=version, state__in=LIVE)
    return rows.select_related("use_case", "model_version").order_by("number")


def standing(version: ModelVersion) -> ApprovalState | None:
    """How a version stands over all its uses, worst first; None when nobody asked for it."""
    rank = Case(
        *(When(state=state, then=Value(i)) for i, state in enumerate(STANDING)),
        default=Value(len(STANDING)),
        output_field=IntegerField(),
    )
    row = version.approvals.order_by(rank, "-number").values_list("state", flat=True).first()
    return S(row) if row else None


def waiting_for(user: Any) -> list[Approval]:
    """Requests that this person could validate or approve now."""
    pending = approvals(user).filter(state__in=PENDING).order_by("created_at")
    return [a for a in pending if {m.name for m in moves_for(a, user)} & {"validate", "approve"}]


def in_use(user: Any) -> QuerySet[Approval]:
    return approvals(user).filter(state__in=IN_USE)
