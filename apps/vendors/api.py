"""Notices of vendors: recorded as received, compared with what was observed."""

from __future__ import annotations

from typing import Any

import django_filters as df

from apps.accounts.api import VisibleResource
from apps.core.api import Detailed, FilterSet, Listed, by_id, creates, example
from apps.vendors import services
from apps.vendors.models import Notice
from apps.vendors.serializers import NewNotice, NoticeRow


class NoticeFilter(FilterSet):
    provider = by_id("provider")
    effective_since = df.IsoDateTimeFilter(field_name="effective_at", lookup_expr="gte")
    effective_until = df.IsoDateTimeFilter(field_name="effective_at", lookup_expr="lt")

    class Meta:
        model = Notice
        fields = ()


class NoticeResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = Notice.objects.select_related("provider")
    serializer_class = NoticeRow
    filterset_class = NoticeFilter
    ordering_fields = ("created_at", "announced_at", "effective_at")

    @creates(
        request=NewNotice,
        response=NoticeRow,
        summary="Record what a vendor announced",
        examples=[
            example(
                "A refresh",
                {
                    "provider": "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d",
                    "title": "assistant-instant gets a refresh",
                    "url": "https://labs.example.com/changelog",
                    "model_names": ["assistant-instant"],
                    "announced_at": "2026-01-02T09:00:00Z",
                    "effective_at": "2026-01-16T00:00:00Z",
                },
            )
        ],
    )
    def create(self, request: Any) -> Any:
        notice = services.record_notice(actor=request.user, **self.body(NewNotice))
        return self.shown(notice, status=201)
