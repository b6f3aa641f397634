"""Is it still the same model? Baselines, watches, comparisons and change events."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import BaseModel, VersionedModel
from apps.evaluations.models import Run, SuiteCase, SuiteRevision
from apps.registry.models import Approval, Assumption, ModelVersion

USER = settings.AUTH_USER_MODEL


class Baseline(BaseModel):
    """The runs that later runs of one suite revision are compared with."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="baselines"
    )
    suite_revision = models.ForeignKey(
        SuiteRevision, on_delete=models.PROTECT, related_name="baselines"
    )
    runs = models.ManyToManyField(Run, related_name="baselines")
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    retired_at = models.DateTimeField(null=True)
    summary = models.JSONField(default=dict, help_text="Answers per case, metric means, noise.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "suite_revision"],
                condition=models.Q(retired_at__isnull=True),
                name="baseline_one_current",
            )
        ]


class ApprovalBaseline(BaseModel):
    """The baseline that an approval was given on (immutable by trigger)."""

    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="baseline_links")
    baseline = models.ForeignKey(Baseline, on_delete=models.PROTECT, related_name="approval_links")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["approval", "baseline"], name="approval_baseline_once")
        ]


class Watch(VersionedModel):
    """One e-process: baseline × metric. `state` is what `apps.drift.stats` needs to go on."""

    baseline = models.ForeignKey(Baseline, on_delete=models.PROTECT, related_name="watches")
    metric_key = models.CharField(max_length=120)
    state = models.JSONField(default=dict)
    log_e = models.FloatField(default=0.0)
    max_log_e = models.FloatField(default=0.0)
    looks = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["baseline", "metric_key"], name="watch_metric_once")
        ]


class Verdict(models.TextChoices):
    EQUIVALENT = "equivalent", "Equivalent"
    CHANGED_IMMATERIAL = "changed_immaterial", "Changed (immaterial)"
    CHANGED_MATERIAL = "changed_material", "Changed (material)"
    INCONCLUSIVE = "inconclusive", "Inconclusive"


class Comparison(BaseModel):
    """One run against one baseline."""

    baseline = models.ForeignKey(Baseline, on_delete=models.PROTECT, related_name="comparisons")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="comparisons")
    look = models.PositiveIntegerField()
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField()
    log_e = models.FloatField(help_text="Combined over the watches of this baseline, natural log.")
    alpha = models.FloatField()
    method = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["baseline", "run"], name="comparison_once"),
            models.UniqueConstraint(fields=["baseline", "look"], name="comparison_look_once"),
        ]


class TopUp(BaseModel):
    """What became of an inconclusive rerun: more answers were asked for, or why not (immutable)."""

    comparison = models.OneToOneField(Comparison, on_delete=models.PROTECT, related_name="top_up")
    run = models.OneToOneField(
        Run, null=True, on_delete=models.PROTECT, related_name="top_up_of", help_text="The new run."
    )
    reason = models.TextField(help_text="Why it was asked for, or why not.")
    rule = models.JSONField(default=dict, help_text="The policy's rule that was applied.")


class Evidence(VersionedModel):
    """One life of a version: a capital of 1 split over all sources of evidence. One alpha."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="evidence"
    )
    alpha = models.FloatField()
    log_e = models.FloatField(default=0.0, help_text="Natural logarithm of the combined e-value.")
    max_log_e = models.FloatField(default=0.0)
    looks = models.PositiveIntegerField(default=0)
    alarmed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version"],
                condition=models.Q(ended_at__isnull=True),
                name="evidence_one_current",
            )
        ]


class EvidenceSource(VersionedModel):
    """One e-process within a life: a suite's baseline, a probe, the identity."""

    class Kind(models.TextChoices):
        SUITE = "suite", "Suite"
        PROBE = "probe", "Probe"
        IDENTITY = "identity", "Identity"

    evidence = models.ForeignKey(Evidence, on_delete=models.PROTECT, related_name="sources")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    key = models.CharField(max_length=120)
    baseline = models.ForeignKey(
        Baseline, null=True, on_delete=models.PROTECT, related_name="evidence_sources"
    )
    weight = models.FloatField(null=True, help_text="Fixed before the first look; null until then.")
    log_e = models.FloatField(default=0.0)
    max_log_e = models.FloatField(default=0.0)
    looks = models.PositiveIntegerField(default=0)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["evidence", "kind", "key"], name="evidence_source_once")
        ]


class EvidenceLook(BaseModel):
    """One point of the version's e-value: which source moved it, and to what (immutable)."""

    evidence = models.ForeignKey(Evidence, on_delete=models.PROTECT, related_name="history")
    source = models.ForeignKey(EvidenceSource, on_delete=models.PROTECT, related_name="history")
    number = models.PositiveIntegerField()
    ref = models.CharField(max_length=120, help_text="What was looked at: a run, a probe round.")
    at = models.DateTimeField()
    source_log_e = models.FloatField()
    log_e = models.FloatField(help_text="Combined over all sources after this look.")
    max_log_e = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["evidence", "number"], name="evidence_look_once"),
            models.UniqueConstraint(fields=["source", "ref"], name="evidence_look_ref_once"),
        ]


class MetricResult(BaseModel):
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="metrics")
    metric_key = models.CharField(max_length=120)
    label = models.CharField(max_length=200)
    unit = models.CharField(max_length=20, blank=True)
    baseline_mean = models.FloatField(null=True)
    current_mean = models.FloatField(null=True)
    effect = models.FloatField(null=True)
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    margin = models.FloatField(null=True)
    log_e = models.FloatField(default=0.0)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField(blank=True)
    more_answers = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "metric_key"], name="metric_result_once")
        ]


class ChangeEvent(VersionedModel):
    """This version began to behave differently between `window_start` and `window_end`."""

    class Kind(models.TextChoices):
        SILENT = "silent", "Silent"
        ANNOUNCED = "announced", "Announced"
        LATE = "late_announced", "Announced late"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    number = models.PositiveIntegerField(unique=True)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="change_events"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.SILENT)
    state = models.CharField(max_length=6, choices=State.choices, default=State.OPEN)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    sentence = models.TextField()
    comparisons = models.ManyToManyField(Comparison, related_name="change_events")
    closed_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version"],
                condition=models.Q(state="open"),
                name="change_event_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(window_end__gte=models.F("window_start")),
                name="change_event_window_ordered",
            ),
        ]

    def __str__(self) -> str:
        return f"C-{self.number}"


class BrokenAssumption(BaseModel):
    change_event = models.ForeignKey(
        ChangeEvent, on_delete=models.PROTECT, related_name="broken_assumptions"
    )
    assumption = models.ForeignKey(Assumption, on_delete=models.PROTECT, related_name="breaks")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    value_before = models.FloatField(null=True)
    value_now = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["change_event", "assumption"], name="broken_assumption_once"
            )
        ]


class ExamplePair(BaseModel):
    """A telling pair of answers to one case: baseline and now."""

    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="pairs")
    case = models.ForeignKey(SuiteCase, on_delete=models.PROTECT, related_name="+")
    rank = models.PositiveSmallIntegerField()
    baseline_text = models.TextField()
    current_text = models.TextField()
    baseline_sample_id = models.UUIDField()
    current_sample_id = models.UUIDField()
    distance = models.FloatField()
    json_diff = models.JSONField(default=list)
    note = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "case"], name="example_pair_once")
        ]


# The cheap layers' tables live beside their code; Django looks for models here.
from apps.drift.probes_models import (  # noqa: E402
    ControlArm,
    ControlFinding,
    IdentityFinding,
    ObservationBatch,
    ObservedTraffic,
    Probe,
    ProbeEvidence,
    ProbeKind,
    ProbePhase,
    ProbeRound,
)

__all__ = [
    "ApprovalBaseline",
    "Baseline",
    "BrokenAssumption",
    "ChangeEvent",
    "Comparison",
    "ControlArm",
    "ControlFinding",
    "ExamplePair",
    "IdentityFinding",
    "MetricResult",
    "ObservationBatch",
    "ObservedTraffic",
    "Probe",
    "ProbeEvidence",
    "ProbeKind",
    "ProbePhase",
    "ProbeRound",
    "TopUp",
    "Verdict",
    "Watch",
]
