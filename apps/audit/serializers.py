"""The history as machines read it: the exact bytes that were hashed are in `body`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.audit.models import AuditEvent, AuditHead, AuditLeaf
from apps.core.serializers import Row


class HexField(serializers.Field):  # type: ignore[type-arg]
    """Bytes as lower-case hexadecimal."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return bytes(value).hex()


@extend_schema_field({"type": "string", "pattern": "^[0-9a-f]{64}$"})
class DigestField(HexField):
    pass


class EntryRow(Row):
    seq = serializers.SerializerMethodField(
        help_text="Its place in the tree; null until it is numbered, within seconds."
    )
    leaf_hash = DigestField()
    body = serializers.CharField(
        read_only=True,
        help_text="RFC 8785 canonical JSON. leaf_hash is SHA-256 of a zero byte and these bytes.",
    )

    class Meta:
        model = AuditEvent
        fields = (
            "id",
            "seq",
            "occurred_at",
            "action",
            "actor_id",
            "actor_name",
            "session_ref",
            "object_type",
            "object_id",
            "object_name",
            "summary",
            "body",
            "leaf_hash",
        )

    def get_seq(self, event: AuditEvent) -> int | None:
        leaf = getattr(event, "leaf", None)
        return leaf.seq if leaf else None


class LeafRow(Row):
    event_id = serializers.UUIDField(read_only=True)
    leaf_hash = DigestField()

    class Meta:
        model = AuditLeaf
        fields = ("seq", "event_id", "leaf_hash", "sequenced_at")


class HeadRow(Row):
    root_hash = DigestField()

    class Meta:
        model = AuditHead
        fields = ("size", "root_hash", "created_at")


class VerificationRow(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    entries = serializers.IntegerField()
    pending = serializers.IntegerField(help_text="Written but not yet numbered.")
    root: Any = serializers.CharField(allow_blank=True, help_text="Root of the tree, RFC 9162.")
    first_bad = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    sentence = serializers.CharField()
