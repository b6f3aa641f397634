"""People and who administers."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.accounts.models import Role, RoleAssignment, User


def administrators() -> QuerySet[User]:
    """Active people who administer the whole organisation."""
    return User.objects.filter(
        is_active=True,
        is_service=False,
        role_assignments__role=Role.ADMINISTRATOR,
        role_assignments__team__isnull=True,
    ).distinct()


def has_administrator() -> bool:
    return administrators().exists()


def people() -> QuerySet[User]:
    return User.objects.prefetch_related("role_assignments__team").order_by("display_name", "email")


def role_label(user: User) -> str:
    """ "Model owner, validator (Claims)": every role, with its team where it has one."""
    held = RoleAssignment.objects.filter(user=user).select_related("team").order_by("role")
    labels = [Role(a.role).label.lower() + (f" ({a.team.name})" if a.team else "") for a in held]
    text = ", ".join(labels)
    return text[:1].upper() + text[1:]
