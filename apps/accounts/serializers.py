"""People, teams and roles; and the fields by which other apps refer to what a caller may see."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.models import Role, RoleAssignment, Team, User
from apps.accounts.permissions import ACTIONS, roles_of, visible
from apps.core.serializers import Ref, Row, Strict


@extend_schema_field(OpenApiTypes.UUID)
class VisibleField(serializers.PrimaryKeyRelatedField):
    """The id of an object that the caller may see; what they may not see does not exist."""

    default_error_messages = {
        "does_not_exist": "There is no such object, or you may not see it.",
        "incorrect_type": "Give the id (a UUID) as a string.",
    }

    def __init__(self, *, team_path: str | None = None, **kwargs: Any) -> None:
        self.team_path = team_path
        super().__init__(**kwargs)

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        if self.team_path is None or queryset is None:
            return queryset
        return visible(self.context["request"].user, queryset, team_path=self.team_path)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return super().to_internal_value(uuid.UUID(str(data)))
        except ValueError:
            self.fail("incorrect_type")


@extend_schema_field(OpenApiTypes.STR)
class PersonField(serializers.Field):  # type: ignore[type-arg]
    """A person by id or e-mail address."""

    default_error_messages = {"unknown": "There is no active person with this id or e-mail."}

    def to_internal_value(self, data: Any) -> User:
        people = User.objects.filter(is_active=True)
        try:
            found = people.filter(pk=uuid.UUID(str(data))).first()
        except ValueError:
            found = people.filter(email__iexact=str(data)[:254]).first()
        if found is None:
            self.fail("unknown")
        return found

    def to_representation(self, value: User) -> str:
        return str(value.pk)


class TeamRow(Row):
    class Meta:
        model = Team
        fields = ("id", "name", "created_at")


class NewTeam(Strict):
    name = serializers.CharField(max_length=200)


class AssignmentRow(Row):
    class Meta:
        model = RoleAssignment
        fields = ("id", "user", "role", "team", "granted_by", "granted_at")


class HeldRole(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=Role.choices)
    team = Ref(allow_null=True)


class UserRow(Row):
    roles = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = (
            "id",
            "email",
            "display_name",
            "is_service",
            "is_active",
            "date_joined",
            "last_login",
            "roles",
        )

    @extend_schema_field(HeldRole(many=True))
    def get_roles(self, user: User) -> list[dict[str, Any]]:
        return [
            {
                "id": str(a.pk),
                "role": a.role,
                "team": {"id": str(a.team.pk), "name": a.team.name} if a.team else None,
            }
            for a in user.role_assignments.all()
        ]


class Me(UserRow):
    actions = serializers.SerializerMethodField(help_text="What your roles let you do somewhere.")

    class Meta(UserRow.Meta):
        fields = (*UserRow.Meta.fields, "actions")  # type: ignore[assignment]

    def get_actions(self, user: User) -> list[str]:
        held = roles_of(user)
        return sorted(name for name, roles in ACTIONS.items() if roles & held)


class NewUser(Strict):
    email = serializers.EmailField(max_length=254)
    display_name = serializers.CharField(max_length=200)
    password = serializers.CharField(
        max_length=200, required=False, write_only=True, trim_whitespace=False
    )
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=Role.choices), required=False, default=list
    )
    team = VisibleField(queryset=Team.objects.all(), required=False, allow_null=True, default=None)
    is_service = serializers.BooleanField(required=False, default=False)


class NewAssignment(Strict):
    user = PersonField()
    role = serializers.ChoiceField(choices=Role.choices)
    team = VisibleField(queryset=Team.objects.all(), required=False, allow_null=True, default=None)


class RoleRow(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)
    label: Any = serializers.CharField()
    actions = serializers.ListField(child=serializers.CharField())
