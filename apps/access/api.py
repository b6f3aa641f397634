"""Sessions, tokens and demands to sign in afresh: one's own, and for administrators everybody's."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df
from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.response import Response

from apps.access import auth, services
from apps.access.models import ApiToken, ReauthDemand, UserSession
from apps.access.serializers import (
    DemandRow,
    Ended,
    NewToken,
    SessionRow,
    TokenCreated,
    TokenRow,
)
from apps.accounts.api import UserResource as PlainUserResource
from apps.accounts.permissions import can
from apps.accounts.serializers import UserRow
from apps.core.api import Detailed, FilterSet, Listed, Resource, acts, by_id, creates, example
from apps.core.serializers import OptionalReason, Reason


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "apps.access.authentication.ApiTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API token of GovTrack."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "apps.access.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class OwnedResource(Resource):
    """One's own rows; everybody's for those who manage others' access."""

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        user = self.request.user
        return queryset if can(user, "access.manage_others") else queryset.filter(user=user)


class UserResource(PlainUserResource):
    @acts(
        request=Reason,
        response=UserRow,
        summary="Deactivate: ends the person's sessions and tokens",
    )
    def deactivate(self, request: Any, pk: Any = None) -> Response:
        user = self.get_object()
        services.lock_out(actor=request.user, user=user, **self.body(Reason))
        return self.shown(user)

    @acts(request=Reason, response=Ended, summary="End all sessions of a person")
    def end_sessions(self, request: Any, pk: Any = None) -> Response:
        user = self.get_object()
        ended = services.end_all_sessions(actor=request.user, user=user, **self.body(Reason))
        return Response({"ended": ended})


class SessionFilter(FilterSet):
    user = by_id("user")
    live = df.BooleanFilter(
        field_name="ended_at", lookup_expr="isnull", label="Only live ones, or only ended ones."
    )

    class Meta:
        model = UserSession
        fields = ("surface",)


class SessionResource(Listed, Detailed, OwnedResource):
    open_without_role = True
    queryset = UserSession.objects.select_related("user")
    serializer_class = SessionRow
    filterset_class = SessionFilter
    ordering_fields = ("created_at", "last_seen_at")

    def get_serializer_context(self) -> dict[str, Any]:
        context = super().get_serializer_context()
        session = None if self.request is None else auth.of_request(self.request).session
        return {**context, "current_session": session.pk if session else None}

    @acts(
        request=OptionalReason,
        response=SessionRow,
        summary="Log a session out: effective on its next request",
    )
    def end(self, request: Any, pk: Any = None) -> Response:
        session = self.get_object()
        reason = self.body(OptionalReason)["reason"] or "Logged out through the API"
        services.end_session(actor=request.user, session=session, reason=reason)
        return self.shown(session)

    @acts(
        detail=False,
        request=OptionalReason,
        response=Ended,
        summary="Log out all your sessions but the one that asks",
    )
    def end_others(self, request: Any) -> Response:
        reason = self.body(OptionalReason)["reason"] or "Logged out through the API"
        ended = services.end_other_sessions(auth=auth.of_request(request), reason=reason)
        return Response({"ended": ended})


class TokenFilter(FilterSet):
    user = by_id("user")
    live = df.BooleanFilter(
        field_name="revoked_at", lookup_expr="isnull", label="Only those not revoked."
    )

    class Meta:
        model = ApiToken
        fields = ("prefix",)


class TokenResource(Listed, Detailed, OwnedResource):
    scopes: ClassVar = dict.fromkeys(("create", "revoke"), "admin")
    queryset = ApiToken.objects.select_related("user", "created_by")
    serializer_class = TokenRow
    filterset_class = TokenFilter
    ordering_fields = ("created_at", "expires_at")

    @creates(
        request=NewToken,
        response=TokenCreated,
        summary="Create a token; its secret is in this answer and nowhere else",
        redact=("secret",),
        examples=[
            example(
                "For a proxy that asks the gate",
                {"name": "edge", "scopes": ["gate"], "expires_at": "2026-12-31T00:00:00Z"},
            )
        ],
    )
    def create(self, request: Any) -> Response:
        wanted = self.body(NewToken)
        user = wanted.pop("user", request.user)
        token, secret = services.create_token(
            actor=request.user, user=user, auth=auth.of_request(request), **wanted
        )
        return self.shown(token, status=201, extra={"secret": secret})

    @acts(request=OptionalReason, response=TokenRow, summary="Revoke: refused from now on")
    def revoke(self, request: Any, pk: Any = None) -> Response:
        token = self.get_object()
        services.revoke_token(actor=request.user, token=token, **self.body(OptionalReason))
        return self.shown(token)


class DemandFilter(FilterSet):
    user = by_id("user")
    standing = df.BooleanFilter(
        field_name="lifted_at", lookup_expr="isnull", label="Only those not lifted."
    )

    class Meta:
        model = ReauthDemand
        fields = ("source",)


class DemandResource(Listed, Detailed, OwnedResource):
    queryset = ReauthDemand.objects.select_related("user", "lifted_by")
    serializer_class = DemandRow
    filterset_class = DemandFilter
    scopes: ClassVar = {"lift": "admin"}

    @acts(request=Reason, response=DemandRow, summary="Lift a demand to sign in afresh")
    def lift(self, request: Any, pk: Any = None) -> Response:
        demand = self.get_object()
        services.lift_reauth(actor=request.user, demand=demand, **self.body(Reason))
        return self.shown(demand)
