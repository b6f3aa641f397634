"""One error rate for a version, whatever looks at it: suites, probes, identity.

A version's life begins with a capital of 1. Every source of evidence (one e-process each) is dealt
a weight of it before its first look, and the version's e-value is

    E = reserve + sum over sources of weight * e,

a weighted average of e-processes: the chance that E ever reaches 1/alpha without a change is at
most alpha for the whole life, however many suites, probes and metrics there are. A source that
joins later takes its weight from the reserve only, so nothing that was already at stake moves and
the rate does not rise. A source that is retired keeps its last value. A decision of two people
(re-approval, false alarm) ends the life; the next begins with a new alpha.

How to add a source: `attach` it when it is set up, `advance` it with its own log e-value at every
look. Both are idempotent, and both belong in the transaction that stores the look. A source that
comes back new from `attach` (looks == 0) belongs to a new life: its e-process must begin anew too.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.core import clock
from apps.drift.models import Baseline, Evidence, EvidenceLook, EvidenceSource
from apps.drift.stats import combine_log_e, deal_weights
from apps.registry.models import ModelVersion

Kind = EvidenceSource.Kind
# Shares of the kinds that are there when weights are dealt. Suites carry most: only they say what
# a change means for the approval. Probes and identity are cheap and early.
SHARES = {Kind.SUITE: 0.6, Kind.PROBE: 0.25, Kind.IDENTITY: 0.15}


def current(model_version: Any) -> Evidence | None:
    """The life that is running, or None before the first source."""
    return Evidence.objects.filter(model_version=model_version, ended_at__isnull=True).first()


@transaction.atomic
def attach(
    *, model_version: ModelVersion, kind: str, key: str, baseline: Baseline | None = None
) -> EvidenceSource:
    """The source of this kind and key in the running life; made, with its life, where missing."""
    version = ModelVersion.objects.select_for_update(no_key=True).get(pk=model_version.pk)
    life = current(version)
    if life is None:
        life = Evidence.objects.create(
            model_version=version, alpha=float(settings.GOVTRACK["ALPHA"])
        )
    source, _ = EvidenceSource.objects.get_or_create(
        evidence=life, kind=kind, key=key, defaults={"baseline": baseline}
    )
    return source


@transaction.atomic
def advance(
    *, source: EvidenceSource, log_e: float, ref: str, at: dt.datetime | None = None
) -> EvidenceLook:
    """Record one look of a source and the version's e-value after it. Idempotent by `ref`.

    log_e: the natural logarithm of the source's own e-value now (0.0 at its start). Raises
    ValueError when it is NaN or plus infinity, or the life has ended.
    """
    if math.isnan(log_e) or log_e == math.inf:
        raise ValueError(f"log_e: must be a number, got {log_e}.")
    life = Evidence.objects.select_for_update().get(pk=source.evidence_id)
    if done := EvidenceLook.objects.filter(source=source, ref=ref).first():
        return done
    if life.ended_at is not None:
        raise ValueError("source: its life has ended; attach it to the running one.")
    sources = list(life.sources.order_by("created_at", "id"))
    _deal(life, sources)
    mine = next(s for s in sources if s.pk == source.pk)
    mine.log_e = float(log_e)
    mine.max_log_e = max(mine.max_log_e, mine.log_e)
    mine.looks += 1
    mine.save_versioned("weight", "log_e", "max_log_e", "looks")
    dealt = [s for s in sources if s.weight is not None]
    weights = [float(s.weight) for s in dealt if s.weight is not None]
    reserve = max(0.0, 1.0 - math.fsum(weights))
    total = math.fsum([reserve, *weights])
    life.log_e = combine_log_e(
        [0.0, *(s.log_e for s in dealt)], [reserve / total, *(w / total for w in weights)]
    )
    life.max_log_e = max(life.max_log_e, life.log_e)
    life.looks += 1
    when = at or clock.now()
    if life.alarmed_at is None and life.max_log_e >= -math.log(life.alpha):
        life.alarmed_at = when
    life.save_versioned("log_e", "max_log_e", "looks", "alarmed_at")
    return EvidenceLook.objects.create(
        evidence=life,
        source=mine,
        number=life.looks,
        ref=ref,
        at=when,
        source_log_e=mine.log_e,
        log_e=life.log_e,
        max_log_e=life.max_log_e,
    )


def _deal(life: Evidence, sources: list[EvidenceSource]) -> None:
    """Fix the weights of all sources that wait, before any of them has bet."""
    waiting = [s for s in sources if s.weight is None and s.closed_at is None]
    if not waiting:
        return
    spent = math.fsum(s.weight for s in sources if s.weight is not None)
    kinds = [s.kind for s in waiting]
    shares = [SHARES[Kind(k)] / kinds.count(k) for k in kinds]
    for source, weight in zip(waiting, deal_weights(shares, spent=spent), strict=True):
        source.weight = weight
        source.save_versioned("weight")


@transaction.atomic
def close_sources(*, baselines: Any) -> None:
    """The sources of retired baselines bet no more; their capital stays what it is."""
    for source in EvidenceSource.objects.filter(baseline__in=baselines, closed_at__isnull=True):
        source.closed_at = clock.now()
        source.save_versioned("closed_at")


@transaction.atomic
def close_source(*, key: str) -> None:
    """The same for one source that is no baseline's, such as a probe."""
    for source in EvidenceSource.objects.filter(key=key, closed_at__isnull=True):
        source.closed_at = clock.now()
        source.save_versioned("closed_at")


@transaction.atomic
def end_life(*, model_version: Any, reason: str) -> None:
    """After a decision: what comes next has an alpha of its own. The old life stays readable."""
    life = (
        Evidence.objects.select_for_update()
        .filter(model_version=model_version, ended_at__isnull=True)
        .first()
    )
    if life is not None:
        life.ended_at, life.ended_reason = clock.now(), reason
        life.save_versioned("ended_at", "ended_reason")


def alarmed(life: Evidence) -> bool:
    """An alarm once raised stays: the running maximum has the same error rate (Ville 1939)."""
    return life.max_log_e >= -math.log(life.alpha)
