"""Verbs at the door: tokens, sessions, demands to sign in afresh, the one-time set-up link."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable

from allauth.core.exceptions import ReauthenticationRequired as AllauthReauthenticationRequired
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from apps.access import selectors, sessions
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
# What a person alone may hand to a machine: a page or a token of theirs must be fresh for these.
GRAVE_SCOPES = frozenset({"decide", "admin"})
LONGEST_TOKEN = dt.timedelta(days=366)
SETUP_LINK_LIFE = dt.timedelta(hours=1)


class FreshSignInRequired(ReauthenticationRequired, AllauthReauthenticationRequired):
    """On a page allauth answers it: it keeps the form that was sent, asks for the password (or a
    code) and then sends the form again. In the API it is a 403 problem."""


def secret_hash(secret: str) -> str:
    """SHA-256 hex. The secrets are 32 random bytes, so a slow password hash adds nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _require_own_or_manager(actor: Actor, user: User) -> None:
    if str(actor.pk) != str(user.pk):
        require(actor, "access.manage_others")


@transaction.atomic
def create_token(
    *,
    actor: Actor,
    user: User,
    name: str,
    scopes: Iterable[str],
    expires_at: dt.datetime,
    auth: AuthContext | None = None,
) -> tuple[ApiToken, str]:
    """A token and its secret, which is told this once.

    For oneself, or by an administrator for a service account. `auth` is how the actor came in (None
    for somebody at the machine itself): a token counts as a fresh sign-in from its birth, so an old
    sign-in gets none that may decide, and a token none that may do more than itself.
    Raises InvalidInput, NotAllowed, ReauthenticationRequired.
    """
    _require_own_or_manager(actor, user)
    if isinstance(actor, User) and actor.pk != user.pk and not user.is_service:
        raise NotAllowed(
            "Nobody makes a token that acts as another person.",
            field="user",
            remedy="Name a service account, or ask the person to make it.",
        )
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
    if auth is not None and auth.token is not None and not set(wanted) <= set(auth.token.scopes):
        raise NotAllowed(
            "A token cannot make one that may do more than itself.",
            field="scopes",
            remedy=f"Ask for some of: {', '.join(auth.token.scopes)}.",
        )
    if auth is not None and GRAVE_SCOPES & set(wanted):
        require_recent(auth)
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
    reason = _line(reason)
    changed = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(
        revoked_at=clock.now(), revoke_reason=reason
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
    reason = _line(reason)
    # What is over by age already is written down as that.
    sessions.end_overdue(rows)
    live = list(rows.filter(ended_at__isnull=True).order_by("pk").select_for_update(of=("self",)))
    ended = UserSession.objects.filter(pk__in=[r.pk for r in live]).update(
        ended_at=clock.now(), end_reason=reason
    )
    for row in live:
        record(
            "access.session_ended",
            actor=actor,
            obj=row,
            object_name=sessions.printed(row),
            summary=f"{actor.name} ended the session of {sessions.printed(row)}.",
            changes={"reason": reason},
        )
    return ended


@transaction.atomic
def lock_out(*, actor: Actor, user: User, reason: str) -> None:
    """Shut an account, end its sessions and revoke its tokens, in one act."""
    # The sessions first: of a shut account they would count as over by themselves.
    end_all_sessions(actor=actor, user=user, reason=reason)
    accounts.deactivate_user(actor=actor, user=user, reason=reason)
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
    """A named person takes a demand on somebody else back. Idempotent.

    Raises NotAllowed for a demand on oneself: the policy asks that person for a fresh proof.
    """
    require(actor, "control.reverse")
    if demand.user_id == actor.pk:
        raise NotAllowed(
            "Nobody lifts a demand on themselves.",
            remedy="Sign in afresh (that satisfies it), or ask a colleague.",
        )
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
    """Was it proven recently enough who decides? Asked before anything that moves a gate.

    A session: confirmed after every standing demand, and within DECISION_MAX_AGE_MINUTES. A token:
    the scope `decide`, made after every standing demand.
    Raises ReauthenticationRequired (naming the demand's reason) and NotAllowed (scope).
    """
    if auth.token is not None and "decide" not in auth.token.scopes:
        raise NotAllowed(
            "This token may not decide.", remedy="Use one with the scope `decide`, or a page."
        )
    require_recent(auth)


def require_recent(auth: AuthContext) -> None:
    """`require_fresh` without the question whether a token may decide."""
    proven = _proven_at(auth)
    if auth.token is None:
        oldest = dt.timedelta(minutes=settings.GOVTRACK.get("DECISION_MAX_AGE_MINUTES", 720))
        if clock.now() - proven > oldest:
            raise FreshSignInRequired(
                "You signed in too long ago for this.",
                remedy="Confirm that it is you, then go on.",
            )
    demand = selectors.standing_demand(auth.user, proven)
    if demand is not None:
        fresh = "Make a new token on a page" if auth.token else "Confirm that it is you"
        raise FreshSignInRequired(demand.reason, remedy=f"{fresh}, then go on.")


def _proven_at(auth: AuthContext) -> dt.datetime:
    """As the database has it now: the request may have read its session before the person
    confirmed, or before somebody ended it. Raises ReauthenticationRequired for none that lives."""
    found: dt.datetime | None = None
    if auth.token is not None:
        tokens = ApiToken.objects.filter(pk=auth.token.pk, user=auth.user, revoked_at__isnull=True)
        found = tokens.values_list("created_at", flat=True).first()
    elif auth.session is not None:
        rows = UserSession.objects.filter(Q(pk=auth.session.pk, user=auth.user), sessions.live())
        found = rows.values_list("authenticated_at", flat=True).first()
    if found is None:
        raise FreshSignInRequired(
            "This needs a live session or token.", remedy="Sign in, then go on."
        )
    return found


@transaction.atomic
def note_password_change(*, user: User, session: UserSession | None) -> int:
    """A new password ends every other session. Returns how many."""
    record(
        "access.password_changed",
        actor=user,
        obj=user,
        object_name=user.name,
        summary=f"{user.name} changed the password.",
    )
    auth = AuthContext(user=user, session=session)
    return end_other_sessions(auth=auth, reason="The password was changed.")


@transaction.atomic
def note_second_factor(*, user: User, verb: str, kind: str) -> None:
    record(
        "access.second_factor_changed",
        actor=user,
        obj=user,
        object_name=user.name,
        summary=f"{user.name} {verb} a second factor: {kind}.",
        changes={"verb": verb, "kind": kind},
    )


@transaction.atomic
def create_setup_link() -> str:
    """The secret of a link by which the first administrator is made; older links are void."""
    SetupLink.objects.filter(used_at__isnull=True).update(used_at=clock.now())
    secret = secrets.token_urlsafe(32)
    link = SetupLink.objects.create(
        secret_hash=secret_hash(secret), expires_at=clock.now() + SETUP_LINK_LIFE
    )
    record(
        "access.setup_link_created",
        actor=SYSTEM,
        obj=link,
        object_name="set-up link",
        summary="A one-time link to create the first administrator was made.",
        changes={"expires_at": link.expires_at},
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
            remedy="Start “govtrack up” again for a new one, or run “govtrack createadmin”.",
        )
    return link


@transaction.atomic
def use_setup_link(*, secret: str, email: str, display_name: str, password: str) -> User:
    """Make the first administrator; the link is then used up."""
    link = open_setup_link(secret)
    taken = SetupLink.objects.filter(pk=link.pk, used_at__isnull=True).update(used_at=clock.now())
    if not taken:
        raise NotFound("This set-up link was used a moment ago.", remedy="Sign in instead.")
    return accounts.create_first_admin(email=email, display_name=display_name, password=password)


def may_manage(actor: User) -> bool:
    return can(actor, "access.manage_others")


def _line(reason: str) -> str:
    """A reason as one printable line that fits its column."""
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())[:200]
