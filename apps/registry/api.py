"""Providers, endpoints, models, versions, use cases, approvals and what they rest on."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df

from apps.access import auth
from apps.access.services import require_fresh
from apps.accounts.api import VisibleResource
from apps.core.api import (
    Detailed,
    FilterSet,
    Listed,
    acts,
    by_choice,
    by_id,
    changes,
    creates,
    example,
)
from apps.core.serializers import Reason
from apps.registry import services
from apps.registry.models import (
    AIModel,
    Approval,
    ApprovalState,
    Assumption,
    Endpoint,
    ModelVersion,
    Provider,
    UseCase,
)
from apps.registry.serializers import (
    ApprovalRow,
    Approve,
    AssumptionRow,
    EndpointPatch,
    EndpointRow,
    ModelRow,
    NewApproval,
    NewEndpoint,
    NewModel,
    NewProvider,
    NewUseCase,
    NewVersion,
    ProviderChanges,
    ProviderRow,
    UseCaseChanges,
    UseCaseRow,
    VersionRow,
)

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


class ProviderFilter(FilterSet):
    class Meta:
        model = Provider
        fields = ("slug",)


class ProviderResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = Provider.objects.all()
    serializer_class = ProviderRow
    filterset_class = ProviderFilter
    ordering_fields = ("created_at", "name", "slug")

    @creates(
        request=NewProvider,
        response=ProviderRow,
        summary="Register a provider",
        examples=[example("Local Labs", {"slug": "local-labs", "name": "Local Labs"})],
    )
    def create(self, request: Any) -> Any:
        provider = services.create_provider(actor=request.user, **self.body(NewProvider))
        return self.shown(provider, status=201)

    @changes(request=ProviderChanges, response=ProviderRow, summary="Change a provider")
    def partial_update(self, request: Any, pk: Any = None) -> Any:
        provider = self.get_object()
        version = self.version(provider, required=True)
        services.update_provider(
            actor=request.user,
            provider=provider,
            row_version=version,
            **self.body(ProviderChanges, partial=True),
        )
        return self.shown(provider)


class EndpointFilter(FilterSet):
    provider = by_id("provider")

    class Meta:
        model = Endpoint
        fields = ("active",)


class EndpointResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = Endpoint.objects.select_related("provider")
    serializer_class = EndpointRow
    filterset_class = EndpointFilter
    ordering_fields = ("created_at", "name")

    @creates(
        request=NewEndpoint,
        response=EndpointRow,
        summary="Register an endpoint",
        description="The credential is written, never read: answers show only how it is kept.",
        examples=[
            example(
                "With a key from the environment",
                {
                    "provider": SOME_ID,
                    "name": "eu",
                    "base_url": "https://api.example.com/v1",
                    "credential": "env:ACME_API_KEY",
                    "requests_per_minute": 60,
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        endpoint = services.create_endpoint(actor=request.user, **self.body(NewEndpoint))
        return self.shown(endpoint, status=201)

    @changes(
        request=EndpointPatch,
        response=EndpointRow,
        summary="Change an endpoint",
        examples=[example("Another key", {"credential": "env:ACME_API_KEY_2"})],
    )
    def partial_update(self, request: Any, pk: Any = None) -> Any:
        endpoint = self.get_object()
        version = self.version(endpoint, required=True)
        services.update_endpoint(
            actor=request.user,
            endpoint=endpoint,
            row_version=version,
            **self.body(EndpointPatch, partial=True),
        )
        return self.shown(endpoint)


class ModelFilter(FilterSet):
    provider = by_id("provider")

    class Meta:
        model = AIModel
        fields = ("name",)


class ModelResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = AIModel.objects.select_related("provider")
    serializer_class = ModelRow
    filterset_class = ModelFilter
    ordering_fields = ("created_at", "name")

    @creates(request=NewModel, response=ModelRow, summary="Register a model (a family)")
    def create(self, request: Any) -> Any:
        model = services.create_model(actor=request.user, **self.body(NewModel))
        return self.shown(model, status=201)


class VersionFilter(FilterSet):
    model = by_id("model")
    endpoint = by_id("endpoint")
    provider = df.UUIDFilter(field_name="model__provider_id", label="Id of the provider.")
    owner = by_id("owner")
    pin_kind = by_choice(ModelVersion.PinKind)

    class Meta:
        model = ModelVersion
        fields = ("requested_name", "config_hash")


class VersionResource(Listed, Detailed, VisibleResource):
    queryset = ModelVersion.objects.select_related("model", "endpoint__provider", "owner", "team")
    serializer_class = VersionRow
    filterset_class = VersionFilter
    ordering_fields = ("created_at", "label")

    @creates(
        request=NewVersion,
        response=VersionRow,
        summary="Register a model version: one exact request configuration, immutable",
        examples=[
            example(
                "An alias with greedy sampling",
                {
                    "model": SOME_ID,
                    "endpoint": SOME_ID,
                    "label": "assistant-instant (alias)",
                    "requested_name": "assistant-instant",
                    "pin_kind": "alias",
                    "parameters": {"temperature": 0, "seed": 7},
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        version = services.create_version(actor=request.user, **self.body(NewVersion))
        return self.shown(version, status=201)


class UseCaseFilter(FilterSet):
    owner = by_id("owner")
    team = by_id("team")
    model_role = by_choice(UseCase.ModelRole)

    class Meta:
        model = UseCase
        fields = ("slug", "risk_tier")


class UseCaseResource(Listed, Detailed, VisibleResource):
    queryset = UseCase.objects.select_related("owner", "team")
    serializer_class = UseCaseRow
    filterset_class = UseCaseFilter
    ordering_fields = ("created_at", "name", "slug", "risk_tier")

    @creates(
        request=NewUseCase,
        response=UseCaseRow,
        summary="Register a use case",
        examples=[
            example(
                "Claims triage",
                {
                    "slug": "claims-triage",
                    "name": "Claims triage",
                    "risk_tier": 1,
                    "model_role": "recommends",
                    "process": "Claims",
                    "regulations": ["EU AI Act", "SR 11-7"],
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        use_case = services.create_use_case(actor=request.user, **self.body(NewUseCase))
        return self.shown(use_case, status=201)

    @changes(request=UseCaseChanges, response=UseCaseRow, summary="Change a use case")
    def partial_update(self, request: Any, pk: Any = None) -> Any:
        use_case = self.get_object()
        version = self.version(use_case, required=True)
        services.update_use_case(
            actor=request.user,
            use_case=use_case,
            row_version=version,
            **self.body(UseCaseChanges, partial=True),
        )
        return self.shown(use_case)


class ApprovalFilter(FilterSet):
    use_case = by_id("use_case")
    use_case_slug = df.CharFilter(field_name="use_case__slug", label="Slug of the use case.")
    version = by_id("model_version", "Id of the model version.")
    state = by_choice(ApprovalState)

    class Meta:
        model = Approval
        fields = ("number",)


class ApprovalResource(Listed, Detailed, VisibleResource):
    """What opens the gate (validate, approve, release) needs a sign-in as fresh as policies
    demand; what closes it is never made harder."""

    team_path = "use_case__team"
    queryset = Approval.objects.select_related(
        "use_case", "model_version", "requested_by", "validated_by", "approved_by", "supersedes"
    ).prefetch_related("assumptions")
    serializer_class = ApprovalRow
    filterset_class = ApprovalFilter
    ordering_fields = ("created_at", "number")
    scopes: ClassVar = dict.fromkeys(
        ("validate", "approve", "reject", "suspend", "revoke", "hold", "release"), "decide"
    )

    @creates(
        request=NewApproval,
        response=ApprovalRow,
        summary="Request an approval of a version for a use case",
        examples=[
            example(
                "With an assumption tied to a metric",
                {
                    "use_case": SOME_ID,
                    "model_version": SOME_ID,
                    "rationale": "Cheaper than the present one and as good on our suite.",
                    "assumptions": [
                        {
                            "code": "A1",
                            "sentence": "Sorts claims correctly in at least 80 % of cases.",
                            "suite_slug": "claims-triage",
                            "metric_key": "accuracy",
                            "comparator": "gte",
                            "threshold": 0.8,
                            "tolerance": 0.02,
                            "criticality": "high",
                        }
                    ],
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        approval = services.request_approval(actor=request.user, **self.body(NewApproval))
        return self.shown(approval, status=201)

    @acts(response=ApprovalRow, summary="Validate: the independent second look", if_match=True)
    def validate(self, request: Any, pk: Any = None) -> Any:
        approval = self.get_object()
        self.nothing()
        require_fresh(auth.of_request(request))
        services.validate_approval(
            actor=request.user, approval=approval, row_version=self.version(approval)
        )
        return self.shown(approval)

    @acts(
        request=Approve,
        response=ApprovalRow,
        summary="Approve: by somebody who neither requested nor validated",
        if_match=True,
        examples=[example("Under its conditions", {"conditional": True})],
    )
    def approve(self, request: Any, pk: Any = None) -> Any:
        approval = self.get_object()
        require_fresh(auth.of_request(request))
        services.approve_approval(
            actor=request.user,
            approval=approval,
            row_version=self.version(approval),
            **self.body(Approve),
        )
        return self.shown(approval)

    @acts(request=Reason, response=ApprovalRow, summary="Reject a request", if_match=True)
    def reject(self, request: Any, pk: Any = None) -> Any:
        return self._with_reason(services.reject_approval)

    @acts(request=Reason, response=ApprovalRow, summary="Suspend until decided", if_match=True)
    def suspend(self, request: Any, pk: Any = None) -> Any:
        return self._with_reason(services.suspend_approval)

    @acts(request=Reason, response=ApprovalRow, summary="Revoke for good", if_match=True)
    def revoke(self, request: Any, pk: Any = None) -> Any:
        return self._with_reason(services.revoke_approval)

    @acts(request=Reason, response=ApprovalRow, summary="Put on hold: the gate says hold")
    def hold(self, request: Any, pk: Any = None) -> Any:
        approval = self.get_object()
        self.version(approval)
        services.hold_approval(actor=request.user, approval=approval, **self.body(Reason))
        return self.shown(approval)

    @acts(request=Reason, response=ApprovalRow, summary="Release from hold")
    def release(self, request: Any, pk: Any = None) -> Any:
        approval = self.get_object()
        self.version(approval)
        require_fresh(auth.of_request(request))
        services.release_approval(actor=request.user, approval=approval, **self.body(Reason))
        return self.shown(approval)

    def _with_reason(self, verb: Any) -> Any:
        approval = self.get_object()
        verb(
            actor=self.request.user,
            approval=approval,
            row_version=self.version(approval),
            **self.body(Reason),
        )
        return self.shown(approval)


class AssumptionFilter(FilterSet):
    approval = by_id("approval")
    use_case = df.UUIDFilter(field_name="approval__use_case_id", label="Id of the use case.")
    version = df.UUIDFilter(field_name="approval__model_version_id", label="Id of the version.")
    criticality = by_choice(Assumption.Criticality)

    class Meta:
        model = Assumption
        fields = ("suite_slug", "metric_key")


class AssumptionResource(Listed, Detailed, VisibleResource):
    team_path = "approval__use_case__team"
    queryset = Assumption.objects.select_related("approval")
    serializer_class = AssumptionRow
    filterset_class = AssumptionFilter
