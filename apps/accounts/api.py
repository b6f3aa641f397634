"""Me, people (administrators), teams, roles and who holds them."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df
from django.shortcuts import get_object_or_404
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.accounts import services
from apps.accounts.models import Role, RoleAssignment, Team, User
from apps.accounts.permissions import ACTIONS, roles_of, visible
from apps.accounts.serializers import (
    AssignmentRow,
    Me,
    NewAssignment,
    NewTeam,
    NewUser,
    RoleRow,
    TeamRow,
    UserRow,
)
from apps.core.api import Detailed, FilterSet, Listed, Resource, by_id, creates, example


class VisibleResource(Resource):
    """Rows of the caller's teams. `team_path` leads from the row to its team; None means that
    the rows are the organisation's own, seen by everybody who holds a role."""

    required_action = "view"
    team_path: ClassVar[str | None] = "team"

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        user = self.request.user
        if self.team_path is None:
            return queryset if roles_of(user) else queryset.none()
        return visible(user, queryset, team_path=self.team_path)


class ChildResource(VisibleResource):
    """Rows that are read through their parent's address (`runs/{run_id}/samples`): who may see
    the parent sees them, for others the parent does not exist."""

    parent_queryset: ClassVar[Any]
    parent_team_path: ClassVar[str | None] = None
    parent_field: ClassVar[str]
    child_path: ClassVar[str] = ""  # from the row to its parent, where it is not parent_field

    @cached_property
    def parent(self) -> Any:
        queryset = self.parent_queryset.all()
        if self.parent_team_path:
            queryset = visible(self.request.user, queryset, team_path=self.parent_team_path)
        elif not roles_of(self.request.user):
            queryset = queryset.none()
        return get_object_or_404(queryset, pk=self.kwargs[f"{self.parent_field}_id"])

    def get_queryset(self) -> Any:
        queryset = Resource.get_queryset(self)
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.filter(**{self.child_path or self.parent_field: self.parent})


class MeResource(Resource):
    serializer_class = Me
    open_without_role = True

    @extend_schema(summary="Who am I, and what may I do?", responses=Me, filters=False)
    def show(self, request: Any) -> Response:
        return Response(self.get_serializer(request.user).data)


class UserFilter(FilterSet):
    email = df.CharFilter(lookup_expr="iexact", label="The whole address, in any case.")

    class Meta:
        model = User
        fields = ("is_active", "is_service")

    since = df.IsoDateTimeFilter(field_name="date_joined", lookup_expr="gte")
    until = df.IsoDateTimeFilter(field_name="date_joined", lookup_expr="lt")


class UserResource(Listed, Detailed, Resource):
    required_action = "accounts.manage"
    scopes: ClassVar = dict.fromkeys(("create", "deactivate", "end_sessions"), "admin")
    queryset = User.objects.prefetch_related("role_assignments__team")
    serializer_class = UserRow
    filterset_class = UserFilter
    ordering_fields = ("date_joined", "email")

    @creates(
        request=NewUser,
        response=UserRow,
        summary="Create a person or a service account",
        examples=[
            example(
                "A validator",
                {
                    "email": "vera@northwind.example",
                    "display_name": "Vera Validator",
                    "roles": ["validator"],
                },
            )
        ],
    )
    def create(self, request: Any) -> Response:
        user = services.create_user(actor=request.user, **self.body(NewUser))
        return self.shown(user, status=201)


class TeamResource(Listed, Detailed, VisibleResource):
    team_path = "id"
    queryset = Team.objects.all()
    serializer_class = TeamRow
    scopes: ClassVar = {"create": "admin"}
    ordering_fields = ("name", "created_at")

    @creates(request=NewTeam, response=TeamRow, summary="Create a team")
    def create(self, request: Any) -> Response:
        team = services.create_team(actor=request.user, **self.body(NewTeam))
        return self.shown(team, status=201)


class RoleResource(Resource):
    serializer_class = RoleRow
    pagination_class = None

    @extend_schema(
        summary="The roles and what each may do", responses=RoleRow(many=True), filters=False
    )
    def list(self, request: Any) -> Response:
        rows = [
            {
                "role": role.value,
                "label": role.label,
                "actions": sorted(name for name, roles in ACTIONS.items() if role in roles),
            }
            for role in Role
        ]
        return Response(RoleRow(rows, many=True).data)


class AssignmentFilter(FilterSet):
    user = by_id("user")
    team = by_id("team")

    class Meta:
        model = RoleAssignment
        fields = ("role",)


class AssignmentResource(Listed, Detailed, Resource):
    required_action = "accounts.manage"
    scopes: ClassVar = dict.fromkeys(("create", "destroy"), "admin")
    queryset = RoleAssignment.objects.select_related("user", "team", "granted_by")
    serializer_class = AssignmentRow
    filterset_class = AssignmentFilter

    @creates(
        request=NewAssignment,
        response=AssignmentRow,
        summary="Grant a role, over everything or over one team",
        examples=[example("Lead", {"user": "lena@northwind.example", "role": "governance_lead"})],
    )
    def create(self, request: Any) -> Response:
        assignment = services.grant_role(actor=request.user, **self.body(NewAssignment))
        return self.shown(assignment, status=201)

    @extend_schema(summary="Take a role away", responses={204: None})
    def destroy(self, request: Any, pk: Any = None) -> Response:
        services.revoke_role(actor=request.user, assignment=self.get_object())
        return Response(status=204)
