"""Reassessment tickets: conversation, decisions of two people, and the policy's own acts."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.response import Response

from apps.access import auth
from apps.access.services import require_fresh
from apps.accounts.api import ChildResource, VisibleResource
from apps.core.api import Detailed, FilterSet, Listed, acts, by_choice, by_id, creates, example
from apps.core.serializers import OptionalReason, Reason
from apps.tickets import controls, policy, services
from apps.tickets.models import (
    Comment,
    ControlAction,
    ControlPolicy,
    Decision,
    Outcome,
    Severity,
    Ticket,
    TicketState,
)
from apps.tickets.serializers import (
    ActionRow,
    Assignment,
    CommentRow,
    DecisionRow,
    NewComment,
    NewDecision,
    NewPolicy,
    PolicyRow,
    TicketRow,
    plain,
)

TEAM = "change_event__model_version__team"


class TicketFilter(FilterSet):
    state = by_choice(TicketState)
    severity = by_choice(Severity)
    assignee = by_id("assignee")
    change_event = by_id("change_event")
    version = df.UUIDFilter(
        field_name="change_event__model_version_id", label="Id of the model version."
    )
    use_case = df.UUIDFilter(
        field_name="approvals__use_case_id", distinct=True, label="Id of the use case."
    )
    due_before = df.IsoDateTimeFilter(field_name="due_at", lookup_expr="lt")
    undecided = df.BooleanFilter(
        field_name="decided_at", lookup_expr="isnull", label="Only those still to decide."
    )

    class Meta:
        model = Ticket
        fields = ("number",)


class TicketResource(Listed, Detailed, VisibleResource):
    team_path = TEAM
    queryset = Ticket.objects.select_related(
        "change_event__model_version", "policy", "assignee"
    ).prefetch_related("approvals__use_case")
    serializer_class = TicketRow
    filterset_class = TicketFilter
    ordering_fields = ("created_at", "due_at", "number")

    @acts(
        request=Assignment,
        response=TicketRow,
        summary="Give it to somebody, or to nobody",
        if_match=True,
        examples=[example("To a person", {"assignee": "olga@northwind.example"})],
    )
    def assign(self, request: Any, pk: Any = None) -> Any:
        ticket = self.get_object()
        services.assign(
            actor=request.user,
            ticket=ticket,
            row_version=self.version(ticket),
            **self.body(Assignment),
        )
        return self.shown(ticket)


class OfTicket(ChildResource):
    parent_queryset = Ticket.objects
    parent_team_path = TEAM
    parent_field = "ticket"


class CommentResource(Listed, Detailed, OfTicket):
    queryset = Comment.objects.select_related("ticket", "author")
    serializer_class = CommentRow
    ordering = ("id",)

    @creates(request=NewComment, response=CommentRow, summary="Write a comment")
    def create(self, request: Any, **kwargs: Any) -> Any:
        comment = services.comment(actor=request.user, ticket=self.parent, **self.body(NewComment))
        return self.shown(comment, status=201)


class TicketDecisions(Listed, Detailed, OfTicket):
    queryset = Decision.objects.select_related("ticket", "proposed_by", "answered_by")
    serializer_class = DecisionRow
    scopes: ClassVar = {"create": "decide"}

    @creates(
        request=NewDecision,
        response=DecisionRow,
        summary="Propose a decision; another person confirms it",
        description="A session that is older than a policy's demand must sign in afresh first "
        "(403, code reauthentication_required).",
        examples=[
            example(
                "Approve again, with a lower threshold",
                {
                    "outcome": "reapprove",
                    "rationale": "Accuracy fell by two points; the process tolerates it.",
                    "assumption_changes": [{"code": "A1", "threshold": 0.78}],
                },
            ),
            example("Suspend", {"outcome": "suspend", "rationale": "It answers without JSON."}),
        ],
    )
    def create(self, request: Any, **kwargs: Any) -> Any:
        ticket = self.parent
        decision = services.propose_decision(
            auth=auth.of_request(request),
            ticket=ticket,
            row_version=self.version(ticket),
            **plain(self.body(NewDecision)),
        )
        return self.shown(decision, status=201)


class TicketActions(Listed, OfTicket):
    """What the policy did by itself."""

    queryset = ControlAction.objects.select_related("ticket", "reversed_by")
    serializer_class = ActionRow


class DecisionFilter(FilterSet):
    ticket = by_id("ticket")
    state = by_choice(Decision.State)
    outcome = by_choice(Outcome)
    proposed_by = by_id("proposed_by")

    class Meta:
        model = Decision
        fields = ()


class DecisionResource(Listed, Detailed, VisibleResource):
    team_path = f"ticket__{TEAM}"
    queryset = Decision.objects.select_related("ticket", "proposed_by", "answered_by")
    serializer_class = DecisionRow
    filterset_class = DecisionFilter
    scopes: ClassVar = dict.fromkeys(("confirm", "send_back", "withdraw"), "decide")

    @acts(
        request=OptionalReason,
        response=DecisionRow,
        summary="Confirm what another person proposed: it takes effect",
        if_match=True,
    )
    def confirm(self, request: Any, pk: Any = None) -> Any:
        decision = self.get_object()
        self.version(decision)
        services.confirm_decision(
            auth=auth.of_request(request), decision=decision, **self.body(OptionalReason)
        )
        return self.shown(decision)

    @acts(request=Reason, response=DecisionRow, summary="Send back with a reason", if_match=True)
    def send_back(self, request: Any, pk: Any = None) -> Any:
        decision = self.get_object()
        self.version(decision)
        services.send_back_decision(
            auth=auth.of_request(request), decision=decision, **self.body(Reason)
        )
        return self.shown(decision)

    @acts(response=DecisionRow, summary="Withdraw your own proposal", if_match=True)
    def withdraw(self, request: Any, pk: Any = None) -> Any:
        decision = self.get_object()
        self.version(decision)
        self.nothing()
        services.withdraw_decision(auth=auth.of_request(request), decision=decision)
        return self.shown(decision)


class ActionFilter(FilterSet):
    ticket = by_id("ticket")
    kind = by_choice(ControlAction.Kind)
    standing = df.BooleanFilter(
        field_name="reversed_at", lookup_expr="isnull", label="Only those not reversed."
    )

    class Meta:
        model = ControlAction
        fields = ("target_id",)


class ActionResource(Listed, Detailed, VisibleResource):
    team_path = f"ticket__{TEAM}"
    queryset = ControlAction.objects.select_related("ticket", "reversed_by")
    serializer_class = ActionRow
    filterset_class = ActionFilter
    scopes: ClassVar = {"reverse": "decide"}

    @acts(request=Reason, response=ActionRow, summary="Undo what the policy did")
    def reverse(self, request: Any, pk: Any = None) -> Any:
        done = self.get_object()
        require_fresh(auth.of_request(request))
        controls.reverse_action(actor=request.user, action=done, **self.body(Reason))
        return self.shown(done)


class PolicyResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset: QuerySet[ControlPolicy] = ControlPolicy.objects.select_related("created_by")
    serializer_class = PolicyRow
    ordering = ("-number", "-id")
    ordering_fields = ("number", "created_at")
    scopes: ClassVar = {"create": "admin"}

    @creates(
        request=NewPolicy,
        response=PolicyRow,
        summary="Publish a policy: it is in force from now on",
        description="Take the document of `GET /policies/current`, change it, publish the whole.",
    )
    def create(self, request: Any) -> Any:
        published = policy.publish(actor=request.user, **self.body(NewPolicy))
        return self.shown(published, status=201)

    @extend_schema(summary="The policy in force", responses=PolicyRow, filters=False)
    @action(detail=False, methods=["get"])
    def current(self, request: Any) -> Response:
        return Response(self.get_serializer(policy.current()).data)
