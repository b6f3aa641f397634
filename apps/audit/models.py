"""The append-only history. Writers insert events without a lock; one sequencer numbers them."""

from __future__ import annotations

from django.db import models

from apps.core import clock
from apps.core.models import BaseModel


class AuditEvent(BaseModel):
    """One write, committed with it. `body` is the RFC 8785 canonical JSON whose hash is the leaf.

    Actor and object are named by id and printed name, without a foreign key: what an entry
    names may disappear, the entry may not.
    """

    occurred_at = models.DateTimeField(default=clock.now)
    action = models.CharField(max_length=80)
    actor_id = models.CharField(max_length=64, blank=True)
    actor_name = models.CharField(max_length=300)
    session_ref = models.CharField(max_length=64, blank=True)
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(max_length=300, blank=True)
    summary = models.TextField()
    body = models.TextField()
    leaf_hash = models.BinaryField(max_length=32)

    class Meta:
        indexes = [
            models.Index(
                fields=["object_type", "object_id", "occurred_at"], name="audit_by_object"
            ),
            models.Index(fields=["actor_id", "occurred_at"], name="audit_by_actor"),
            models.Index(fields=["occurred_at"], name="audit_by_time"),
        ]


class AuditPending(models.Model):
    """An entry that has no number yet. Written by a trigger with the entry, taken away by the
    sequencer; whoever deletes a row here only delays a number, and `verify` still counts it."""

    event = models.OneToOneField(
        AuditEvent, primary_key=True, on_delete=models.PROTECT, related_name="+"
    )


class AuditLeaf(models.Model):
    """The gapless number of an event: its place in the Merkle tree (RFC 9162 section 2.1)."""

    seq = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="leaf")
    leaf_hash = models.BinaryField(max_length=32)
    sequenced_at = models.DateTimeField(default=clock.now)


class AuditHead(models.Model):
    """The tree after a batch: its size, root, and the frontier from which it grows."""

    size = models.BigIntegerField(primary_key=True)
    root_hash = models.BinaryField(max_length=32)
    frontier = models.JSONField()
    created_at = models.DateTimeField(default=clock.now)
