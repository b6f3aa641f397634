"""What answers cost and what may be spent."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import BaseModel, VersionedModel
from apps.registry.models import ModelVersion
from apps.registry.models import Provider as RegistryProvider

USER = settings.AUTH_USER_MODEL


class Price(BaseModel):
    """What a provider asks for a million tokens of a model, from a day on. Data, never shipped as
    a fact. `model_name` "*" stands for every model of the provider that has no price of its own.
    A later price ends an earlier one; a wrong one is withdrawn, not changed."""

    provider = models.ForeignKey(RegistryProvider, on_delete=models.PROTECT, related_name="prices")
    model_name = models.CharField(max_length=300)
    currency = models.CharField(max_length=3)
    prompt_per_million = models.DecimalField(max_digits=16, decimal_places=6)
    completion_per_million = models.DecimalField(max_digits=16, decimal_places=6)
    cached_per_million = models.DecimalField(max_digits=16, decimal_places=6, null=True)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True)
    source = models.CharField(max_length=300, blank=True, help_text="Where it was read.")
    recorded_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model_name", "valid_from"],
                condition=models.Q(withdrawn_at__isnull=True),
                name="price_valid_from_once",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    prompt_per_million__gte=0,
                    completion_per_million__gte=0,
                )
                & (models.Q(cached_per_million__isnull=True) | models.Q(cached_per_million__gte=0)),
                name="price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} of {self.provider}"


class Budget(VersionedModel):
    """What may be used in a calendar month (UTC) or over all time, for a version, a provider or
    (neither named) everything: tokens, money, or both. Work stops where either is reached."""

    class Period(models.TextChoices):
        MONTH = "month", "In a calendar month (UTC)"
        TOTAL = "total", "Over all time"

    model_version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="budgets"
    )
    provider = models.ForeignKey(
        RegistryProvider, null=True, blank=True, on_delete=models.PROTECT, related_name="budgets"
    )
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.MONTH)
    max_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    max_cost = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    enabled = models.BooleanField(default=True)
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "provider", "period"],
                name="budget_scope_period_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(model_version__isnull=True) | models.Q(provider__isnull=True),
                name="budget_one_scope",
            ),
            models.CheckConstraint(
                condition=models.Q(max_tokens__isnull=False) | models.Q(max_cost__isnull=False),
                name="budget_some_limit",
            ),
        ]


class Spending(models.Model):
    """What a run used in a month, kept up with every group of answers: budgets are checked on
    these few rows, never on the samples. `currency` is "" where no price was known. Calls that are
    no slots of a run (`charging`) have rows by purpose, and no run."""

    class Purpose(models.TextChoices):
        ANSWERS = "answers", "Answers of a run"
        JUDGE = "judge", "A judge's verdicts"
        EMBEDDING = "embedding", "Embeddings"
        TRIED = "tried", "Tried cases"
        CHECK = "check", "Whether the endpoint is up"

    run = models.ForeignKey(
        "evaluations.Run", null=True, on_delete=models.CASCADE, related_name="spending"
    )
    purpose = models.CharField(
        max_length=10, choices=Purpose.choices, default=Purpose.ANSWERS, db_default="answers"
    )
    scoring = models.ForeignKey(
        "evaluations.Scoring", null=True, on_delete=models.CASCADE, related_name="spending"
    )
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    month = models.DateField()
    currency = models.CharField(max_length=3, blank=True)
    cost = models.DecimalField(max_digits=24, decimal_places=10, default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    samples = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "month", "currency"], name="spending_run_month_currency_once"
            ),
            models.UniqueConstraint(
                fields=["purpose", "model_version", "scoring", "month", "currency"],
                name="spending_purpose_once",
                condition=models.Q(run__isnull=True),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(run__isnull=False, purpose="answers")
                | (models.Q(run__isnull=True) & ~models.Q(purpose="answers")),
                name="spending_of_a_run_or_a_purpose",
            ),
        ]
        indexes = [models.Index(fields=["month", "model_version"], name="spending_month_version")]
