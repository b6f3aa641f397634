"""What the verbs of this app share: who may, insert once, lock and compare, save what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import IntegrityError, models, transaction

from apps.accounts.models import Team
from apps.accounts.permissions import can, require
from apps.core.errors import Conflict, NotAllowed, StaleVersion
from apps.core.models import VersionedModel
from apps.registry.models import Provider, UseCase

M = TypeVar("M", bound=models.Model)
V = TypeVar("V", bound=VersionedModel)


def require_everywhere(actor: Any, action: str) -> None:
    """For what belongs to the whole organisation: a role over one team is not enough."""
    require(actor, action)
    if not can(actor, action, Provider()):
        raise NotAllowed(
            "Your role covers one team, and this belongs to the whole organisation.",
            remedy="Ask a governance lead or an administrator.",
        )


def require_for_team(actor: Any, action: str, team: Team | None) -> None:
    """For what is about to be created in a team (None: the organisation's own)."""
    require(actor, action)
    if not can(actor, action, UseCase(team=team)):
        raise NotAllowed(
            "Your role does not cover the team that this would belong to.",
            field="team",
            remedy="Choose a team that you have the role for.",
        )


def insert(row: M, message: str, *, field: str = "name") -> M:
    """Save a new row. Raises Conflict with `message` when the database has one like it."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise _taken(error, message, field) from None
    return row


def locked(model: type[V], given: V, row_version: int | None) -> V:
    """The row as it is now, locked. Raises StaleVersion when it moved since it was read."""
    row: V = model._default_manager.select_for_update(no_key=True).get(pk=given.pk)
    if row_version is not None and row.row_version != row_version:
        raise stale()
    return row


def stale(what: str = "this") -> StaleVersion:
    return StaleVersion(
        f"Somebody else changed {what} since you opened it.",
        field="row_version",
        remedy="Reload to see the current state, then try again.",
    )


def apply(row: VersionedModel, values: Mapping[str, Any], message: str = "") -> dict[str, Any]:
    """Set what differs, save it, and say what changed: {field: [before, after]}.

    Raises Conflict with `message` when another row has such a name already.
    """
    changed = {k: [getattr(row, k), v] for k, v in values.items() if getattr(row, k) != v}
    for key, (_, after) in changed.items():
        setattr(row, key, after)
    if changed:
        try:
            with transaction.atomic():
                row.save_versioned(*changed)
        except IntegrityError as error:
            raise _taken(error, message or "Something with this name exists.", "name") from None
    return changed


def _taken(error: IntegrityError, message: str, field: str) -> Conflict:
    diagnosis = getattr(error.__cause__, "diag", None)
    constraint = getattr(diagnosis, "constraint_name", None) or ""
    if "slug" in constraint:
        field = "slug"
    return Conflict(message, field=field, remedy="Use that one, or choose another.")
