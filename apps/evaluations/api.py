"""Schedules, runs, answers, scores and observed identities. Suites are in `suites_api`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import django_filters as df
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
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
from apps.core.serializers import OptionalReason, Reason
from apps.evaluations import cadence, estimating, records, schedules, selectors, services
from apps.evaluations.models import (
    ObservedIdentity,
    Run,
    RunState,
    Sample,
    SampleStatus,
    Schedule,
    Score,
)
from apps.evaluations.serializers import (
    CadenceRow,
    Due,
    DueTimes,
    EstimateRow,
    IdentityRow,
    Limited,
    MoreReplicates,
    NewRun,
    NewSchedule,
    ProgressRow,
    RunRow,
    RunToEstimate,
    SampleDetail,
    SampleRow,
    SchedulePatch,
    ScheduleRow,
    ScoreRow,
    VersionToPlan,
    WhatToRetry,
)

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


class ScheduleFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    suite_revision = by_id("suite_revision")
    suite = df.CharFilter(field_name="suite_revision__suite__slug", label="Slug of the suite.")

    class Meta:
        model = Schedule
        fields = ("enabled",)


class ScheduleResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = Schedule.objects.select_related(
        "model_version", "suite_revision__suite", "created_by"
    )
    serializer_class = ScheduleRow
    filterset_class = ScheduleFilter
    ordering_fields = ("created_at", "next_due_at")
    scopes: ClassVar = {"preview": "read", "propose": "read", "trigger": "run"}

    @creates(
        request=NewSchedule,
        response=ScheduleRow,
        summary="Rerun a version on a suite, every so often",
        examples=[
            example(
                "Every night in Zurich",
                {
                    "model_version": SOME_ID,
                    "suite_revision": SOME_ID,
                    "cron": "30 2 * * *",
                    "timezone": "Europe/Zurich",
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        schedule = services.create_schedule(actor=request.user, **self.body(NewSchedule))
        return self.shown(schedule, status=201)

    @acts(
        detail=False,
        request=Due,
        response=DueTimes,
        summary="When would it be due? The next five times; nothing is saved",
        examples=[
            example("First Monday", {"calendar": "first monday of the month at 02:00"}),
        ],
    )
    def preview(self, request: Any) -> Response:
        times = schedules.preview(**self.body(Due))
        return Response({"next_runs": [moment.isoformat() for moment in times]})

    @acts(
        detail=False,
        request=VersionToPlan,
        response=CadenceRow,
        summary="How often should this version be asked? A proposal by risk tier",
        examples=[example("Of a version", {"model_version": SOME_ID})],
    )
    def propose(self, request: Any) -> Response:
        version = self.body(VersionToPlan)["model_version"]
        return Response(CadenceRow(asdict(cadence.proposed(version))).data)

    @acts(
        request=Reason,
        response=RunRow,
        summary="Run it now and urgently, before all other work",
        status=201,
        examples=[example("An alarm", {"reason": "The one-token probe alarmed at 02:10."})],
    )
    def trigger(self, request: Any, pk: Any = None) -> Any:
        run = services.trigger_schedule(
            actor=request.user, schedule=self.get_object(), **self.body(Reason)
        )
        data = RunRow(services.run_by_id(run.pk), context=self.get_serializer_context()).data
        return Response(data, status=201)

    @changes(
        request=SchedulePatch,
        response=ScheduleRow,
        summary="Change a schedule, or switch it off and on",
        examples=[example("Off", {"enabled": False})],
    )
    def partial_update(self, request: Any, pk: Any = None) -> Any:
        schedule = self.get_object()
        version = self.version(schedule, required=True)
        services.update_schedule(
            actor=request.user,
            schedule=schedule,
            row_version=version,
            **self.body(SchedulePatch, partial=True),
        )
        return self.shown(schedule)


class RunFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    suite_revision = by_id("suite_revision")
    suite = df.CharFilter(field_name="suite_revision__suite__slug", label="Slug of the suite.")
    schedule = by_id("schedule")
    state = by_choice(RunState)
    purpose = by_choice(Run.Purpose)

    class Meta:
        model = Run
        fields = ()


class RunResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = Run.objects.select_related(
        "model_version",
        "suite_revision__suite",
        "requested_by",
        "schedule",
    )
    serializer_class = RunRow
    filterset_class = RunFilter
    ordering_fields = ("created_at",)
    scopes: ClassVar = {
        **dict.fromkeys(
            ("create", "pause", "resume", "cancel", "retry_failed", "extend", "budget"), "run"
        ),
        "estimate": "read",
    }

    @creates(
        request=NewRun,
        response=RunRow,
        summary="Start a run",
        examples=[
            example(
                "A baseline with three replicates",
                {
                    "model_version": SOME_ID,
                    "suite_revision": SOME_ID,
                    "purpose": "baseline",
                    "replicates": 3,
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        run = services.start_run(actor=request.user, **self.body(NewRun))
        return self.shown(run, status=201)

    @acts(request=OptionalReason, response=RunRow, summary="Pause: no new calls", if_match=True)
    def pause(self, request: Any, pk: Any = None) -> Any:
        return self._control(services.pause_run)

    @acts(request=OptionalReason, response=RunRow, summary="Go on with a paused run", if_match=True)
    def resume(self, request: Any, pk: Any = None) -> Any:
        return self._control(services.resume_run)

    @acts(request=Reason, response=RunRow, summary="Cancel for good", if_match=True)
    def cancel(self, request: Any, pk: Any = None) -> Any:
        return self._control(services.cancel_run, Reason)

    @acts(
        detail=False,
        request=RunToEstimate,
        response=EstimateRow,
        summary="What would a run use? Nothing is started",
        examples=[
            example("One answer a case", {"model_version": SOME_ID, "suite_revision": SOME_ID})
        ],
    )
    def estimate(self, request: Any) -> Response:
        found = estimating.estimate(**self.body(RunToEstimate))
        return Response(EstimateRow(asdict(found)).data)

    @acts(
        request=MoreReplicates,
        response=RunRow,
        summary="Take more answers to every case",
        description="New slots of the same run. Refused once a baseline or comparison rests on it.",
        if_match=True,
        examples=[example("Two more", {"replicates": 2})],
    )
    def extend(self, request: Any, pk: Any = None) -> Any:
        run = self.get_object()
        self.version(run)
        return self.shown(
            services.extend_run(actor=request.user, run=run, **self.body(MoreReplicates))
        )

    @acts(
        request=Limited,
        response=RunRow,
        summary="Set the run's own budget anew",
        description="What is left out is not limited. A partial run then goes on by retry-failed.",
        if_match=True,
        examples=[example("More tokens", {"max_tokens": 50000})],
    )
    def budget(self, request: Any, pk: Any = None) -> Any:
        run = self.get_object()
        self.version(run)
        return self.shown(services.change_budget(actor=request.user, run=run, **self.body(Limited)))

    @extend_schema(
        summary="All that is needed to repeat it",
        responses=OpenApiTypes.OBJECT,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def record(self, request: Any, pk: Any = None) -> Response:
        return Response(records.of_run(services.run_by_id(self.get_object().pk)))

    @acts(
        request=WhatToRetry,
        response=RunRow,
        summary="Ask again where there is no answer yet",
        description="Slots that have an answer keep it; one that came to an error stays on record, "
        "and its case gets another slot. With `error_kinds` only errors of these classes.",
        if_match=True,
        examples=[example("Only what was too fast", {"error_kinds": ["rate_limited"]})],
    )
    def retry_failed(self, request: Any, pk: Any = None) -> Any:
        run = self.get_object()
        self.version(run)
        return self.shown(
            services.retry_failed(actor=request.user, run=run, **self.body(WhatToRetry))
        )

    @extend_schema(summary="How far is it?", responses=ProgressRow, filters=False)
    @action(detail=True, methods=["get"])
    def progress(self, request: Any, pk: Any = None) -> Response:
        run = self.get_object()
        found = selectors.progress(run)
        retryable = selectors.open_errors(run) if found.errors else {}
        more = {"state": run.state, "retryable": retryable}
        return Response(ProgressRow({**asdict(found), **more}).data)

    def _control(self, verb: Any, said: Any = OptionalReason) -> Any:
        run = self.get_object()
        self.version(run)
        return self.shown(verb(actor=self.request.user, run=run, **self.body(said)))


class OfRun(ChildResource):
    parent_queryset = Run.objects
    parent_team_path = "model_version__team"
    parent_field = "run"

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset
        return queryset.filter(month=self.parent.month)  # one partition


class SampleFilter(df.FilterSet):
    case = by_id("case")
    case_id = df.CharFilter(field_name="case__case_id", label="The case's own id in the suite.")
    status = by_choice(SampleStatus)
    since = df.IsoDateTimeFilter(field_name="answered_at", lookup_expr="gte")
    until = df.IsoDateTimeFilter(field_name="answered_at", lookup_expr="lt")

    class Meta:
        model = Sample
        fields = ("replicate", "error_kind", "returned_model")


class SampleResource(Listed, Detailed, OfRun):
    queryset = Sample.objects.select_related("case")
    serializer_class = SampleRow
    filterset_class = SampleFilter
    lookup_field = "id"
    ordering = ("id",)
    ordering_fields = ("answered_at",)

    def get_serializer_class(self) -> Any:
        return SampleDetail if self.detail else SampleRow

    @extend_schema(summary="One answer, with the request and response as they were")
    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().retrieve(request, *args, **kwargs)


class ScoreFilter(df.FilterSet):
    case = by_id("case")
    sample = df.UUIDFilter(field_name="sample_id", label="Id of the sample.")

    class Meta:
        model = Score
        fields = ("metric_key", "replicate", "scoring_revision")


class ScoreResource(Listed, OfRun):
    queryset = Score.objects.select_related("case")
    serializer_class = ScoreRow
    filterset_class = ScoreFilter
    ordering = ("id",)
    ordering_fields = ("id",)


class IdentityFilter(FilterSet):
    version = by_id("model_version", "Id of the model version.")
    since = df.IsoDateTimeFilter(field_name="last_seen_at", lookup_expr="gte")
    until = df.IsoDateTimeFilter(field_name="first_seen_at", lookup_expr="lt")

    class Meta:
        model = ObservedIdentity
        fields = ("returned_model", "system_fingerprint")


class IdentityResource(Listed, Detailed, VisibleResource):
    team_path = "model_version__team"
    queryset = ObservedIdentity.objects.select_related("model_version")
    serializer_class = IdentityRow
    filterset_class = IdentityFilter
    ordering_fields = ("created_at", "first_seen_at", "last_seen_at")
