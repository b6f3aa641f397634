"""What is approved, for which use, on what assumptions."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models

from apps.accounts.models import Team
from apps.core.models import BaseModel, VersionedModel

USER = settings.AUTH_USER_MODEL


class Provider(VersionedModel):
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=200, unique=True)
    website = models.URLField(blank=True)
    terms = models.TextField(blank=True, help_text="Terms of use that a user must know of.")

    def __str__(self) -> str:
        return self.name


class Endpoint(VersionedModel):
    """Where and how. The credential is a reference (env:NAME, file:/path) or ciphertext;
    neither is ever returned."""

    class ApiStyle(models.TextChoices):
        CHAT = "chat_completions", "Chat Completions"
        RESPONSES = "responses", "Responses"
        COMPLETIONS = "completions", "Completions (legacy)"

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="endpoints")
    name = models.CharField(max_length=200)
    base_url = models.CharField(max_length=500)
    api_style = models.CharField(max_length=20, choices=ApiStyle.choices, default=ApiStyle.CHAT)
    credential_ref = models.CharField(max_length=300, blank=True)
    credential_ciphertext = models.BinaryField(null=True)
    region = models.CharField(max_length=80, blank=True)
    allow_private_address = models.BooleanField(default=False)
    max_concurrency = models.PositiveIntegerField(default=4)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    timeout_seconds = models.PositiveIntegerField(default=60)
    active = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "name"], name="endpoint_name_once"),
            models.CheckConstraint(
                condition=models.Q(max_concurrency__gte=1), name="endpoint_concurrency_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(api_style__in=["chat_completions", "responses", "completions"]),
                name="endpoint_known_api_style",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider.name} · {self.name}"


class AIModel(BaseModel):
    """A family as the vendor names it."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="model_name_once")]

    def __str__(self) -> str:
        return self.name


class ModelVersion(BaseModel):
    """One exact, immutable request configuration at an endpoint (a trigger keeps it so).

    What is *observed* (returned name, fingerprint) is kept in evaluations and may move.
    """

    class PinKind(models.TextChoices):
        ALIAS = "alias", "Alias"
        SNAPSHOT = "snapshot", "Snapshot"
        DIGEST = "digest", "Digest"

    model = models.ForeignKey(AIModel, on_delete=models.PROTECT, related_name="versions")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="versions")
    label = models.CharField(max_length=200)
    requested_name = models.CharField(max_length=300)
    pin_kind = models.CharField(max_length=10, choices=PinKind.choices)
    parameters = models.JSONField(default=dict)
    system_prompt = models.TextField(blank=True)
    tools = models.JSONField(default=list)
    config_hash = models.CharField(max_length=71)
    owner = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="owned_versions")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "config_hash"], name="model_version_config_once"
            ),
            models.CheckConstraint(
                condition=models.Q(pin_kind__in=["alias", "snapshot", "digest"]),
                name="model_version_known_pin_kind",
            ),
        ]

    def __str__(self) -> str:
        return self.label


class UseCase(VersionedModel):
    class ModelRole(models.TextChoices):
        DECIDES = "decides", "Decides"
        RECOMMENDS = "recommends", "Recommends"
        ASSISTS = "assists", "Assists"
        CHALLENGES = "challenges", "Challenges"

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)
    process = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="owned_use_cases")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT)
    risk_tier = models.PositiveSmallIntegerField()
    model_role = models.CharField(max_length=12, choices=ModelRole.choices)
    regulations = models.JSONField(default=list, blank=True)
    gate_fails_open = models.BooleanField(
        default=False, help_text="What the gate answers when it cannot decide."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(risk_tier__range=(1, 4)), name="use_case_tier_1_to_4"
            )
        ]

    def __str__(self) -> str:
        return self.name


class ApprovalState(models.TextChoices):
    REQUESTED = "requested", "Requested"
    VALIDATED = "validated", "Validated"
    APPROVED = "approved", "Approved"
    CONDITIONAL = "conditional", "Conditional"
    ON_HOLD = "on_hold", "On hold"
    SUSPENDED = "suspended", "Suspended"
    REJECTED = "rejected", "Rejected"
    REVOKED = "revoked", "Revoked"
    EXPIRED = "expired", "Expired"
    SUPERSEDED = "superseded", "Superseded"


class Approval(VersionedModel):
    """use case × model version. In force from the second person's approval until it ends;
    the database refuses two that are in force at once for the same pair."""

    use_case = models.ForeignKey(UseCase, on_delete=models.PROTECT, related_name="approvals")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="approvals"
    )
    number = models.PositiveIntegerField(unique=True)
    state = models.CharField(max_length=12, choices=ApprovalState.choices)
    held_from = models.CharField(max_length=12, blank=True)
    state_reason = models.TextField(blank=True)
    conditions = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    in_force = DateTimeRangeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    requested_by = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="+")
    validated_by = models.ForeignKey(USER, null=True, on_delete=models.PROTECT, related_name="+")
    validated_at = models.DateTimeField(null=True)
    approved_by = models.ForeignKey(USER, null=True, on_delete=models.PROTECT, related_name="+")
    approved_at = models.DateTimeField(null=True)
    supersedes = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="superseded_by"
    )

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="approval_one_in_force",
                expressions=[
                    ("use_case", RangeOperators.EQUAL),
                    ("model_version", RangeOperators.EQUAL),
                    ("in_force", RangeOperators.OVERLAPS),
                ],
                condition=models.Q(in_force__isnull=False),
            ),
            models.CheckConstraint(
                condition=models.Q(approved_by__isnull=True)
                | ~models.Q(approved_by=models.F("requested_by")),
                name="approval_not_by_requester",
            ),
            models.CheckConstraint(
                condition=models.Q(validated_by__isnull=True)
                | ~models.Q(validated_by=models.F("requested_by")),
                name="approval_not_validated_by_requester",
            ),
            models.CheckConstraint(
                condition=models.Q(approved_by__isnull=True)
                | ~models.Q(approved_by=models.F("validated_by")),
                name="approval_two_people",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=ApprovalState.values),
                name="approval_known_state",
            ),
            models.UniqueConstraint(
                fields=["use_case", "model_version"],
                condition=models.Q(state__in=["requested", "validated"]),
                name="approval_one_request_pending",
            ),
        ]

    def __str__(self) -> str:
        return f"A-{self.number}"


class Assumption(BaseModel):
    """A sentence in an approval tied to a suite metric (suite and metric by name: evaluations
    lie to the right). Immutable with its approval."""

    class Comparator(models.TextChoices):
        AT_LEAST = "gte", "at least"
        AT_MOST = "lte", "at most"

    class Criticality(models.TextChoices):
        LOW = "low", "Low"
        MEDIUM = "medium", "Medium"
        HIGH = "high", "High"

    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="assumptions")
    code = models.CharField(max_length=20)
    sentence = models.TextField()
    suite_slug = models.CharField(max_length=80)
    metric_key = models.CharField(max_length=120)
    comparator = models.CharField(max_length=3, choices=Comparator.choices)
    threshold = models.FloatField()
    tolerance = models.FloatField(default=0.0)
    criticality = models.CharField(max_length=6, choices=Criticality.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["approval", "code"], name="assumption_code_once"),
            models.CheckConstraint(
                condition=models.Q(tolerance__gte=0), name="assumption_tolerance_not_negative"
            ),
        ]

    def holds(self, value: float) -> bool:
        if self.comparator == self.Comparator.AT_LEAST:
            return value >= self.threshold - self.tolerance
        return value <= self.threshold + self.tolerance
