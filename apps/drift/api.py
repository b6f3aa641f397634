"""What runs are compared with, what came of it, and the changes that were found."""

from __future__ import annotations

from typing import Any

import django_filters as df
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
from apps.core.api import Detailed, FilterSet, Listed, by_choice, by_id, creates, example
from apps.drift import recomputing, services
from apps.drift.models import (
    Baseline,
    BrokenAssumption,
    ChangeEvent,
    Comparison,
    ExamplePair,
    MetricResult,
    Verdict,
    Watch,
)
from apps.drift.serializers import (
    BaselineRow,
    BrokenRow,
    ChangeRow,
    ComparisonRow,
    MetricRow,
    NewBaseline,
    PairRow,
    WatchRow,
)

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"
COMPARISONS = Comparison.objects.select_related(
    "baseline__model_version", "baseline__suite_revision__suite", "run", "top_up"
)


class BaselineFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    suite_revision = by_id("suite_revision")
    current = df.BooleanFilter(
        field_name="retired_at", lookup_expr="isnull", label="Only the ones in use, or only others."
    )

    class Meta:
        model = Baseline
        fields = ()


class BaselineResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = Baseline.objects.select_related(
        "model_version", "suite_revision__suite", "created_by"
    ).prefetch_related("runs")
    serializer_class = BaselineRow
    filterset_class = BaselineFilter

    @creates(
        request=NewBaseline,
        response=BaselineRow,
        summary="Set the answers that later runs are compared with",
        description="The baseline in use for this version and suite is retired.",
        examples=[
            example(
                "From the newest baseline run",
                {"model_version": SOME_ID, "suite_revision": SOME_ID},
            )
        ],
    )
    def create(self, request: Any) -> Any:
        baseline = services.create_baseline(actor=request.user, **self.body(NewBaseline))
        return self.shown(baseline, status=201)


class WatchResource(Listed, ChildResource):
    parent_queryset = Baseline.objects
    parent_team_path = "model_version__team"
    parent_field = "baseline"
    queryset = Watch.objects.all()
    serializer_class = WatchRow
    ordering_fields = ("metric_key", "log_e")


class ComparisonFilter(FilterSet):
    version = df.UUIDFilter(field_name="baseline__model_version_id", label="Id of the version.")
    suite_revision = df.UUIDFilter(
        field_name="baseline__suite_revision_id", label="Id of the suite revision."
    )
    baseline = by_id("baseline")
    run = by_id("run")
    verdict = by_choice(Verdict)

    class Meta:
        model = Comparison
        fields = ()


class ComparisonResource(Listed, Detailed, VisibleResource):
    team_path = "baseline__model_version__team"
    queryset = COMPARISONS
    serializer_class = ComparisonRow
    filterset_class = ComparisonFilter
    ordering_fields = ("created_at", "look")


class OfComparison(ChildResource):
    parent_queryset = Comparison.objects
    parent_team_path = "baseline__model_version__team"
    parent_field = "comparison"


class MetricFilter(df.FilterSet):
    verdict = by_choice(Verdict)

    class Meta:
        model = MetricResult
        fields = ("metric_key",)


class MetricResource(Listed, OfComparison):
    queryset = MetricResult.objects.select_related("comparison")
    serializer_class = MetricRow
    filterset_class = MetricFilter
    ordering_fields = ("log_e", "metric_key")


class PairResource(Listed, OfComparison):
    queryset = ExamplePair.objects.select_related("comparison", "case")
    serializer_class = PairRow
    ordering = ("rank", "id")
    ordering_fields = ("rank", "distance")


class ChangeFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    provider = df.UUIDFilter(
        field_name="model_version__model__provider_id", label="Id of the provider."
    )
    use_case = df.UUIDFilter(
        field_name="broken_assumptions__assumption__approval__use_case_id",
        distinct=True,
        label="Id of a use case whose assumptions it broke.",
    )
    state = by_choice(ChangeEvent.State)
    kind = by_choice(ChangeEvent.Kind)
    verdict = by_choice(Verdict)

    class Meta:
        model = ChangeEvent
        fields = ("number",)


class ChangeResource(Listed, Detailed, VisibleResource):
    """Opened and extended by comparisons, closed by the decision on their ticket."""

    team_path = "model_version__team"
    queryset = ChangeEvent.objects.select_related("model_version").prefetch_related(
        "broken_assumptions"
    )
    serializer_class = ChangeRow
    filterset_class = ChangeFilter
    ordering_fields = ("created_at", "number", "window_end")

    @extend_schema(
        summary="Everything needed to compute its numbers again",
        description="The document of `govtrack recompute FILE`: scores of every answer, keys and "
        "weights of the watches, and what was recorded at each look. No prompt, no answer text.",
        responses=dict[str, Any],
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def recompute(self, request: Any, pk: Any = None) -> Response:
        return Response(recomputing.document(self.get_object()))


class OfChange(ChildResource):
    parent_queryset = ChangeEvent.objects
    parent_team_path = "model_version__team"
    parent_field = "change_event"


class ChangeComparisons(Listed, OfChange):
    """The comparisons that showed it."""

    queryset = COMPARISONS
    serializer_class = ComparisonRow
    child_path = "change_events"


class ChangeMetrics(Listed, OfChange):
    """Every metric of every comparison that showed it."""

    queryset = MetricResult.objects.select_related("comparison")
    serializer_class = MetricRow
    filterset_class = MetricFilter
    ordering_fields = ("log_e", "metric_key")
    child_path = "comparison__change_events"


class ChangePairs(Listed, OfChange):
    """The pairs of answers that show it best."""

    queryset = ExamplePair.objects.select_related("comparison", "case")
    serializer_class = PairRow
    ordering_fields = ("rank", "distance")
    child_path = "comparison__change_events"


class ChangeBroken(Listed, OfChange):
    """The sentences of approvals that no longer hold."""

    queryset = BrokenAssumption.objects.select_related(
        "change_event", "comparison", "assumption__approval__use_case"
    )
    serializer_class = BrokenRow
