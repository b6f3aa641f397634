"""What a vendor said it would do."""

from __future__ import annotations

from django.db import models

from apps.core.models import BaseModel
from apps.registry.models import Provider


class Notice(BaseModel):
    """An announcement of a change, as received. `model_names` are the names it speaks of."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="notices")
    title = models.CharField(max_length=300)
    summary = models.TextField(blank=True)
    url = models.URLField(blank=True)
    model_names = models.JSONField(default=list)
    announced_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    recorded_by_name = models.CharField(max_length=300, blank=True)
