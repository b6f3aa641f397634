"""What is scored after a run: scoring revisions, a judge's words, and what people said.

Revision 1 of a run is what was scored as its answers came, and needs no row. Every later scoring
is a number of its own beside it: no stored score is ever changed.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core import clock
from apps.core.models import BaseModel, VersionedModel
from apps.registry.models import ModelVersion

USER = settings.AUTH_USER_MODEL


class Scoring(VersionedModel):
    """One scoring of a run's stored answers. `number` is the scoring revision of its scores."""

    class Kind(models.TextChoices):
        RULES = "rules", "Rules"
        EMBEDDING = "embedding", "Embedding similarity"
        JUDGE = "judge", "A model as judge"
        REVIEW = "review", "People"

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        # A budget ended it: what was scored stays, and it can go on.
        PARTIAL = "partial", "Partial"

    run = models.ForeignKey("evaluations.Run", on_delete=models.PROTECT, related_name="scorings")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    state_reason = models.TextField(blank=True)
    metric_keys = models.JSONField(default=list)
    by_version = models.ForeignKey(
        ModelVersion,
        null=True,
        on_delete=models.PROTECT,
        related_name="scorings",
        help_text="The judge, or the version whose endpoint makes the embeddings.",
    )
    by_name = models.CharField(max_length=300, blank=True, help_text="What scored, in words.")
    reason = models.TextField(blank=True)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    totals = models.JSONField(default=dict, help_text="Means of its metrics, at the end.")
    identities = models.JSONField(
        default=list, help_text="What the judge's endpoint said that it served."
    )
    confounded = models.TextField(
        blank=True, help_text="Why its values may have moved for the judge's sake; empty: no."
    )
    code_version = models.CharField(max_length=200, blank=True)
    requested_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_owner = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="scoring_number_once"),
            models.CheckConstraint(
                condition=models.Q(number__gte=2), name="scoring_number_after_the_first"
            ),
        ]
        indexes = [
            # Reader: rescoring.claim().
            models.Index(
                fields=["id"],
                name="scoring_todo",
                condition=models.Q(state__in=["queued", "running"]),
            )
        ]

    def __str__(self) -> str:
        return f"scoring {self.number} of run {self.run_id}"


class Judgement(BaseModel):
    """What a judge said to one question about one answer. Immutable (trigger)."""

    scoring = models.ForeignKey(Scoring, on_delete=models.PROTECT, related_name="judgements")
    metric_key = models.CharField(max_length=120)
    sample_id = models.UUIDField()
    asked = models.CharField(max_length=8, help_text="alone; or where the answer stood: first …")
    request_digest = models.BinaryField(max_length=32)
    response_digest = models.BinaryField(max_length=32, null=True)
    text = models.TextField(blank=True)
    error = models.TextField(blank=True)
    returned_model = models.CharField(max_length=300, blank=True)
    system_fingerprint = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scoring", "sample_id", "metric_key", "asked"], name="judgement_once"
            )
        ]


class Review(VersionedModel):
    """A queue of answers that people rate blind: two raters for each, nobody's name in sight."""

    class Scale(models.TextChoices):
        PASS = "pass", "Pass or fail"
        PREFERENCE = "preference", "Which of two is better"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    run = models.ForeignKey("evaluations.Run", on_delete=models.PROTECT, related_name="reviews")
    other_run = models.ForeignKey(
        "evaluations.Run",
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Whose answers stand beside it; none: answers are rated alone.",
    )
    metric_key = models.CharField(max_length=120, blank=True)
    question = models.TextField()
    scale = models.CharField(max_length=10, choices=Scale.choices)
    raters = models.PositiveSmallIntegerField(default=2)
    state = models.CharField(max_length=6, choices=State.choices, default=State.OPEN)
    requested_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    closed_at = models.DateTimeField(null=True)
    scoring = models.OneToOneField(
        Scoring, null=True, on_delete=models.PROTECT, related_name="review"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(scale="pass", other_run__isnull=True)
                | models.Q(scale="preference", other_run__isnull=False),
                name="review_preference_has_two_runs",
            ),
        ]

    def __str__(self) -> str:
        return self.question[:80]


class ReviewItem(BaseModel):
    """One answer, or two side by side, as raters see it. Immutable (trigger)."""

    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="items")
    position = models.PositiveIntegerField()
    case = models.ForeignKey("evaluations.SuiteCase", on_delete=models.PROTECT, related_name="+")
    replicate = models.PositiveSmallIntegerField()
    sample_id = models.UUIDField()
    other_sample_id = models.UUIDField(null=True)
    flipped = models.BooleanField(help_text="Whether the run's own answer stands on the right.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["review", "position"], name="review_item_once")
        ]


class Rating(BaseModel):
    """What one person said of one item: 1 pass (or: the run's own answer is better), 0 fail (the
    other is), 0.5 no difference. Immutable (trigger)."""

    item = models.ForeignKey(ReviewItem, on_delete=models.PROTECT, related_name="ratings")
    rater = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="+")
    value = models.FloatField()
    comment = models.TextField(blank=True)
    rated_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "rater"], name="rating_once"),
            models.CheckConstraint(
                condition=models.Q(value__in=[0.0, 0.5, 1.0]), name="rating_value_known"
            ),
        ]
