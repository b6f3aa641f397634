"""Scores that may have moved because their judge did, not the judged model.

A judge is a model version like another: where it has an open change event (told by the pipeline),
or its endpoint served something else than before, its scores are marked. They are kept: a mark
says that a difference proves nothing until the judge is settled.
"""

from __future__ import annotations

import datetime as dt

from django.db import transaction

from apps.audit.services import SYSTEM, record
from apps.evaluations.models import Scoring
from apps.registry.models import ModelVersion

Identity = list[str]


def moved(scoring: Scoring) -> str:
    """Why the identity that the judge's endpoint stated casts doubt on a scoring; "" if nothing."""
    seen = _identities(scoring)
    if len(seen) > 1:
        return "The judge's endpoint served more than one thing: " + _listed(seen) + "."
    before = (
        Scoring.objects.filter(
            by_version=scoring.by_version_id, kind=scoring.kind, state=Scoring.State.DONE
        )
        .exclude(pk=scoring.pk)
        .exclude(identities=[])
        .order_by("-finished_at")
        .first()
    )
    if scoring.by_version_id is None or before is None or not seen:
        return ""
    earlier = _identities(before)
    if seen == earlier:
        return ""
    return (
        f"The judge's endpoint served {_listed(seen)}; in its last scoring it was "
        f"{_listed(earlier)}."
    )


def flag_judged_by(*, model_version: ModelVersion, since: dt.datetime, reason: str) -> int:
    """Mark what a version judged since a time. Idempotent; a first reason stays."""
    marked = 0
    with transaction.atomic():
        rows = Scoring.objects.select_for_update().filter(
            by_version=model_version, state=Scoring.State.DONE, finished_at__gte=since
        )
        for row in rows.filter(confounded="").order_by("pk"):
            row.confounded = reason[:2000]
            row.save_versioned("confounded")
            record(
                "evaluations.scoring_confounded",
                actor=SYSTEM,
                obj=row,
                object_name=f"scoring {row.number}",
                summary=f"Marked scores of {row.by_name} as confounded. {reason}",
                changes={"run": str(row.run_id), "number": row.number, "reason": reason},
            )
            marked += 1
    return marked


def note_identity(scoring: Scoring, returned_model: str, fingerprint: str) -> None:
    """Remember what was served, once each; saved with the batch."""
    seen: Identity = [returned_model, fingerprint]
    if any(seen) and seen not in scoring.identities and len(scoring.identities) < 20:
        scoring.identities = [*scoring.identities, seen]


def _identities(scoring: Scoring) -> list[tuple[str, ...]]:
    return sorted(tuple(pair) for pair in scoring.identities)


def _listed(seen: list[tuple[str, ...]]) -> str:
    return ", ".join(" / ".join(part for part in pair if part) for pair in seen[:5])
