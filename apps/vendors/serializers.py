"""Notices: what a vendor announced."""

from __future__ import annotations

from rest_framework import serializers

from apps.accounts.serializers import VisibleField
from apps.core.serializers import Row, Strict
from apps.registry.models import Provider
from apps.vendors.models import Notice


class NoticeRow(Row):
    class Meta:
        model = Notice
        fields = (
            "id",
            "provider",
            "title",
            "summary",
            "url",
            "model_names",
            "announced_at",
            "effective_at",
            "recorded_by_name",
            "created_at",
        )


class NewNotice(Strict):
    provider = VisibleField(queryset=Provider.objects.all())
    title = serializers.CharField(max_length=300)
    summary = serializers.CharField(max_length=20_000, required=False, allow_blank=True)
    url = serializers.URLField(max_length=200, required=False, allow_blank=True)
    model_names = serializers.ListField(
        child=serializers.CharField(max_length=300),
        max_length=200,
        required=False,
        help_text="The names that the notice speaks of, as requested or as the family is called.",
    )
    announced_at = serializers.DateTimeField()
    effective_at = serializers.DateTimeField()
