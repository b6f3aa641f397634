"""Tickets, their conversation, decisions, and what the policy did."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.accounts.serializers import PersonField
from apps.core.serializers import FiniteFloatField, Ref, Row, Strict
from apps.registry.models import Assumption
from apps.tickets.models import (
    Comment,
    ControlAction,
    ControlPolicy,
    Decision,
    Outcome,
    Ticket,
)


class TicketRow(Row):
    name = serializers.CharField(source="__str__", read_only=True)
    model_version = serializers.SerializerMethodField()
    approvals = serializers.SerializerMethodField()
    use_cases = serializers.SerializerMethodField()

    class Meta:
        model = Ticket
        fields = (
            "id",
            "number",
            "name",
            "change_event",
            "model_version",
            "approvals",
            "use_cases",
            "state",
            "severity",
            "severity_reason",
            "policy",
            "due_at",
            "assignee",
            "decided_at",
            "row_version",
            "created_at",
            "updated_at",
        )

    @extend_schema_field(Ref)
    def get_model_version(self, ticket: Ticket) -> dict[str, str]:
        version = ticket.change_event.model_version
        return {"id": str(version.pk), "name": str(version)}

    @extend_schema_field(Ref(many=True))
    def get_approvals(self, ticket: Ticket) -> list[dict[str, str]]:
        return [{"id": str(a.pk), "name": str(a)} for a in ticket.approvals.all()]

    @extend_schema_field(Ref(many=True))
    def get_use_cases(self, ticket: Ticket) -> list[dict[str, str]]:
        seen = {a.use_case_id: a.use_case for a in ticket.approvals.all()}
        return [{"id": str(u.pk), "name": str(u)} for u in seen.values()]


class Assignment(Strict):
    assignee = PersonField(allow_null=True, help_text="Id or e-mail address; null for nobody.")


class CommentRow(Row):
    class Meta:
        model = Comment
        fields = ("id", "ticket", "author", "text", "created_at")


class NewComment(Strict):
    text = serializers.CharField(max_length=20_000)


class DecisionRow(Row):
    class Meta:
        model = Decision
        fields = (
            "id",
            "ticket",
            "outcome",
            "rationale",
            "conditions",
            "assumption_changes",
            "state",
            "proposed_by",
            "answered_by",
            "answered_at",
            "answer_reason",
            "row_version",
            "created_at",
            "updated_at",
        )


class AssumptionChange(Strict):
    """A sentence of the approval as it shall stand after a re-approval, or is dropped."""

    code = serializers.CharField(max_length=20)
    approval = serializers.CharField(
        max_length=40, required=False, help_text="Where two approvals use the same code: A-3."
    )
    drop = serializers.BooleanField(required=False)
    sentence = serializers.CharField(max_length=2000, required=False)
    threshold = FiniteFloatField(required=False)
    tolerance = FiniteFloatField(min_value=0, required=False)
    criticality = serializers.ChoiceField(choices=Assumption.Criticality.choices, required=False)


class NewDecision(Strict):
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    rationale = serializers.CharField(max_length=20_000)
    conditions = serializers.CharField(max_length=20_000, required=False, allow_blank=True)
    assumption_changes = AssumptionChange(
        many=True,
        required=False,
        max_length=100,  # type: ignore[call-arg]
    )


class ActionRow(Row):
    class Meta:
        model = ControlAction
        fields = (
            "id",
            "ticket",
            "kind",
            "target_type",
            "target_id",
            "target_name",
            "reversed_at",
            "reversed_by",
            "reverse_reason",
            "created_at",
        )


class PolicyRow(Row):
    class Meta:
        model = ControlPolicy
        fields = ("id", "number", "document", "created_by", "reason", "created_at")


class NewPolicy(Strict):
    document = serializers.DictField(help_text="The whole policy, as GET shows it.")
    reason = serializers.CharField(max_length=2000)


def plain(validated: dict[str, Any]) -> dict[str, Any]:
    """Nested input as plain dicts: it is stored as JSON."""
    changes = validated.get("assumption_changes")
    if changes is None:
        return validated
    return {**validated, "assumption_changes": [dict(c) for c in changes]}
