"""What every app stands on: UUIDv7 ids, optimistic locking, outbox, idempotency keys."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from apps.core import clock
from apps.core.errors import StaleVersion
from apps.core.ids import uuid7


class BaseModel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        abstract = True


class VersionedModel(BaseModel):
    """State that two people may touch. `save_versioned` refuses to overwrite a newer version."""

    row_version = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        abstract = True

    def save_versioned(self, *fields: str) -> None:
        """UPDATE ... WHERE row_version = the one that was read. Raises StaleVersion."""
        read = self.row_version
        self.updated_at = clock.now()
        values = {f: getattr(self, f) for f in (*fields, "updated_at")}
        changed = (
            type(self)  # type: ignore[attr-defined]
            ._default_manager.filter(pk=self.pk, row_version=read)
            .update(row_version=read + 1, **values)
        )
        if not changed:
            raise StaleVersion(
                "Somebody else changed this since you opened it.",
                remedy="Reload to see the current state, then try again.",
                field="row_version",
            )
        self.row_version = read + 1


class Outbox(models.Model):
    """What ended and must be told to the next app. Written in the transaction that ended it;
    taken by `govtrack.pipeline` with SKIP LOCKED, so nothing is lost between two steps."""

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=60)
    key = models.CharField(max_length=120)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=clock.now)
    # The database's time: a writer whose clock is ahead must not put the next step off.
    available_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "key"], name="outbox_topic_key_once")
        ]
        indexes = [
            # Reader: pipeline.drain(), which asks only for rows still to do.
            models.Index(
                fields=["available_at", "id"],
                name="outbox_todo",
                condition=models.Q(done_at__isnull=True),
            )
        ]

    @classmethod
    def put(cls, topic: str, key: object, **payload: object) -> None:
        """Idempotent: the same (topic, key) is told once."""
        cls.objects.bulk_create(
            [cls(topic=topic, key=str(key), payload=payload)],  # type: ignore[list-item]
            ignore_conflicts=True,
        )


class IdempotencyKey(models.Model):
    """A creating POST that is sent twice answers twice and acts once."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=64)
    key = models.CharField(max_length=200)
    method_path = models.CharField(max_length=300)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    response = models.JSONField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="idempotency_owner_key_once")
        ]
