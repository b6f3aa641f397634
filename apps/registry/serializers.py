"""Providers to approvals. An endpoint's credential goes in and never comes out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.models import Team
from apps.accounts.serializers import PersonField, VisibleField
from apps.core.serializers import FiniteFloatField, Ref, Row, Strict
from apps.registry.models import (
    AIModel,
    Approval,
    Assumption,
    Endpoint,
    ModelVersion,
    Provider,
    UseCase,
)

MAX_INT = 2_147_483_647


class ProviderRow(Row):
    class Meta:
        model = Provider
        fields = (
            "id",
            "slug",
            "name",
            "website",
            "terms",
            "row_version",
            "created_at",
            "updated_at",
        )


class ProviderChanges(Strict):
    name = serializers.CharField(max_length=200)
    website = serializers.URLField(max_length=200, required=False, allow_blank=True)
    terms = serializers.CharField(max_length=20_000, required=False, allow_blank=True)


class NewProvider(ProviderChanges):
    slug = serializers.SlugField(max_length=80)


class EndpointRow(Row):
    credential = serializers.SerializerMethodField(
        help_text='"none", "env:NAME", or "set". Never the secret itself.'
    )

    class Meta:
        model = Endpoint
        fields = (
            "id",
            "provider",
            "name",
            "base_url",
            "api_style",
            "credential",
            "region",
            "allow_private_address",
            "max_concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "timeout_seconds",
            "active",
            "row_version",
            "created_at",
            "updated_at",
        )

    def get_credential(self, endpoint: Endpoint) -> str:
        if endpoint.credential_ciphertext:
            return "set"
        if endpoint.credential_ref.startswith("env:"):
            return endpoint.credential_ref
        return "set" if endpoint.credential_ref else "none"


class EndpointChanges(Strict):
    name = serializers.CharField(max_length=200)
    base_url = serializers.CharField(max_length=500)
    api_style = serializers.ChoiceField(choices=Endpoint.ApiStyle.choices, required=False)
    credential = serializers.CharField(
        max_length=4000,
        required=False,
        allow_blank=True,
        write_only=True,
        trim_whitespace=False,
        help_text='"env:NAME", "file:/path" or "plain:SECRET" (encrypted at rest); "" for none.',
    )
    region = serializers.CharField(max_length=80, required=False, allow_blank=True)
    allow_private_address = serializers.BooleanField(required=False)
    max_concurrency = serializers.IntegerField(min_value=1, max_value=1000, required=False)
    requests_per_minute = serializers.IntegerField(
        min_value=1, max_value=MAX_INT, required=False, allow_null=True
    )
    tokens_per_minute = serializers.IntegerField(
        min_value=1, max_value=MAX_INT, required=False, allow_null=True
    )
    timeout_seconds = serializers.IntegerField(min_value=1, max_value=3600, required=False)


class NewEndpoint(EndpointChanges):
    provider = VisibleField(queryset=Provider.objects.all())


class EndpointPatch(EndpointChanges):
    active = serializers.BooleanField(required=False)


class ModelRow(Row):
    class Meta:
        model = AIModel
        fields = ("id", "provider", "name", "description", "created_at")


class NewModel(Strict):
    provider = VisibleField(queryset=Provider.objects.all())
    name = serializers.CharField(max_length=200)
    description = serializers.CharField(max_length=20_000, required=False, allow_blank=True)


class VersionRow(Row):
    class Meta:
        model = ModelVersion
        fields = (
            "id",
            "model",
            "endpoint",
            "label",
            "requested_name",
            "pin_kind",
            "parameters",
            "system_prompt",
            "tools",
            "config_hash",
            "owner",
            "team",
            "created_at",
        )


class NewVersion(Strict):
    model = VisibleField(queryset=AIModel.objects.all())
    endpoint = VisibleField(queryset=Endpoint.objects.select_related("provider"))
    label: Any = serializers.CharField(max_length=200)
    requested_name = serializers.CharField(max_length=300)
    pin_kind = serializers.ChoiceField(choices=ModelVersion.PinKind.choices)
    parameters = serializers.DictField(required=False, help_text="Sampling: temperature, seed, …")
    system_prompt = serializers.CharField(
        max_length=200_000, required=False, allow_blank=True, trim_whitespace=False
    )
    tools = serializers.ListField(child=serializers.DictField(), required=False)
    owner = PersonField(required=False)
    team = VisibleField(
        queryset=Team.objects.all(), team_path="id", required=False, allow_null=True
    )


class UseCaseRow(Row):
    class Meta:
        model = UseCase
        fields = (
            "id",
            "slug",
            "name",
            "description",
            "process",
            "owner",
            "team",
            "risk_tier",
            "model_role",
            "regulations",
            "gate_fails_open",
            "row_version",
            "created_at",
            "updated_at",
        )


class UseCaseChanges(Strict):
    name = serializers.CharField(max_length=200)
    risk_tier = serializers.IntegerField(min_value=1, max_value=4, help_text="1 is the highest.")
    model_role = serializers.ChoiceField(choices=UseCase.ModelRole.choices)
    description = serializers.CharField(max_length=20_000, required=False, allow_blank=True)
    process = serializers.CharField(max_length=200, required=False, allow_blank=True)
    owner = PersonField(required=False)
    team = VisibleField(
        queryset=Team.objects.all(), team_path="id", required=False, allow_null=True
    )
    regulations = serializers.ListField(
        child=serializers.CharField(max_length=200), max_length=50, required=False
    )
    gate_fails_open = serializers.BooleanField(required=False)


class NewUseCase(UseCaseChanges):
    slug = serializers.SlugField(max_length=80)


class AssumptionRow(Row):
    class Meta:
        model = Assumption
        fields = (
            "id",
            "approval",
            "code",
            "sentence",
            "suite_slug",
            "metric_key",
            "comparator",
            "threshold",
            "tolerance",
            "criticality",
        )


class NewAssumption(Strict):
    code = serializers.CharField(max_length=20)
    sentence = serializers.CharField(max_length=2000)
    suite_slug = serializers.SlugField(max_length=80)
    metric_key = serializers.CharField(max_length=120)
    comparator = serializers.ChoiceField(choices=Assumption.Comparator.choices)
    threshold = FiniteFloatField()
    tolerance = FiniteFloatField(min_value=0, required=False, default=0.0)
    criticality = serializers.ChoiceField(choices=Assumption.Criticality.choices)


class InForce(serializers.Serializer[Any]):
    start = serializers.DateTimeField(allow_null=True)
    end = serializers.DateTimeField(allow_null=True)


class ApprovalRow(Row):
    name = serializers.CharField(source="__str__", read_only=True)
    assumptions = AssumptionRow(many=True, read_only=True)
    in_force = serializers.SerializerMethodField()

    class Meta:
        model = Approval
        fields = (
            "id",
            "number",
            "name",
            "use_case",
            "model_version",
            "state",
            "held_from",
            "state_reason",
            "conditions",
            "rationale",
            "in_force",
            "expires_at",
            "requested_by",
            "validated_by",
            "validated_at",
            "approved_by",
            "approved_at",
            "supersedes",
            "assumptions",
            "row_version",
            "created_at",
            "updated_at",
        )

    @extend_schema_field(InForce(allow_null=True))
    def get_in_force(self, approval: Approval) -> dict[str, Any] | None:
        span = approval.in_force
        return InForce({"start": span.lower, "end": span.upper}).data if span else None


class NewApproval(Strict):
    use_case = VisibleField(queryset=UseCase.objects.all(), team_path="team")
    model_version = VisibleField(queryset=ModelVersion.objects.all(), team_path="team")
    rationale = serializers.CharField(max_length=20_000)
    conditions = serializers.CharField(max_length=20_000, required=False, allow_blank=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    assumptions = NewAssumption(
        many=True,
        max_length=100,  # type: ignore[call-arg]
    )


class Approve(Strict):
    conditional = serializers.BooleanField(
        required=False, default=False, help_text="Approve only under the conditions written down."
    )


class GateAnswerRow(serializers.Serializer[Any]):
    answer = serializers.ChoiceField(choices=["allow", "conditional", "hold", "deny"])
    reason = serializers.CharField()
    use_case = serializers.CharField(help_text="Slug.")
    model_version = Ref()
    approval = Ref(allow_null=True)
    conditions = serializers.CharField(allow_blank=True, help_text="Where it is conditional.")
    decided = serializers.BooleanField(
        help_text="False: the gate could not decide; it failed closed or open as the use case says."
    )
    checked_at = serializers.DateTimeField()
