"""Verbs at the door: tokens, sessions, demands to sign in afresh, the one-time set-up link."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from apps.access.auth import AuthContext
from apps.access.models import ApiToken, ReauthDemand, SetupLink, UserSession
from apps.accounts import selectors as people
from apps.accounts import services as accounts
from apps.accounts.models import User
from apps.accounts.permissions import can, require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import InvalidInput, NotAllowed, NotFound, ReauthenticationRequired

SCOPES = {
    "read": "see what its user may see",
    "write": "register and edit",
    "run": "start and control runs",
    "gate": "ask the gate",
    "decide": "propose and confirm decisions",
    "admin": "manage people, sessions and tokens",
}
LONGEST_TOKEN = dt.timedelta(days=366)
SETUP_LINK_LIFE = dt.timedelta(hours=1)


def secret_hash(secret: str) -> str:
    """SHA-256 hex. The secrets are 32 random bytes, so a slow password hash adds nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _require_own_or_manager(actor: Actor, user: User) -> None:
    if str(actor.pk) != str(user.pk):
        require(actor, "access.manage_others")


@transaction.atomic
def create_token(
    *, actor: Actor, user: User, name: str, scopes: Iterable[str], expires_at: dt.datetime
) -> tuple[ApiToken, str]:
    """A token and its secret, which is told this once. Raises InvalidInput, NotAllowed."""
    _require_own_or_manager(actor, user)
    if not user.is_active:
        raise InvalidInput("The account is shut.", field="user", remedy="Choose another user.")
    name = name.strip()
    if not name or len(name) > 120 or "\x00" in name:
        raise InvalidInput(
            "A token needs a name of 1 to 120 characters.", field="name", remedy="Say its use."
        )
    wanted = sorted(set(scopes))
    unknown = [s for s in wanted if s not in SCOPES]
    if unknown or not wanted:
        raise InvalidInput(
            f"Unknown scope: {', '.join(unknown)}." if unknown else "A token needs a scope.",
            field="scopes",
            remedy=f"Choose from {', '.join(SCOPES)}.",
        )
    now = clock.now()
    if not now < expires_at <= now + LONGEST_TOKEN:
        raise InvalidInput(
            "A token expires, at most 366 days from now.",
            field="expires_at",
            remedy="Choose a date within a year.",
        )
    prefix = secrets.token_hex(4)
    secret = f"gt_{prefix}_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(
        user=user,
        name=name,
        prefix=f"gt_{prefix}",
        token_hash=secret_hash(secret),
        scopes=wanted,
        expires_at=expires_at,
        created_by_id=actor.pk if isinstance(actor, User) else None,
    )
    record(
        "access.token_created",
        actor=actor,
        obj=token,
        object_name=f"{name} ({token.prefix}…)",
        summary=f"{actor.name} created the token {name} for {user.name}.",
        changes={"scopes": wanted, "expires_at": expires_at, "user": str(user.pk)},
    )
    return token, secret


@transaction.atomic
def revoke_token(*, actor: Actor, token: ApiToken, reason: str = "") -> None:
    """Refused from the next request on. Idempotent."""
    _require_own_or_manager(actor, token.user)
    changed = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(
        revoked_at=clock.now(), revoke_reason=reason[:200]
    )
    if changed:
        record(
            "access.token_revoked",
            actor=actor,
            obj=token,
            object_name=f"{token.name} ({token.prefix}…)",
            summary=f"{actor.name} revoked the token {token.name} of {token.user.name}.",
            changes={"reason": reason},
        )
    token.refresh_from_db()


def end_session(*, actor: Actor, session: UserSession, reason: str) -> None:
    """Signed out at its next request. Idempotent."""
    _require_own_or_manager(actor, session.user)
    _end(actor, UserSession.objects.filter(pk=session.pk), session.user, reason)
    session.refresh_from_db()


def end_other_sessions(*, auth: AuthContext, reason: str) -> int:
    """All of one's own sessions but the one that asks. Returns how many."""
    rows = UserSession.objects.filter(user=auth.user)
    if auth.session is not None:
        rows = rows.exclude(pk=auth.session.pk)
    return _end(auth.user, rows, auth.user, reason)


def end_all_sessions(*, actor: Actor, user: User, reason: str) -> int:
    _require_own_or_manager(actor, user)
    return _end(actor, UserSession.objects.filter(user=user), user, reason)


@transaction.atomic
def _end(actor: Actor, rows: QuerySet[UserSession], user: User, reason: str) -> int:
    live = list(rows.filter(ended_at__isnull=True).select_for_update())
    ended = UserSession.objects.filter(pk__in=[r.pk for r in live]).update(
        ended_at=clock.now(), end_reason=reason[:200]
    )
    for row in live:
        record(
            "access.session_ended",
            actor=actor,
            obj=row,
            object_name=f"{user.name} on {row.device or 'unknown device'}",
            summary=f"{actor.name} ended a session of {user.name} on {row.device or '?'}.",
            changes={"reason": reason},
        )
    return ended


@transaction.atomic
def lock_out(*, actor: Actor, user: User, reason: str) -> None:
    """Shut an account, end its sessions and revoke its tokens, in one act."""
    accounts.deactivate_user(actor=actor, user=user, reason=reason)
    end_all_sessions(actor=actor, user=user, reason=reason)
    for token in ApiToken.objects.filter(user=user, revoked_at__isnull=True):
        revoke_token(actor=actor, token=token, reason=reason)


@transaction.atomic
def demand_reauth(*, user: User, since: dt.datetime, reason: str, source: str) -> ReauthDemand:
    """Sessions and tokens older than `since` may not decide. Idempotent by (user, source)."""
    demand, created = ReauthDemand.objects.get_or_create(
        user=user, source=source, defaults={"since": since, "reason": reason[:300]}
    )
    if created:
        record(
            "access.reauth_demanded",
            actor=SYSTEM,
            obj=demand,
            object_name=user.name,
            summary=f"{user.name} must sign in afresh before deciding: {reason}",
            changes={"since": since, "source": source},
        )
    return demand


@transaction.atomic
def lift_reauth(*, actor: Actor, demand: ReauthDemand, reason: str) -> None:
    """A named person takes a demand back. Idempotent."""
    require(actor, "control.reverse")
    changed = ReauthDemand.objects.filter(pk=demand.pk, lifted_at__isnull=True).update(
        lifted_at=clock.now(), lifted_by_id=actor.pk if isinstance(actor, User) else None
    )
    if changed:
        record(
            "access.reauth_lifted",
            actor=actor,
            obj=demand,
            object_name=demand.user.name,
            summary=f"{actor.name} lifted the demand on {demand.user.name} to sign in afresh.",
            changes={"reason": reason},
        )
    demand.refresh_from_db()


def require_fresh(auth: AuthContext) -> None:
    """Raise ReauthenticationRequired when the session or token is too old to decide."""
    if auth.token is not None:
        if "decide" not in auth.token.scopes:
            raise NotAllowed(
                "This token may not decide.", remedy="Use one with the scope `decide`, or a page."
            )
        proven = auth.token.created_at
    elif auth.session is not None:
        proven = auth.session.authenticated_at
        oldest = dt.timedelta(minutes=int(settings.GOVTRACK.get("DECISION_MAX_AGE_MINUTES", 720)))
        if clock.now() - proven > oldest:
            raise ReauthenticationRequired(
                "You signed in too long ago to decide.",
                remedy="Confirm that it is you, then go on.",
            )
    else:
        raise ReauthenticationRequired(
            "A decision needs a signed-in session or a token.", remedy="Sign in, then go on."
        )
    demand = (
        ReauthDemand.objects.filter(user=auth.user, lifted_at__isnull=True, since__gt=proven)
        .order_by("-since")
        .first()
    )
    if demand is not None:
        fresh = "Make a new token" if auth.token else "Confirm that it is you"
        raise ReauthenticationRequired(demand.reason, remedy=f"{fresh}, then go on.")


@transaction.atomic
def create_setup_link() -> str:
    """The secret of a link by which the first administrator is made; older links are void."""
    SetupLink.objects.filter(used_at__isnull=True).update(used_at=clock.now())
    secret = secrets.token_urlsafe(32)
    SetupLink.objects.create(
        secret_hash=secret_hash(secret), expires_at=clock.now() + SETUP_LINK_LIFE
    )
    return secret


def open_setup_link(secret: str) -> SetupLink:
    """Raises NotFound for one that is wrong, used, expired, or not needed any more."""
    link = SetupLink.objects.filter(
        secret_hash=secret_hash(secret), used_at__isnull=True, expires_at__gt=clock.now()
    ).first()
    if link is None or people.has_administrator():
        raise NotFound(
            "This set-up link is used, expired or wrong.",
            remedy="Start `govtrack up` again for a new one, or run `govtrack createadmin`.",
        )
    return link


@transaction.atomic
def use_setup_link(*, secret: str, email: str, display_name: str, password: str) -> User:
    """Make the first administrator; the link is then used up."""
    link = open_setup_link(secret)
    taken = SetupLink.objects.filter(pk=link.pk, used_at__isnull=True).update(used_at=clock.now())
    if not taken:
        raise NotFound("This set-up link was used a moment ago.")
    return accounts.create_first_admin(email=email, display_name=display_name, password=password)


def may_manage(actor: User) -> bool:
    return can(actor, "access.manage_others")
