"""Who must decide what, by when."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import BaseModel, VersionedModel
from apps.drift.models import ChangeEvent
from apps.registry.models import Approval

USER = settings.AUTH_USER_MODEL


class Severity(models.TextChoices):
    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"
    CRITICAL = "critical", "Critical"


class ControlPolicy(BaseModel):
    """What a severity does. Versioned: rows are immutable, the highest number is in force."""

    number = models.PositiveIntegerField(unique=True)
    document = models.JSONField()
    created_by = models.ForeignKey(USER, null=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.TextField(blank=True)


class TicketState(models.TextChoices):
    OPEN = "open", "Open"
    PROPOSED = "proposed", "Decision proposed"
    DECIDED = "decided", "Decided"


class Ticket(VersionedModel):
    """A reassessment ticket: exactly one for a change event."""

    number = models.PositiveIntegerField(unique=True)
    change_event = models.OneToOneField(
        ChangeEvent, on_delete=models.PROTECT, related_name="ticket"
    )
    state = models.CharField(max_length=10, choices=TicketState.choices, default=TicketState.OPEN)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    severity_reason = models.TextField()
    policy = models.ForeignKey(ControlPolicy, on_delete=models.PROTECT, related_name="+")
    due_at = models.DateTimeField()
    assignee = models.ForeignKey(
        USER, null=True, blank=True, on_delete=models.PROTECT, related_name="assigned_tickets"
    )
    approvals = models.ManyToManyField(Approval, through="TicketApproval", related_name="tickets")
    decided_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"RT-{self.number}"


class TicketApproval(BaseModel):
    """An approval (hence a use case) that a ticket's change event touches."""

    ticket = models.ForeignKey(Ticket, on_delete=models.PROTECT, related_name="ticket_approvals")
    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ticket", "approval"], name="ticket_approval_once")
        ]


class Outcome(models.TextChoices):
    REAPPROVE = "reapprove", "Re-approve with a new baseline"
    CONDITIONS = "conditions", "Approve with conditions"
    SUSPEND = "suspend", "Suspend"
    RETIRE = "retire", "Retire (revoke)"
    FALSE_ALARM = "false_alarm", "False alarm"


class Decision(VersionedModel):
    """Proposed by one person, confirmed by another (the database checks)."""

    class State(models.TextChoices):
        PROPOSED = "proposed", "Proposed"
        CONFIRMED = "confirmed", "Confirmed"
        REJECTED = "rejected", "Sent back"
        WITHDRAWN = "withdrawn", "Withdrawn"

    ticket = models.ForeignKey(Ticket, on_delete=models.PROTECT, related_name="decisions")
    outcome = models.CharField(max_length=12, choices=Outcome.choices)
    rationale = models.TextField()
    conditions = models.TextField(blank=True)
    assumption_changes = models.JSONField(
        default=list,
        help_text="For a re-approval: a list of {code, threshold} or {code, drop}.",
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.PROPOSED)
    proposed_by = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="+")
    answered_by = models.ForeignKey(USER, null=True, on_delete=models.PROTECT, related_name="+")
    answered_at = models.DateTimeField(null=True)
    answer_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["ticket"],
                condition=models.Q(state="proposed"),
                name="decision_one_proposed",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["confirmed"])
                | (
                    models.Q(answered_by__isnull=False)
                    & ~models.Q(answered_by=models.F("proposed_by"))
                ),
                name="decision_second_person",
            ),
        ]


class Comment(BaseModel):
    ticket = models.ForeignKey(Ticket, on_delete=models.PROTECT, related_name="comments")
    author = models.ForeignKey(USER, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()


class ControlAction(BaseModel):
    """What a policy did by itself, and who undid it."""

    class Kind(models.TextChoices):
        HOLD_APPROVAL = "hold_approval", "Approval put on hold"
        REQUIRE_REAUTH = "require_reauth", "Fresh sign-in required to decide"

    ticket = models.ForeignKey(Ticket, on_delete=models.PROTECT, related_name="control_actions")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    target_type = models.CharField(max_length=40)
    target_id = models.UUIDField()
    target_name = models.CharField(max_length=300)
    reversed_at = models.DateTimeField(null=True)
    reversed_by = models.ForeignKey(USER, null=True, on_delete=models.PROTECT, related_name="+")
    reverse_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["ticket", "kind", "target_id"], name="control_action_once"
            )
        ]
