"""Who may do what to which object. Denied unless a role allows it; one table says it all."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from apps.accounts.models import Role, RoleAssignment, User
from apps.audit.services import System
from apps.core.errors import NotAllowed, NotFound

M = TypeVar("M", bound=models.Model)

ADMIN, LEAD, OWNER, VALIDATOR, AUDITOR, SERVICE = (
    Role.ADMINISTRATOR,
    Role.GOVERNANCE_LEAD,
    Role.MODEL_OWNER,
    Role.VALIDATOR,
    Role.AUDITOR,
    Role.SERVICE,
)
EVERYBODY = frozenset(Role)

# action -> roles that may. The same table guards services, draws buttons and fills the docs.
ACTIONS: dict[str, frozenset[Role]] = {
    "view": EVERYBODY,
    "audit.view": frozenset({ADMIN, LEAD, VALIDATOR, AUDITOR}),
    "accounts.manage": frozenset({ADMIN}),
    "access.manage_others": frozenset({ADMIN}),
    "registry.edit_provider": frozenset({ADMIN, LEAD}),
    "registry.allow_private_address": frozenset({ADMIN}),
    "registry.edit_version": frozenset({ADMIN, LEAD, OWNER}),
    "registry.edit_use_case": frozenset({ADMIN, LEAD, OWNER}),
    "approval.request": frozenset({LEAD, OWNER}),
    "approval.validate": frozenset({VALIDATOR}),
    "approval.approve": frozenset({LEAD}),
    "approval.suspend": frozenset({ADMIN, LEAD}),
    "gate.check": EVERYBODY,
    "suite.edit": frozenset({ADMIN, LEAD, OWNER, VALIDATOR}),
    "run.start": frozenset({ADMIN, LEAD, OWNER, VALIDATOR, SERVICE}),
    "run.control": frozenset({ADMIN, LEAD, OWNER, VALIDATOR}),
    "review.start": frozenset({ADMIN, LEAD, OWNER, VALIDATOR}),
    "review.rate": frozenset({OWNER, VALIDATOR}),
    "price.edit": frozenset({ADMIN, LEAD}),
    "budget.edit": frozenset({ADMIN, LEAD}),
    "schedule.edit": frozenset({ADMIN, LEAD, OWNER}),
    "baseline.set": frozenset({LEAD, OWNER, VALIDATOR}),
    "notice.record": frozenset({ADMIN, LEAD, OWNER}),
    "ticket.comment": frozenset({ADMIN, LEAD, OWNER, VALIDATOR}),
    "ticket.assign": frozenset({ADMIN, LEAD}),
    "ticket.propose": frozenset({LEAD, OWNER, VALIDATOR}),
    "ticket.confirm": frozenset({LEAD, VALIDATOR}),
    "control.reverse": frozenset({ADMIN, LEAD}),
    "policy.edit": frozenset({ADMIN, LEAD}),
}


def _assignments(user: Any) -> list[RoleAssignment]:
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return []
    cached = getattr(user, "_role_assignments", None)
    if cached is None:
        cached = list(RoleAssignment.objects.filter(user=user).only("role", "team_id"))
        user._role_assignments = cached
    return cached


def forget_roles(user: Any) -> None:
    """Roles are read once for a user object; whoever changes them says so here."""
    user.__dict__.pop("_role_assignments", None)


def roles_of(user: Any) -> set[Role]:
    """Roles that the user has anywhere (organisation-wide or over one team)."""
    return {Role(a.role) for a in _assignments(user)}


def _team_of(obj: models.Model | None) -> Any:
    """Id of the team that an object belongs to, None for the organisation's own."""
    if obj is None:
        return None
    for path in ("team_id", "use_case", "model_version", "approval", "change_event", "ticket"):
        value = getattr(obj, path, None)
        if value is not None:
            return value if path.endswith("_id") else _team_of(value)
    return None


def can(user: Any, action: str, obj: models.Model | None = None) -> bool:
    """May `user` do `action` to `obj`? A team-bound role counts for that team's objects only.

    With `obj` None: may the user do it to anything at all (draws a menu, guards nothing)?
    The product itself (`audit.services.SYSTEM`) may do everything.
    Raises KeyError for an unknown action: a typo must not deny (or allow) in silence.
    """
    allowed = ACTIONS[action]
    if isinstance(user, System):
        return True
    team = _team_of(obj)
    return any(
        Role(a.role) in allowed and (obj is None or a.team_id is None or a.team_id == team)
        for a in _assignments(user)
    )


def require(user: Any, action: str, obj: models.Model | None = None) -> None:
    """Raise NotAllowed (NotFound where the user may not even see the object)."""
    if can(user, action, obj):
        return
    if obj is not None and not can(user, "view", obj):
        raise NotFound("There is nothing here that you may see.")
    needed = " or ".join(sorted(r.label.lower() for r in ACTIONS[action]))
    raise NotAllowed(
        f"Your role does not allow this: it needs {needed}.",
        remedy="Ask a governance lead or an administrator.",
    )


def visible(
    user: Any, queryset: models.QuerySet[M], *, team_path: str = "team"
) -> models.QuerySet[M]:
    """Only the rows that the user may see. `team_path` leads from the row to its team."""
    assignments = _assignments(user)
    if not assignments:
        return queryset.none()
    if any(a.team_id is None for a in assignments):
        return queryset
    return queryset.filter(**{f"{team_path}__in": {a.team_id for a in assignments}})


def approvers(model_team_id: Any = None) -> models.QuerySet[User]:
    """People who may approve or confirm decisions on objects of a team."""
    deciders = (
        ACTIONS["ticket.confirm"] | ACTIONS["approval.approve"] | ACTIONS["approval.validate"]
    )
    return User.objects.filter(
        models.Q(role_assignments__team__isnull=True)
        | models.Q(role_assignments__team_id=model_team_id),
        role_assignments__role__in=deciders,
        is_active=True,
    ).distinct()
