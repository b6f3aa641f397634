"""The cheap layers: probes, identity findings, observations from production."""

from __future__ import annotations

from typing import Any

import django_filters as df
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
from apps.core.api import Detailed, FilterSet, Listed, acts, by_choice, by_id, creates, example
from apps.drift import control_arms, observations, probes_acts, probing
from apps.drift.models import (
    ControlArm,
    ControlFinding,
    IdentityFinding,
    ObservedTraffic,
    Probe,
    ProbeKind,
    ProbePhase,
    ProbeRound,
)
from apps.drift.probes_serializers import (
    ControlFindingRow,
    ControlRow,
    FindingRow,
    NewControl,
    NewObservations,
    NewProbes,
    ObservationsTaken,
    ProbeReason,
    ProbeRow,
    ProbesStarted,
    RoundDetail,
    RoundRow,
    TrafficRow,
)

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


class ProbeFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    kind = by_choice(ProbeKind)
    phase = by_choice(ProbePhase)
    current = df.BooleanFilter(
        field_name="retired_at", lookup_expr="isnull", label="Only the ones in use, or only others."
    )

    class Meta:
        model = Probe
        fields = ("enabled",)


class ProbeResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = Probe.objects.select_related("model_version")
    serializer_class = ProbeRow
    filterset_class = ProbeFilter

    @creates(
        request=NewProbes,
        response=ProbesStarted,
        summary="Begin the probes of a version",
        description="Kinds that run already are left as they are.",
        examples=[
            example("All that make sense", {"model_version": SOME_ID}),
            example("Only log-probabilities", {"model_version": SOME_ID, "kinds": ["logprob"]}),
        ],
    )
    def create(self, request: Any) -> Response:
        made = probing.start_probes(actor=request.user, **self.body(NewProbes))
        rows = ProbeRow(made, many=True, context=self.get_serializer_context()).data
        return Response({"probes": rows}, status=201)

    @acts(response=ProbeRow, summary="Pause a probe", if_match=True)
    def pause(self, request: Any, pk: Any) -> Response:
        return self._switch(request, on=False)

    @acts(response=ProbeRow, summary="Let a probe go on", if_match=True)
    def resume(self, request: Any, pk: Any) -> Response:
        return self._switch(request, on=True)

    @acts(
        request=ProbeReason,
        response=ProbeRow,
        summary="Ask a round at once",
        description="It counts like every other round.",
        examples=[example("A hunch", {"reason": "A customer says that answers differ."})],
    )
    def ask_now(self, request: Any, pk: Any) -> Response:
        probe = self.get_object()
        probes_acts.ask_now(actor=request.user, probe=probe, **self.body(ProbeReason))
        return self.shown(probe)

    @acts(
        request=ProbeReason,
        response=ProbeRow,
        summary="Record a probe's baseline again",
        description="The probe ends and stays readable; the answer is the one that takes its "
        "place. What it records is taken for normal: decide on an open change first.",
        examples=[example("Another region", {"reason": "The endpoint moved to another region."})],
    )
    def record_again(self, request: Any, pk: Any) -> Response:
        fresh = probes_acts.record_again(
            actor=request.user, probe=self.get_object(), **self.body(ProbeReason)
        )
        return self.shown(fresh)

    def _switch(self, request: Any, *, on: bool) -> Response:
        self.nothing()
        probe = self.get_object()
        row_version = self.version(probe)
        probing.set_enabled(actor=request.user, probe=probe, enabled=on, row_version=row_version)
        return self.shown(probe)


class RoundResource(Listed, Detailed, ChildResource):
    parent_queryset = Probe.objects
    parent_team_path = "model_version__team"
    parent_field = "probe"
    queryset = ProbeRound.objects.select_related("probe__model_version")
    serializer_class = RoundRow
    ordering = ("-number",)
    ordering_fields = ("number", "due_at")

    def get_serializer_class(self) -> Any:
        return RoundDetail if self.detail else RoundRow


class FindingFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    probe = by_id("probe")

    class Meta:
        model = IdentityFinding
        fields = ("facet", "telling")


class FindingResource(Listed, Detailed, VisibleResource):
    """Values that an endpoint never showed before, and how surprising that is."""

    team_path = "model_version__team"
    queryset = IdentityFinding.objects.select_related("model_version", "probe__model_version")
    serializer_class = FindingRow
    filterset_class = FindingFilter
    ordering_fields = ("created_at", "seen_at")


class ObservationResource(VisibleResource):
    queryset = ObservedTraffic.objects.none()
    serializer_class = ObservationsTaken
    scopes = {"create": "run"}
    team_path = None

    @creates(
        request=NewObservations,
        response=ObservationsTaken,
        summary="Report what production saw",
        description=(
            "At most 1,000 calls in a batch, each with the served name, fingerprint, token counts "
            "and latency, and no content. A batch is taken once for its `batch_id`. Needs a token "
            "with the scope `run`, best of a service account."
        ),
        examples=[
            example(
                "One call",
                {
                    "batch_id": "gw-1-000042",
                    "observations": [
                        {
                            "base_url": "https://api.vendor.example/v1",
                            "requested_name": "assistant-instant",
                            "observed_at": "2026-11-25T09:00:00Z",
                            "returned_model": "assistant-instant-2026-11-20",
                            "system_fingerprint": "fp_44709d6fcb",
                            "prompt_tokens": 412,
                            "completion_tokens": 96,
                            "latency_ms": 840.5,
                        }
                    ],
                },
            )
        ],
    )
    def create(self, request: Any) -> Response:
        taken = observations.take(actor=request.user, **self.body(NewObservations))
        return Response(ObservationsTaken(taken).data, status=201)


class TrafficFilter(df.FilterSet):
    version = by_id("model_version", "Id of the model version.")
    since = df.IsoDateTimeFilter(field_name="hour", lookup_expr="gte")
    until = df.IsoDateTimeFilter(field_name="hour", lookup_expr="lt")

    class Meta:
        model = ObservedTraffic
        fields = ("returned_model", "system_fingerprint")


class TrafficResource(Listed, VisibleResource):
    """Counts of what production reported, by hour, served name and fingerprint."""

    team_path = "model_version__team"
    queryset = ObservedTraffic.objects.select_related("model_version")
    serializer_class = TrafficRow
    filterset_class = TrafficFilter
    ordering = ("-hour", "-id")
    ordering_fields = ("hour",)


class ControlFilter(FilterSet):
    version = by_id("model_version", "Id of the version under watch.")

    class Meta:
        model = ControlArm
        fields = ()


class ControlResource(Listed, Detailed, VisibleResource):
    """Pinned versions that are rerun beside others: what moves both is ours."""

    team_path = "model_version__team"
    queryset = ControlArm.objects.select_related("model_version", "control_version", "created_by")
    serializer_class = ControlRow
    filterset_class = ControlFilter

    @creates(
        request=NewControl,
        response=ControlRow,
        summary="Make a pinned version the control of another",
        examples=[example("A snapshot", {"model_version": SOME_ID, "control_version": SOME_ID})],
    )
    def create(self, request: Any) -> Response:
        arm = control_arms.add_control(actor=request.user, **self.body(NewControl))
        return self.shown(arm, status=201)

    @extend_schema(summary="End a control; its findings stay", responses={204: None})
    def destroy(self, request: Any, pk: Any) -> Response:
        control_arms.remove_control(actor=request.user, arm=self.get_object())
        return Response(status=204)


class ControlFindingFilter(FilterSet):
    change_event = by_id("change_event", "Id of the change event.")

    class Meta:
        model = ControlFinding
        fields = ("together",)


class ControlFindingResource(Listed, VisibleResource):
    """Did the control move with the version?"""

    team_path = "change_event__model_version__team"
    queryset = ControlFinding.objects.select_related(
        "change_event", "comparison", "control_version"
    )
    serializer_class = ControlFindingRow
    filterset_class = ControlFindingFilter
