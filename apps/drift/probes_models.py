"""The cheap layers: probes and their rounds, what production saw, and news about identity."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import BaseModel, VersionedModel
from apps.drift.models import ChangeEvent
from apps.registry.models import ModelVersion

USER = settings.AUTH_USER_MODEL


class ProbeKind(models.TextChoices):
    IDENTITY = "identity", "Identity"
    PASSIVE = "passive", "Observed traffic"
    LOGPROB = "logprob", "One-token log-probabilities"
    BORDER = "border", "Border inputs"
    SAMPLING = "sampling", "Sampling"


class ProbePhase(models.TextChoices):
    COLLECTING = "collecting", "Collecting its baseline"
    WATCHING = "watching", "Watching"
    UNSUPPORTED = "unsupported", "Not possible at this endpoint"


class Probe(VersionedModel):
    """One e-process of one version. A new baseline retires it and begins another; the old one
    stays readable. `state` is what `apps.drift.stats.probes` needs to go on. A round is worked on
    under a lease; `fence` grows with every lease, and a write under an old fence is refused."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="probes")
    kind = models.CharField(max_length=10, choices=ProbeKind.choices)
    phase = models.CharField(
        max_length=12, choices=ProbePhase.choices, default=ProbePhase.COLLECTING
    )
    note = models.TextField(blank=True, help_text="What is missing, or went wrong last.")
    enabled = models.BooleanField(default=True)
    interval_seconds = models.PositiveIntegerField(help_text="Between two rounds while watching.")
    collect_seconds = models.PositiveIntegerField(help_text="Between two rounds of its baseline.")
    days_wanted = models.FloatField(help_text="Over how many days the baseline is collected.")
    rounds_wanted = models.PositiveIntegerField(help_text="How many rounds the baseline needs.")
    next_due_at = models.DateTimeField(null=True)
    lease_owner = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    state = models.JSONField(default=dict)
    alpha = models.FloatField(help_text="Of the version: over its life.")
    log_e = models.FloatField(default=0.0)
    max_log_e = models.FloatField(default=0.0)
    rounds = models.PositiveIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0, help_text="Spent so far.")
    alarmed_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "kind"],
                condition=models.Q(retired_at__isnull=True),
                name="probe_one_current",
            ),
            models.CheckConstraint(
                condition=models.Q(alpha__gt=0, alpha__lt=1), name="probe_alpha_is_a_probability"
            ),
        ]
        indexes = [
            # Reader: probing.claim().
            models.Index(
                fields=["next_due_at"],
                name="probe_due",
                condition=models.Q(enabled=True, retired_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.model_version}"


class ProbeRound(BaseModel):
    """One round and all that it was told (immutable by trigger): the e-value can be computed again
    from these rows. At most one for a due time."""

    probe = models.ForeignKey(Probe, on_delete=models.PROTECT, related_name="rounds_done")
    number = models.PositiveIntegerField()
    due_at = models.DateTimeField()
    phase = models.CharField(max_length=12)
    asked = models.PositiveIntegerField()
    answered = models.PositiveIntegerField()
    tokens = models.PositiveIntegerField(default=0)
    latency_ms = models.FloatField(null=True, help_text="Median of the answers: shows load.")
    at_once = models.PositiveSmallIntegerField(default=1)
    answers = models.JSONField(default=dict)
    ranks = models.JSONField(default=dict)
    log_e = models.FloatField()
    max_log_e = models.FloatField()
    problem = models.TextField(blank=True)
    client_version = models.CharField(max_length=80, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["probe", "due_at"], name="probe_round_due_once"),
            models.UniqueConstraint(fields=["probe", "number"], name="probe_round_number_once"),
        ]


class IdentityFinding(BaseModel):
    """A value that a version's endpoint never showed before (immutable by trigger)."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="identity_findings"
    )
    probe = models.ForeignKey(Probe, on_delete=models.PROTECT, related_name="findings")
    facet = models.CharField(max_length=40)
    value = models.TextField()
    value_hash = models.CharField(max_length=64)
    known = models.JSONField(default=list)
    surprise = models.FloatField(
        help_text="Probability of such a round if nothing changed, at this one look."
    )
    telling = models.BooleanField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["probe", "facet", "value_hash"], name="identity_finding_once"
            )
        ]


class ObservationBatch(BaseModel):
    """A batch from production, taken once (immutable by trigger): counts only, no content."""

    reporter = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="+")
    batch_id = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    accepted = models.PositiveIntegerField()
    unknown = models.PositiveIntegerField(help_text="Observations of no registered version.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reporter", "batch_id"], name="observation_batch_once")
        ]


class ObservedTraffic(BaseModel):
    """What production saw of a version in one hour, by served name and fingerprint."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="observed_traffic"
    )
    hour = models.DateTimeField()
    returned_model = models.CharField(max_length=300, blank=True)
    system_fingerprint = models.CharField(max_length=200, blank=True)
    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    latency_ms_sum = models.FloatField(default=0.0)
    latency_count = models.PositiveBigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "hour", "returned_model", "system_fingerprint"],
                name="observed_traffic_hour_once",
            )
        ]


class ProbeEvidence(BaseModel):
    """The round of a probe that a change event rests on (immutable by trigger)."""

    change_event = models.ForeignKey(
        ChangeEvent, on_delete=models.PROTECT, related_name="probe_evidence"
    )
    round = models.ForeignKey(ProbeRound, on_delete=models.PROTECT, related_name="evidence")
    sentence = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["change_event", "round"], name="probe_evidence_once")
        ]


class ControlArm(BaseModel):
    """A pinned version that is rerun beside another, so that our own changes are seen as ours."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="controls"
    )
    control_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="controlled"
    )
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "control_version"], name="control_arm_once"
            ),
            models.CheckConstraint(
                condition=~models.Q(model_version=models.F("control_version")),
                name="control_arm_is_another",
            ),
        ]


class ControlFinding(BaseModel):
    """Did the control move with the version? (immutable by trigger)"""

    change_event = models.ForeignKey(
        ChangeEvent, on_delete=models.PROTECT, related_name="control_findings"
    )
    comparison = models.ForeignKey(
        "drift.Comparison", on_delete=models.PROTECT, related_name="control_findings"
    )
    control_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    together = models.BooleanField()
    sentence = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["change_event", "comparison"], name="control_finding_once"
            )
        ]
