"""Layer 2, passive: what production traffic saw, for no tokens and without any content.

A batch is taken once for (reporter, batch id). Its observations become counts by hour, served name
and fingerprint; nothing else of a request is kept. The first batch of each minute is a look of the
version's identity watch; the others of that minute are counted only, so that one roll-out seen by
a hundred gateways is one look and not a hundred.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from apps.accounts.permissions import can, visible
from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.core.ids import uuid7
from apps.drift import identity, probing
from apps.drift.models import ObservationBatch, Probe, ProbeKind
from apps.registry.models import ModelVersion

MOST = 1_000
OLDEST = dt.timedelta(days=2)
EARLIEST = dt.timedelta(minutes=10)  # how far a reporter's clock may be ahead
LOOK_EVERY = dt.timedelta(seconds=60)

UPSERT = """
INSERT INTO drift_observedtraffic
  (id, created_at, model_version_id, hour, returned_model, system_fingerprint, requests, errors,
   prompt_tokens, completion_tokens, latency_ms_sum, latency_count, first_at, last_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (model_version_id, hour, returned_model, system_fingerprint) DO UPDATE SET
  requests = drift_observedtraffic.requests + excluded.requests,
  errors = drift_observedtraffic.errors + excluded.errors,
  prompt_tokens = drift_observedtraffic.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = drift_observedtraffic.completion_tokens + excluded.completion_tokens,
  latency_ms_sum = drift_observedtraffic.latency_ms_sum + excluded.latency_ms_sum,
  latency_count = drift_observedtraffic.latency_count + excluded.latency_count,
  first_at = least(drift_observedtraffic.first_at, excluded.first_at),
  last_at = greatest(drift_observedtraffic.last_at, excluded.last_at)
"""


@dataclass(frozen=True)
class Taken:
    """What became of a batch. replayed: it had been taken before, and nothing was counted again."""

    accepted: int
    unknown: int
    replayed: bool


@dataclass
class _Cell:
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    latencies: int = 0
    first: dt.datetime | None = None
    last: dt.datetime | None = None


@dataclass
class _Seen:
    version: ModelVersion
    cells: dict[tuple[dt.datetime, str, str], _Cell] = field(default_factory=dict)


def take(*, actor: Any, batch_id: str, observations: Sequence[Mapping[str, Any]]) -> Taken:
    """Count a batch. Each observation names its version by `model_version` (an id), or by
    `base_url` and `requested_name` as production calls it; one that names none is counted as
    unknown, so that a gateway may send all its traffic.

    Raises NotAllowed, InvalidInput (too many, too old, in the future), Conflict (the batch id was
    used for other contents).
    """
    if not can(actor, "run.start"):
        raise NotAllowed(
            "Your role does not allow this: reporting traffic needs the role of a service, an "
            "owner, a validator, a lead or an administrator.",
            remedy="Make a service account for the gateway and give it a token with scope “run”.",
        )
    if not 0 < len(observations) <= MOST:
        raise InvalidInput(
            f"A batch holds 1 to {MOST} observations.",
            field="observations",
            remedy="Send several batches, each with an id of its own.",
        )
    digest = hashlib.sha256(
        json.dumps(list(observations), sort_keys=True, default=str).encode()
    ).hexdigest()
    known = ObservationBatch.objects.filter(reporter=actor, batch_id=batch_id).first()
    if known is None:
        grouped, unknown = _grouped(actor, observations)
        with transaction.atomic():
            row = ObservationBatch(
                reporter=actor,
                batch_id=batch_id,
                digest=digest,
                accepted=len(observations) - unknown,
                unknown=unknown,
            )
            made = ObservationBatch.objects.bulk_create([row], ignore_conflicts=True)
            if ObservationBatch.objects.filter(pk=made[0].pk).exists():
                for seen in sorted(grouped.values(), key=lambda s: str(s.version.pk)):
                    _count(seen)
                    _look(seen)
                return Taken(row.accepted, row.unknown, False)
        known = ObservationBatch.objects.get(reporter=actor, batch_id=batch_id)
    if known.digest != digest:
        raise Conflict(
            "This batch id was used for other observations.",
            field="batch_id",
            remedy="Give every batch an id of its own; repeat one exactly to send it again.",
        )
    return Taken(known.accepted, known.unknown, True)


def _grouped(actor: Any, observations: Sequence[Mapping[str, Any]]) -> tuple[dict[Any, _Seen], int]:
    versions = _versions(actor, observations)
    now, unknown = clock.now(), 0
    grouped: dict[Any, _Seen] = {}
    for position, item in enumerate(observations):
        at = item["observed_at"]
        if not now - OLDEST <= at <= now + EARLIEST:
            raise InvalidInput(
                f"Observation {position} is from {at.isoformat()}: older than "
                f"{OLDEST.days} days, or in the future.",
                field=f"observations.{position}.observed_at",
                remedy="Send batches soon after the calls, and mind the reporter's clock.",
            )
        version = versions.get(_name(item))
        if version is None:
            unknown += 1
            continue
        seen = grouped.setdefault(version.pk, _Seen(version))
        hour = at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
        key = hour, item.get("returned_model", ""), item.get("system_fingerprint", "")
        cell = seen.cells.setdefault(key, _Cell())
        cell.requests += 1
        cell.errors += bool(item.get("error"))
        cell.prompt_tokens += item.get("prompt_tokens") or 0
        cell.completion_tokens += item.get("completion_tokens") or 0
        if item.get("latency_ms") is not None:
            cell.latency_ms += item["latency_ms"]
            cell.latencies += 1
        cell.first = min(cell.first or at, at)
        cell.last = max(cell.last or at, at)
    return grouped, unknown


def _name(item: Mapping[str, Any]) -> tuple[str, str]:
    if item.get("model_version"):
        return "id", str(item["model_version"])
    return item.get("base_url", "").rstrip("/"), item.get("requested_name", "")


def _versions(
    actor: Any, observations: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], ModelVersion]:
    """Every version that the batch names and the reporter may see. Where several versions share a
    name at an address (other parameters), the newest stands for all of them."""
    names = {_name(item) for item in observations}
    mine = visible(actor, ModelVersion.objects.select_related("endpoint"), team_path="team")
    found: dict[tuple[str, str], ModelVersion] = {}
    ids = [value for kind, value in names if kind == "id"]
    for version in mine.filter(pk__in=ids):
        found["id", str(version.pk)] = version
    wanted = [value for kind, value in names if kind != "id"]
    for version in mine.filter(requested_name__in=wanted).order_by("created_at"):
        key = version.endpoint.base_url.rstrip("/"), version.requested_name
        if key in names:
            found[key] = version
    return found


def _count(seen: _Seen) -> None:
    """Add to the hour's counts. Sorted: one lock order for all reporters."""
    now = clock.now()
    with connection.cursor() as cursor:
        for (hour, model, fingerprint), cell in sorted(seen.cells.items()):
            cursor.execute(
                UPSERT,
                [
                    uuid7(),
                    now,
                    seen.version.pk,
                    hour,
                    model,
                    fingerprint,
                    cell.requests,
                    cell.errors,
                    cell.prompt_tokens,
                    cell.completion_tokens,
                    cell.latency_ms,
                    cell.latencies,
                    cell.first,
                    cell.last,
                ],
            )


def _look(seen: _Seen) -> None:
    """Let the version's passive identity watch look, at most once a minute."""
    values = {
        "returned_model": sorted({model for _, model, _ in seen.cells if model}),
        "system_fingerprint": sorted({fp for _, _, fp in seen.cells if fp}),
    }
    values = {facet: found for facet, found in values.items() if found}
    if not values:
        return
    probe = _passive(seen.version)
    now = clock.now()
    if not probe.enabled or (probe.next_due_at and probe.next_due_at > now):
        return
    phase, before = probe.phase, probe.log_e
    identity.observe(
        probe,
        round_key=f"round {probe.rounds + 1}",
        seen=values,
        at=now,
        facets=identity.PASSIVE_FACETS,
    )
    requests = sum(cell.requests for cell in seen.cells.values())
    probing.store_round(
        probe,
        due_at=now,
        phase=phase,
        asked=0,
        answered=requests,
        tokens=0,
        latency_ms=None,
        answers=values,
        ranks={"log_e_increment": probe.log_e - before},
        started_at=now,
    )
    Probe.objects.filter(pk=probe.pk).update(next_due_at=now + LOOK_EVERY)


def _passive(version: ModelVersion) -> Probe:
    """The locked passive probe; it begins with the first observation."""
    ModelVersion.objects.select_for_update(of=("self",), no_key=True).get(pk=version.pk)
    probe = (
        Probe.objects.select_for_update(of=("self",))
        .filter(model_version=version, kind=ProbeKind.PASSIVE, retired_at__isnull=True)
        .select_related("model_version")
        .first()
    )
    return probe or probing.begin(SYSTEM, version, ProbeKind.PASSIVE)
