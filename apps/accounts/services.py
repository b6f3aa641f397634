"""Make people, give and take roles, shut an account."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email
from django.db import IntegrityError, connection, transaction

from apps.accounts import selectors
from apps.accounts.models import Role, RoleAssignment, Team, User
from apps.accounts.permissions import forget_roles, require
from apps.audit.services import SYSTEM, Actor, record
from apps.core.errors import Conflict, InvalidInput

# A machine reads and runs; requests, approvals and decisions are people's.
SERVICE_ROLES = frozenset({Role.SERVICE, Role.AUDITOR})
# pg_advisory_xact_lock key: changes to who administers happen one after the other.
ADMINISTRATION_LOCK = 0x6774_6163


def create_user(
    *,
    actor: Actor,
    email: str,
    display_name: str,
    password: str | None = None,
    roles: Iterable[str] = (),
    team: Team | None = None,
    is_service: bool = False,
) -> User:
    """A person (or a service account, which has no password) with roles over all or one team.

    Raises NotAllowed, InvalidInput (email, display_name, password, roles) and Conflict when the
    e-mail address is taken.
    """
    require(actor, "accounts.manage")
    with transaction.atomic():
        return _create_user(
            actor=actor,
            email=email,
            display_name=display_name,
            password=password,
            roles=roles,
            team=team,
            is_service=is_service,
        )


def create_first_admin(*, email: str, display_name: str, password: str) -> User:
    """The first administrator of an empty product: only while there is none.

    Raises InvalidInput, and Conflict when an active administrator exists.
    """
    with transaction.atomic():
        _lock_administration()
        if selectors.has_administrator():
            raise Conflict(
                "An administrator exists already.",
                remedy="Sign in as one and add people there.",
                code="administrator_exists",
            )
        return _create_user(
            actor=SYSTEM,
            email=email,
            display_name=display_name,
            password=password,
            roles=[Role.ADMINISTRATOR],
            team=None,
            is_service=False,
        )


def grant_role(
    *, actor: Actor, user: User, role: str, team: Team | None = None, reason: str = ""
) -> RoleAssignment:
    """Idempotent: a role that is held already is returned as it is. `reason`: for the history.

    Raises NotAllowed and InvalidInput (role, reason).
    """
    require(actor, "accounts.manage")
    checked = _role(role, is_service=user.is_service)
    said = _reason(reason)
    with transaction.atomic():
        return _grant(actor=actor, user=user, role=checked, team=team, reason=said)


def revoke_role(*, actor: Actor, assignment: RoleAssignment, reason: str = "") -> None:
    """Raises NotAllowed, InvalidInput (reason), and Conflict for the last administrator. Revoking
    twice is no error."""
    require(actor, "accounts.manage")
    said = _reason(reason)
    with transaction.atomic():
        _lock_administration()
        user, role, team = assignment.user, Role(assignment.role), assignment.team
        if role == Role.ADMINISTRATOR and team is None:
            _require_another_administrator(user)
        deleted, _ = RoleAssignment.objects.filter(pk=assignment.pk).delete()
        if not deleted:
            return
        forget_roles(user)
        record(
            "accounts.role_revoked",
            actor=actor,
            obj=user,
            object_name=user.name,
            summary=f"{role.label} taken from {user.name}{_over(team)}{_because(said)}.",
            changes={"role": role.value, "team": team} | ({"reason": said} if said else {}),
        )


def deactivate_user(*, actor: Actor, user: User, reason: str) -> None:
    """Shut an account. Its sessions and tokens are refused from their next request on, since both
    look at `is_active`; `access.services.lock_out` also ends them by name.

    Raises NotAllowed, InvalidInput (reason) and Conflict (yourself, the last administrator).
    """
    require(actor, "accounts.manage")
    said = clean_text(reason, field="reason", label="The reason", longest=200)
    with transaction.atomic():
        _lock_administration()
        if str(actor.pk) == str(user.pk):
            raise Conflict(
                "You cannot deactivate your own account.", remedy="Ask another administrator."
            )
        _require_another_administrator(user)
        if not User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
            return
        user.is_active = False
        forget_roles(user)
        record(
            "accounts.user_deactivated",
            actor=actor,
            obj=user,
            object_name=user.name,
            summary=f"{user.name} deactivated: {said}",
            changes={"reason": said},
        )


def create_team(*, actor: Actor, name: str) -> Team:
    """Raises NotAllowed, InvalidInput (name) and Conflict when the name is taken."""
    require(actor, "accounts.manage")
    clean = clean_text(name, field="name", label="The team's name", longest=200)
    try:
        with transaction.atomic():
            team = Team.objects.create(name=clean)
            record("accounts.team_created", actor=actor, obj=team, summary=f"Team {clean} created.")
            return team
    except IntegrityError:
        raise Conflict(
            f"There is a team named {clean} already.", field="name", remedy="Choose another name."
        ) from None


def clean_text(value: str, *, field: str, label: str, longest: int) -> str:
    """One line of text as a person typed it. Raises InvalidInput."""
    text = " ".join(str(value or "").split())
    if not text:
        raise InvalidInput(f"{label} is missing.", field=field, remedy="Write it and try again.")
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
        raise InvalidInput(
            f"{label} holds characters that cannot be printed.",
            field=field,
            remedy="Remove them and try again.",
        )
    if len(text) > longest:
        raise InvalidInput(
            f"{label} has {len(text)} characters; {longest} are allowed.",
            field=field,
            remedy="Shorten it.",
        )
    return text


def check_password(password: str, *, email: str, display_name: str, field: str) -> None:
    """Raises InvalidInput with every rule that the password breaks."""
    try:
        validate_password(password, User(email=email, display_name=display_name))
    except ValidationError as error:
        raise InvalidInput(
            " ".join(error.messages), field=field, remedy="Choose another password."
        ) from None


# ------------------------------------------------------------------------------------- inside


def _create_user(
    *,
    actor: Actor,
    email: str,
    display_name: str,
    password: str | None,
    roles: Iterable[str],
    team: Team | None,
    is_service: bool,
) -> User:
    address = str(email or "").strip().lower()
    try:
        validate_email(address)
        MaxLengthValidator(254)(address)
    except ValidationError:
        raise InvalidInput(
            "This is not an e-mail address.", field="email", remedy="Write it as name@example.org."
        ) from None
    name = clean_text(display_name, field="display_name", label="The name", longest=200)
    checked = [_role(role, is_service=is_service) for role in roles]
    if password is not None and is_service:
        raise InvalidInput(
            "A service account has no password.",
            field="password",
            remedy="Leave it out, and create an API token for the account.",
        )
    if password is not None:
        check_password(password, email=address, display_name=name, field="password")
    user = User(email=address, display_name=name, is_service=is_service)
    # Sign-in is by e-mail only; the user name is Django's and means nothing here.
    user.username = user.pk.hex
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            f"There is an account for {address} already.",
            field="email",
            remedy="Use another address, or change the roles of the account that exists.",
        ) from None
    # The administrator vouches for the address: an unverified one would bar the second factor.
    EmailAddress.objects.create(user=user, email=address, primary=True, verified=True)
    record(
        "accounts.user_created",
        actor=actor,
        obj=user,
        object_name=user.name,
        summary=f"{'Service account' if is_service else 'Account'} {user.name} created.",
        changes={"is_service": is_service, "roles": [r.value for r in checked]},
    )
    for role in checked:
        _grant(actor=actor, user=user, role=role, team=team)
    return user


def _grant(
    *, actor: Actor, user: User, role: Role, team: Team | None, reason: str = ""
) -> RoleAssignment:
    granted_by = actor if isinstance(actor, User) else None
    assignment, created = RoleAssignment.objects.get_or_create(
        user=user, role=role.value, team=team, defaults={"granted_by": granted_by}
    )
    if created:
        forget_roles(user)
        record(
            "accounts.role_granted",
            actor=actor,
            obj=user,
            object_name=user.name,
            summary=f"{role.label} given to {user.name}{_over(team)}{_because(reason)}.",
            changes={"role": role.value, "team": team} | ({"reason": reason} if reason else {}),
        )
    return assignment


def _role(value: str, *, is_service: bool) -> Role:
    try:
        role = Role(value)
    except ValueError:
        raise InvalidInput(
            f"There is no role “{str(value)[:40]}”.",
            field="roles",
            remedy=f"Use one of: {', '.join(Role.values)}.",
        ) from None
    if is_service and role not in SERVICE_ROLES:
        raise InvalidInput(
            f"A service account cannot be {role.label.lower()}: that is for people.",
            field="roles",
            remedy="Give it the role service or auditor.",
        )
    if role == Role.SERVICE and not is_service:
        raise InvalidInput(
            "The role service is for service accounts.",
            field="roles",
            remedy="Create the account as a service account, or choose another role.",
        )
    return role


def _require_another_administrator(user: User) -> None:
    administrators = set(selectors.administrators().values_list("pk", flat=True))
    if administrators == {user.pk}:
        raise Conflict(
            f"{user.name} is the last administrator.",
            remedy="Make somebody else administrator first.",
            code="last_administrator",
        )


def _lock_administration() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADMINISTRATION_LOCK])


def _reason(value: str) -> str:
    """Optional: an empty one stays empty."""
    if not value.strip():
        return ""
    return clean_text(value, field="reason", label="The reason", longest=200)


def _because(reason: str) -> str:
    return f": {reason.rstrip('.')}" if reason else ""


def _over(team: Team | None) -> str:
    return f" over team {team.name}" if team else ""
