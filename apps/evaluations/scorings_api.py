"""Scorings of stored answers, what judges said, and reviews by people."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
from apps.accounts.serializers import VisibleField
from apps.core.api import Detailed, FilterSet, Listed, acts, by_choice, by_id, creates, example
from apps.core.serializers import FiniteFloatField, Row, Strict
from apps.evaluations import rescoring, reviews
from apps.evaluations.models import (
    Judgement,
    Rating,
    Review,
    ReviewItem,
    Run,
    Scoring,
)
from apps.registry.models import ModelVersion

SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"


class AgreementRow(serializers.Serializer[Any]):
    items = serializers.IntegerField(help_text="Answers that both rated.")
    same = FiniteFloatField(help_text="Share on which both said the same.")
    kappa = FiniteFloatField(allow_null=True, help_text="Cohen's kappa; null: not defined.")
    low = FiniteFloatField(allow_null=True, help_text="95 % interval; null under ten items.")
    high = FiniteFloatField(allow_null=True)


class ScoringRow(Row):
    agreement = serializers.SerializerMethodField(
        help_text="Of a judge with people, by metric, on the answers of closed reviews."
    )

    class Meta:
        model = Scoring
        fields = (
            "id",
            "run",
            "number",
            "kind",
            "state",
            "state_reason",
            "metric_keys",
            "by_version",
            "by_name",
            "reason",
            "total",
            "done",
            "totals",
            "identities",
            "confounded",
            "agreement",
            "code_version",
            "requested_by",
            "started_at",
            "finished_at",
            "row_version",
            "created_at",
        )

    @extend_schema_field(serializers.DictField(child=AgreementRow()))
    def get_agreement(self, scoring: Scoring) -> dict[str, Any]:
        if scoring.kind != Scoring.Kind.JUDGE:
            return {}
        return {k: AgreementRow(v).data for k, v in reviews.calibration(scoring).items()}


class NewScoring(Strict):
    run = VisibleField(queryset=Run.objects.all(), team_path="model_version__team")
    kind = serializers.ChoiceField(
        choices=[c for c in Scoring.Kind.choices if c[0] != Scoring.Kind.REVIEW],
        required=False,
        default=Scoring.Kind.RULES,
    )
    by_version = VisibleField(
        queryset=ModelVersion.objects.select_related("endpoint"),
        team_path="team",
        required=False,
        allow_null=True,
        help_text="The judge; or whose endpoint makes the embeddings (none: the local model).",
    )
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000)


class JudgementRow(Row):
    class Meta:
        model = Judgement
        fields = (
            "id",
            "metric_key",
            "sample_id",
            "asked",
            "text",
            "returned_model",
            "system_fingerprint",
            "created_at",
        )


class ScoringFilter(FilterSet):
    run = by_id("run")
    state = by_choice(Scoring.State)
    kind = by_choice(Scoring.Kind)
    by_version = by_id("by_version", "Id of the judge, or of the embedding version.")

    class Meta:
        model = Scoring
        fields = ("number",)


class ScoringResource(Listed, Detailed, VisibleResource):
    team_path = "run__model_version__team"
    queryset = Scoring.objects.select_related("run", "by_version", "requested_by")
    serializer_class = ScoringRow
    filterset_class = ScoringFilter
    ordering_fields = ("created_at", "number")
    scopes: ClassVar = dict.fromkeys(("create", "resume"), "run")

    @creates(
        request=NewScoring,
        response=ScoringRow,
        summary="Score a run's stored answers again",
        examples=[
            example("The rules of today", {"run": SOME_ID}),
            example("A judge", {"run": SOME_ID, "kind": "judge", "by_version": SOME_ID}),
        ],
    )
    def create(self, request: Any) -> Any:
        return self.shown(rescoring.begin(actor=request.user, **self.body(NewScoring)), status=201)

    @acts(response=ScoringRow, summary="Go on with a scoring that stopped", if_match=True)
    def resume(self, request: Any, pk: Any = None) -> Any:
        scoring = self.get_object()
        self.version(scoring)
        self.nothing()
        return self.shown(rescoring.resume(actor=request.user, scoring=scoring))


class JudgementFilter(df.FilterSet):
    sample = df.UUIDFilter(field_name="sample_id", label="Id of the sample.")

    class Meta:
        model = Judgement
        fields = ("metric_key", "asked")


class JudgementResource(Listed, ChildResource):
    queryset = Judgement.objects.all()
    parent_queryset = Scoring.objects
    parent_team_path = "run__model_version__team"
    parent_field = "scoring"
    serializer_class = JudgementRow
    filterset_class = JudgementFilter
    ordering_fields = ("created_at",)


# -------------------------------------------------------------------------------------- reviews


class ReviewRow(Row):
    items = serializers.SerializerMethodField()
    complete = serializers.SerializerMethodField(help_text="Items with all their ratings.")
    agreement = serializers.SerializerMethodField(help_text="Between raters, once it is closed.")
    run = serializers.SerializerMethodField(help_text="Null while it is open: raters are blind.")
    other_run = serializers.SerializerMethodField()

    class Meta:
        model = Review
        fields = (
            "id",
            "run",
            "other_run",
            "metric_key",
            "question",
            "scale",
            "raters",
            "state",
            "items",
            "complete",
            "agreement",
            "scoring",
            "requested_by",
            "closed_at",
            "row_version",
            "created_at",
        )

    def get_items(self, review: Review) -> int:
        return review.items.count()

    def get_complete(self, review: Review) -> int:
        return reviews.standing(review).complete

    @extend_schema_field(AgreementRow(allow_null=True))
    def get_agreement(self, review: Review) -> Any:
        found = reviews.standing(review).agreement
        return AgreementRow(found).data if found else None

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_run(self, review: Review) -> Any:
        return str(review.run_id) if review.state == Review.State.CLOSED else None

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_other_run(self, review: Review) -> Any:
        closed = review.state == Review.State.CLOSED and review.other_run_id
        return str(review.other_run_id) if closed else None


class NewReview(Strict):
    run = VisibleField(queryset=Run.objects.all(), team_path="model_version__team")
    other_run = VisibleField(
        queryset=Run.objects.all(),
        team_path="model_version__team",
        required=False,
        allow_null=True,
        help_text="Whose answers stand beside it.",
    )
    metric_key = serializers.CharField(required=False, allow_blank=True, max_length=120)
    question = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    items = serializers.IntegerField(min_value=1, max_value=reviews.MAX_ITEMS, required=False)


class ItemRow(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    question = serializers.CharField()
    prompt = serializers.CharField()
    left = serializers.CharField(help_text="The answer; or the left one of two.")
    right = serializers.CharField(allow_null=True)


class NewRating(Strict):
    item = serializers.UUIDField()
    says = serializers.ChoiceField(
        choices=[("pass", ""), ("fail", ""), ("left", ""), ("right", ""), ("same", "")],
        help_text="pass or fail; left, right or same where two stand side by side.",
    )
    comment = serializers.CharField(required=False, allow_blank=True, max_length=2000)


class RatingRow(Row):
    class Meta:
        model = Rating
        fields = ("id", "item", "value", "comment", "rated_at")


class ReviewFilter(FilterSet):
    state = by_choice(Review.State)
    scale = by_choice(Review.Scale)

    class Meta:
        model = Review
        fields = ("metric_key",)


class ReviewResource(Listed, Detailed, VisibleResource):
    team_path = "run__model_version__team"
    queryset = Review.objects.select_related("run", "scoring", "requested_by")
    serializer_class = ReviewRow
    filterset_class = ReviewFilter

    @creates(
        request=NewReview,
        response=ReviewRow,
        summary="Ask people to rate a run's answers",
        examples=[example("By a rubric", {"run": SOME_ID, "metric_key": "clear", "items": 40})],
    )
    def create(self, request: Any) -> Any:
        return self.shown(
            reviews.start_review(actor=request.user, **self.body(NewReview)), status=201
        )

    @extend_schema(summary="The next answer for me to rate", responses=ItemRow, filters=False)
    @action(detail=True, methods=["get"], url_path="next")
    def next_item(self, request: Any, pk: Any = None) -> Response:
        review = self.get_object()
        item = reviews.next_item(review=review, rater=request.user)
        if item is None:
            return Response(status=204)
        return Response(ItemRow(reviews.shown(item)).data)

    @acts(request=NewRating, response=RatingRow, summary="Rate one answer, for good", status=201)
    def rate(self, request: Any, pk: Any = None) -> Any:
        review, given = self.get_object(), self.body(NewRating)
        item = get_object_or_404(
            ReviewItem.objects.select_related("review__run"), review=review, pk=given["item"]
        )
        rating = reviews.rate(
            actor=request.user,
            item=item,
            value=reviews.value_of(item, given["says"]),
            comment=given.get("comment", ""),
        )
        return Response(RatingRow(rating, context=self.get_serializer_context()).data, status=201)

    @acts(response=ReviewRow, summary="Close the queue", if_match=True)
    def close(self, request: Any, pk: Any = None) -> Any:
        review = self.get_object()
        self.version(review)
        self.nothing()
        return self.shown(reviews.close_review(actor=request.user, review=review))
