"""What it answered, when, to which stored suite. The queue wakes people up; this is the truth."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.core import clock
from apps.core.ids import uuid7
from apps.core.models import BaseModel, VersionedModel
from apps.evaluations.money_models import Budget as Budget
from apps.evaluations.money_models import Price as Price
from apps.evaluations.money_models import Spending as Spending
from apps.evaluations.scoring_models import Judgement as Judgement
from apps.evaluations.scoring_models import Rating as Rating
from apps.evaluations.scoring_models import Review as Review
from apps.evaluations.scoring_models import ReviewItem as ReviewItem
from apps.evaluations.scoring_models import Scoring as Scoring
from apps.registry.models import ModelVersion

USER = settings.AUTH_USER_MODEL


class Suite(VersionedModel):
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=200)
    summary = models.TextField(blank=True)
    archived = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name


class SuiteRevision(BaseModel):
    """Immutable (trigger). `document` is the canonical suite without its cases."""

    suite = models.ForeignKey(Suite, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=71)
    document = models.JSONField()
    case_count = models.PositiveIntegerField()
    imported_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.TextField(blank=True, help_text="Why it was made, in a person's words.")
    origin = models.JSONField(
        default=dict, blank=True, help_text="The file it came from, and what did not carry over."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["suite", "number"], name="suite_revision_number_once"),
            models.UniqueConstraint(
                fields=["suite", "content_hash"], name="suite_revision_content_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.suite.slug} r{self.number}"


class SuiteCase(BaseModel):
    """Immutable (trigger)."""

    revision = models.ForeignKey(SuiteRevision, on_delete=models.PROTECT, related_name="cases")
    position = models.PositiveIntegerField()
    case_id = models.CharField(max_length=120)
    content_hash = models.CharField(max_length=71)
    document = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["revision", "case_id"], name="suite_case_id_once"),
            models.UniqueConstraint(
                fields=["revision", "position"], name="suite_case_position_once"
            ),
        ]


class Limits(models.Model):
    """What one run may use at most; None: no limit of its own."""

    max_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    max_cost = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True, help_text="ISO 4217, of max_cost.")

    class Meta:
        abstract = True


class Schedule(Limits, VersionedModel):
    """When a version is rerun against a suite revision: every N seconds, or by cron in a zone
    (also as a calendar rule in words), and at once when a cheaper layer alarms."""

    class CatchUp(models.TextChoices):
        ONCE = "once", "Run once for all that were missed"
        SKIP = "skip", "Skip what was missed"

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="schedules"
    )
    suite_revision = models.ForeignKey(
        SuiteRevision, on_delete=models.PROTECT, related_name="schedules"
    )
    interval_seconds = models.PositiveIntegerField(null=True, blank=True)
    cron = models.CharField(max_length=120, blank=True)
    calendar = models.CharField(
        max_length=120, blank=True, help_text="The rule in words that `cron` was made from."
    )
    timezone = models.CharField(max_length=64, default="UTC")
    jitter_seconds = models.PositiveIntegerField(default=0)
    blackouts = models.JSONField(default=list, help_text="Windows in which nothing is due.")
    on_alarm = models.BooleanField(default=True, help_text="Also at once when a layer alarms.")
    replicates = models.PositiveSmallIntegerField(default=1)
    catch_up = models.CharField(max_length=6, choices=CatchUp.choices, default=CatchUp.ONCE)
    enabled = models.BooleanField(default=True)
    # When it starts, jitter included; None: only on an alarm. `next_nominal_at` is the due time
    # without the jitter, where there is any.
    next_due_at = models.DateTimeField(null=True)
    next_nominal_at = models.DateTimeField(null=True)
    skipped_at = models.DateTimeField(null=True, help_text="The last due time without a run.")
    skipped_reason = models.TextField(blank=True)
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "suite_revision"], name="schedule_version_suite_once"
            ),
            models.CheckConstraint(
                condition=models.Q(interval_seconds__isnull=False, cron="")
                | (models.Q(interval_seconds__isnull=True) & ~models.Q(cron=""))
                | models.Q(interval_seconds__isnull=True, cron="", on_alarm=True),
                name="schedule_interval_cron_or_alarm",
            ),
            models.CheckConstraint(
                condition=models.Q(replicates__range=(1, 100)), name="schedule_replicates_1_to_100"
            ),
        ]
        indexes = [
            # Reader: schedules.claim_due().
            models.Index(
                fields=["next_due_at"], name="schedule_due", condition=models.Q(enabled=True)
            )
        ]


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    COMPLETE = "complete", "Complete"
    FAILED = "failed", "Failed"
    # A budget ended it before its last slot: what was answered is kept, and it proves nothing.
    PARTIAL = "partial", "Partial"
    CANCELLED = "cancelled", "Cancelled"


class Run(Limits, VersionedModel):
    class Urgency(models.IntegerChoices):
        """Shards of the higher are claimed first."""

        LOW = 0, "When nothing else waits"
        NORMAL = 1, "Normal"
        URGENT = 2, "Urgent"

    class Purpose(models.TextChoices):
        BASELINE = "baseline", "Baseline"
        SCHEDULED = "scheduled", "Scheduled rerun"
        MANUAL = "manual", "Asked for"
        TOP_UP = "top_up", "Top-up"

    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="runs")
    suite_revision = models.ForeignKey(SuiteRevision, on_delete=models.PROTECT, related_name="runs")
    schedule = models.ForeignKey(
        Schedule, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    urgency = models.PositiveSmallIntegerField(choices=Urgency.choices, default=Urgency.NORMAL)
    reason = models.TextField(blank=True, help_text="Why it was asked for, e.g. an alarm.")
    trigger_key = models.CharField(max_length=120, blank=True)
    replicates = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.QUEUED)
    state_reason = models.TextField(blank=True)
    budget_stop = models.BooleanField(
        default=False, help_text="A budget is used up: partial as soon as no call is under way."
    )
    sealed = models.CharField(
        max_length=200, blank=True, help_text="What rests on its answers, so that none is added."
    )
    month = models.DateField(help_text="Partition of its samples; fixed with the run.")
    total_slots = models.PositiveIntegerField()
    requested_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    asked_at = models.CharField(
        max_length=700, blank=True, help_text="API style and base URL that its answers come from."
    )
    client_version = models.CharField(max_length=80, blank=True)
    code_version = models.CharField(max_length=200, blank=True)
    totals = models.JSONField(default=dict, help_text="Counts, tokens and metric means at the end.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["schedule", "due_at"], name="run_schedule_due_once"),
            models.UniqueConstraint(
                fields=["schedule", "trigger_key"],
                name="run_schedule_trigger_once",
                condition=~models.Q(trigger_key=""),
            ),
            models.CheckConstraint(
                condition=models.Q(replicates__range=(1, 100)), name="run_replicates_1_to_100"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=RunState.values), name="run_known_state"
            ),
        ]
        indexes = [
            models.Index(fields=["model_version", "-created_at"], name="run_by_version"),
            models.Index(
                fields=["created_at"],
                name="run_unfinished",
                condition=models.Q(state__in=["queued", "running"]),
            ),
            # Reader: leases.claim().
            models.Index(
                fields=["-urgency", "created_at"],
                name="run_to_claim",
                condition=models.Q(state__in=["queued", "running"]),
            ),
        ]


class Shard(models.Model):
    """A unit of work: cases [first, last] by position, `replicates` of each from
    `first_replicate` (None: all that the run has). Owned by a lease; `fence` grows with every
    lease, and a write under an old fence is refused."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="shards")
    index = models.PositiveIntegerField()
    first_position = models.PositiveIntegerField()
    last_position = models.PositiveIntegerField()
    first_replicate = models.PositiveSmallIntegerField(default=0)
    replicates = models.PositiveSmallIntegerField(null=True)
    # Of a retry: the class of error that its slots make good.
    error_kind = models.CharField(max_length=40, blank=True, default="", db_default="")
    done = models.BooleanField(default=False)
    lease_owner = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    # Lease times are the database's: no worker's or page's own clock counts.
    not_before = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "index"], name="shard_index_once"),
        ]
        indexes = [
            # Reader: leases.claim().
            models.Index(
                fields=["not_before", "id"], name="shard_todo", condition=models.Q(done=False)
            ),
            models.Index(
                fields=["run", "not_before", "id"],
                name="shard_free",
                condition=models.Q(done=False, lease_owner=""),
            ),
            # And leases.sweep().
            models.Index(
                fields=["run", "lease_until"],
                name="shard_leased",
                condition=models.Q(done=False) & ~models.Q(lease_owner=""),
            ),
        ]


class Payload(models.Model):
    """Content-addressed bytes (SHA-256 of the uncompressed content), zstd, stored once."""

    digest = models.BinaryField(primary_key=True, max_length=32)
    codec = models.CharField(max_length=8, default="zstd")
    size = models.PositiveIntegerField()
    data = models.BinaryField()
    created_at = models.DateTimeField(default=clock.now)


class SampleStatus(models.TextChoices):
    ANSWERED = "answered", "Answered"
    FILTERED = "filtered", "Content-filtered"
    REFUSED = "refused", "Refused by the endpoint"
    ERROR = "error", "Error"


class Sample(models.Model):
    """The one stored answer of a slot. Partitioned by `month`; immutable (trigger)."""

    pk = models.CompositePrimaryKey("month", "id")
    month = models.DateField()
    id = models.UUIDField(default=uuid7)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="samples", db_index=False)
    case = models.ForeignKey(
        SuiteCase, on_delete=models.PROTECT, related_name="samples", db_index=False
    )
    replicate = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=10, choices=SampleStatus.choices)
    error_kind = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    text = models.TextField(blank=True)
    tool_calls = models.JSONField(default=list)
    finish_reason = models.CharField(max_length=40, blank=True)
    request_digest = models.BinaryField(max_length=32)
    response_digest = models.BinaryField(max_length=32, null=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    cached_tokens = models.PositiveIntegerField(null=True)
    # By the price that was valid at `answered_at`; None where none was known.
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True)
    currency = models.CharField(max_length=3, blank=True)
    latency_ms = models.FloatField(null=True)
    # Streamed answers only: from the request to the first piece of text.
    first_token_ms = models.FloatField(null=True)
    attempts = models.PositiveSmallIntegerField(default=1)
    # What was asked for beside what was served: an alias that is re-pointed shows here.
    requested_model = models.CharField(max_length=300, blank=True)
    returned_model = models.CharField(max_length=300, blank=True)
    system_fingerprint = models.CharField(max_length=200, blank=True)
    headers = models.JSONField(default=dict)
    style = models.JSONField(default=dict)
    answered_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["month", "run", "case", "replicate"], name="sample_slot_once"
            )
        ]


class Score(models.Model):
    """A scorer's value for a sample, under a scoring revision. Partitioned by `month`."""

    pk = models.CompositePrimaryKey("month", "id")
    month = models.DateField()
    id = models.UUIDField(default=uuid7)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="scores", db_index=False)
    sample_id = models.UUIDField()
    case = models.ForeignKey(
        SuiteCase, on_delete=models.PROTECT, related_name="scores", db_index=False
    )
    replicate = models.PositiveSmallIntegerField()
    scoring_revision = models.PositiveIntegerField(default=1)
    metric_key = models.CharField(max_length=120)
    value = models.FloatField(null=True)
    explanation = models.TextField(blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["month", "run", "sample_id", "scoring_revision", "metric_key"],
                name="score_once",
            )
        ]


class ObservedIdentity(BaseModel):
    """What an endpoint said that it served when asked for a version: may move, and is a finding."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="observed_identities"
    )
    returned_model = models.CharField(max_length=300, blank=True)
    system_fingerprint = models.CharField(max_length=200, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.PositiveBigIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "returned_model", "system_fingerprint"],
                name="observed_identity_once",
            )
        ]
