"""Who is at the door: live sessions, API tokens, and demands to sign in afresh."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core import clock
from apps.core.models import BaseModel


class UserSession(BaseModel):
    """One sign-in on one surface. The session key itself is never stored here, only its hash."""

    class Surface(models.TextChoices):
        BROWSER = "browser", "Browser"
        CLI = "cli", "Command line"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="user_sessions"
    )
    key_hash = models.CharField(max_length=64, unique=True)
    surface = models.CharField(max_length=10, choices=Surface.choices, default=Surface.BROWSER)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=400, blank=True)
    device = models.CharField(max_length=120, blank=True)
    authenticated_at = models.DateTimeField(default=clock.now)
    last_seen_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["user", "-last_seen_at"],
                name="session_live_by_user",
                condition=models.Q(ended_at__isnull=True),
            )
        ]


class ApiToken(BaseModel):
    """A bearer token: shown once, stored as a SHA-256 of 32 random bytes."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=120)
    prefix = models.CharField(max_length=12)
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoke_reason = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")),
                name="api_token_expires_after_creation",
            )
        ]


class ReauthDemand(BaseModel):
    """Sessions authenticated before `since` must sign in afresh before they may decide.

    Made by a policy when a severe change is found; lifted by a named person or by expiry.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reauth_demands"
    )
    since = models.DateTimeField()
    reason = models.CharField(max_length=300)
    source = models.CharField(max_length=120)
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "source"], name="reauth_demand_once_per_source")
        ]


class SetupLink(BaseModel):
    """A one-time link to create the first administrator; only the hash of its secret is kept."""

    secret_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
