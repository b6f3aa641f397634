"""People, teams and roles. A person without a role may see and do nothing."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models.functions import Lower

from apps.core import clock
from apps.core.ids import uuid7
from apps.core.models import BaseModel


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", "Administrator"
    GOVERNANCE_LEAD = "governance_lead", "Governance lead"
    MODEL_OWNER = "model_owner", "Model owner"
    VALIDATOR = "validator", "Validator"
    AUDITOR = "auditor", "Auditor"
    SERVICE = "service", "Service"


class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField("e-mail address")
    display_name = models.CharField(max_length=200, blank=True)
    is_service = models.BooleanField(default=False)

    objects: ClassVar[UserManager[User]] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return self.display_name or self.email or self.username


class Team(BaseModel):
    name = models.CharField(max_length=200, unique=True)
    members = models.ManyToManyField(User, related_name="teams", blank=True)

    def __str__(self) -> str:
        return self.name


class RoleAssignment(BaseModel):
    """A role over everything (`team` empty) or over one team's objects only."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_assignments")
    role = models.CharField(max_length=20, choices=Role.choices)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE)
    granted_by = models.ForeignKey(
        User, null=True, on_delete=models.SET_NULL, related_name="roles_granted"
    )
    granted_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "team"],
                nulls_distinct=False,
                name="role_assignment_once",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="role_assignment_known_role"
            ),
        ]
