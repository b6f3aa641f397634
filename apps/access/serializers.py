"""Sessions, tokens and demands to sign in afresh. A token's secret is shown once, at birth."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.access.models import ApiToken, ReauthDemand, UserSession
from apps.accounts.serializers import PersonField
from apps.core.serializers import Row, Strict

SCOPES = ("read", "write", "run", "gate", "decide", "admin")


class SessionRow(Row):
    current = serializers.SerializerMethodField(help_text="Is it the one that asks?")

    class Meta:
        model = UserSession
        fields = (
            "id",
            "user",
            "current",
            "surface",
            "ip_address",
            "user_agent",
            "device",
            "authenticated_at",
            "last_seen_at",
            "ended_at",
            "end_reason",
            "created_at",
        )

    def get_current(self, session: UserSession) -> bool:
        return session.pk == self.context.get("current_session")


class TokenRow(Row):
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiToken
        fields = (
            "id",
            "user",
            "name",
            "prefix",
            "scopes",
            "expires_at",
            "last_used_at",
            "revoked_at",
            "revoke_reason",
            "created_by",
            "created_at",
        )


class TokenCreated(TokenRow):
    secret = serializers.CharField(
        allow_null=True, help_text="Shown in this answer only; null where the answer is replayed."
    )

    class Meta(TokenRow.Meta):
        fields = (*TokenRow.Meta.fields, "secret")  # type: ignore[assignment]


class NewToken(Strict):
    name = serializers.CharField(max_length=120)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=[(s, s) for s in SCOPES]), allow_empty=False
    )
    expires_at = serializers.DateTimeField()
    user = PersonField(required=False, help_text="A service account (administrators only).")


class Ended(serializers.Serializer[Any]):
    ended = serializers.IntegerField(help_text="How many sessions were ended.")


class DemandRow(Row):
    class Meta:
        model = ReauthDemand
        fields = (
            "id",
            "user",
            "since",
            "reason",
            "source",
            "lifted_at",
            "lifted_by",
            "created_at",
        )
