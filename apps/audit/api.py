"""The history: entries, their places in the tree, the tree's heads, and a check of it all."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import django_filters as df
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.audit import services
from apps.audit.models import AuditEvent, AuditHead, AuditLeaf
from apps.audit.serializers import EntryRow, HeadRow, LeafRow, VerificationRow
from apps.core.api import Detailed, FilterSet, Listed, Resource, example


class EntryFilter(FilterSet):
    action = df.CharFilter(label="One action, e.g. registry.approval_approved.")
    app = df.CharFilter(
        field_name="action", lookup_expr="startswith", label="Actions that begin so, e.g. registry."
    )
    since = df.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="gte")
    until = df.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="lt")

    class Meta:
        model = AuditEvent
        fields = ("actor_id", "object_type", "object_id", "session_ref")


class EntryResource(Listed, Detailed, Resource):
    required_action = "audit.view"
    queryset = AuditEvent.objects.select_related("leaf")
    serializer_class = EntryRow
    filterset_class = EntryFilter
    ordering_fields = ("occurred_at",)


class TreeFilter(df.FilterSet):
    from_seq = df.NumberFilter(field_name="seq", lookup_expr="gte", label="First number wanted.")


class LeafResource(Listed, Resource):
    required_action = "audit.view"
    queryset = AuditLeaf.objects.all()
    serializer_class = LeafRow
    filterset_class = TreeFilter
    ordering = ("seq",)
    ordering_fields = ("seq",)


class HeadResource(Listed, Resource):
    required_action = "audit.view"
    queryset = AuditHead.objects.all()
    serializer_class = HeadRow
    ordering = ("-size",)
    ordering_fields = ("size",)


class VerifyResource(Resource):
    required_action = "audit.view"
    serializer_class = VerificationRow
    pagination_class = None

    @extend_schema(
        summary="Recompute the whole log and name the first entry that is not as it was written",
        responses=VerificationRow,
        filters=False,
        examples=[
            example(
                "Intact",
                {
                    "ok": True,
                    "entries": 812,
                    "pending": 0,
                    "root": "5d53469f20fef4f8eab52b88044ede69c77a6a68a60728609fc4a65ff531e7d0",
                    "first_bad": "",
                    "reason": "",
                    "sentence": "Verified: 812 entries, root 5d53469f20fef4f8….",
                },
                response=True,
            )
        ],
    )
    def verify(self, request: Any) -> Response:
        found = services.verify()
        return Response(VerificationRow({**asdict(found), "sentence": found.sentence()}).data)
