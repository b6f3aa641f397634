"""Store results: sample, scores, payloads and identity in one transaction, under the fence.

A result is written only while its lease holds: owner and fence are checked on the locked shard in
the same transaction, so a worker that was stopped and woke up later cannot write over, or beside,
the one that took its place. The unique slot is the second lock on the same door.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from apps.core import clock
from apps.core.ids import uuid7
from apps.evaluations import payloads, scoring
from apps.evaluations.leases import Lease
from apps.evaluations.lifecycle import WRITABLE
from apps.evaluations.models import Run, Sample, SampleStatus, Score, Shard, SuiteCase
from apps.evaluations.runner.client import Outcome
from apps.evaluations.scorers import Answer
from apps.evaluations.stored import case_of
from apps.evaluations.style import style_profile

UPSERT_IDENTITY = """
INSERT INTO evaluations_observedidentity
  (id, created_at, model_version_id, returned_model, system_fingerprint,
   first_seen_at, last_seen_at, count)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (model_version_id, returned_model, system_fingerprint) DO UPDATE
  SET count = evaluations_observedidentity.count + excluded.count,
      last_seen_at = greatest(evaluations_observedidentity.last_seen_at, excluded.last_seen_at)
"""


@dataclass(frozen=True)
class Result:
    run: Run
    lease: Lease
    case: SuiteCase
    replicate: int
    outcome: Outcome
    answered_at: dt.datetime


def write(results: Sequence[Result]) -> list[bool]:
    """Store results of any number of runs. For each: was it stored (False: the lease was lost,
    or the run ended meanwhile)?"""
    stored = [False] * len(results)
    by_run: dict[object, list[int]] = {}
    for index, result in enumerate(results):
        by_run.setdefault(result.run.pk, []).append(index)
    for indices in by_run.values():
        group = [results[i] for i in indices]
        for i, ok in zip(indices, _write_run(group), strict=True):
            stored[i] = ok
    return stored


def _write_run(results: list[Result]) -> list[bool]:
    run = results[0].run
    # Scoring and compression take their time: they happen before the transaction.
    rows = [_rows(result) for result in results]
    with transaction.atomic():
        # Locks: run, then shard, as everywhere. A shared lock on the run keeps its end out.
        if not _run_takes_results(run):
            return [False] * len(results)
        held = {
            (shard.pk, shard.lease_owner, shard.fence)
            for shard in Shard.objects.select_for_update()
            .filter(pk__in={r.lease.shard_id for r in results}, done=False)
            .order_by("pk")
        }
        valid = [(r.lease.shard_id, r.lease.owner, r.lease.fence) in held for r in results]
        keep = [pair for pair, ok in zip(zip(results, rows, strict=True), valid, strict=True) if ok]
        if not keep:
            return valid
        payloads.put_many(
            content
            for result, _ in keep
            for content in (result.outcome.request.canonical, result.outcome.response)
            if content is not None
        )
        Sample.objects.bulk_create([sample for _, (sample, _) in keep], ignore_conflicts=True)
        inserted = set(
            Sample.objects.filter(
                month=run.month, id__in=[sample.id for _, (sample, _) in keep]
            ).values_list("id", flat=True)
        )
        Score.objects.bulk_create(
            [score for _, (sample, scores) in keep if sample.id in inserted for score in scores]
        )
        _observe(run, [result for result, (sample, _) in keep if sample.id in inserted])
        served = {
            result.lease.shard_id
            for result, _ in keep
            if result.outcome.status != SampleStatus.ERROR
        }
        Shard.objects.filter(pk__in=served, attempts__gt=0).update(attempts=0)
    return valid


def _run_takes_results(run: Run) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM evaluations_run WHERE id = %s FOR SHARE", [run.pk])
        row = cursor.fetchone()
    return row is not None and row[0] in WRITABLE


def _rows(result: Result) -> tuple[Sample, list[Score]]:
    outcome, parsed, run = result.outcome, result.outcome.parsed, result.run
    answered = outcome.status == SampleStatus.ANSWERED
    sample = Sample(
        month=run.month,
        id=uuid7(),
        run=run,
        case=result.case,
        replicate=result.replicate,
        status=outcome.status,
        error_kind=outcome.error_kind,
        error_message=outcome.error_message,
        text=parsed.text,
        tool_calls=parsed.tool_calls,
        finish_reason=parsed.finish_reason,
        request_digest=payloads.digest_of(outcome.request.canonical),
        response_digest=(
            payloads.digest_of(outcome.response) if outcome.response is not None else None
        ),
        prompt_tokens=parsed.prompt_tokens,
        completion_tokens=parsed.completion_tokens,
        latency_ms=outcome.latency_ms,
        attempts=outcome.attempts,
        returned_model=parsed.returned_model,
        system_fingerprint=parsed.system_fingerprint,
        headers=outcome.headers,
        style=style_profile(parsed.text) if answered else {},
        answered_at=result.answered_at,
    )
    if not answered:
        return sample, []
    results = scoring.plan_of(run.suite_revision).results(
        case_of(result.case),
        Answer(parsed.text, parsed.tool_calls, parsed.finish_reason or None),
    )
    return sample, scoring.scores_of(run=run, sample=sample, results=results)


def _observe(run: Run, results: list[Result]) -> None:
    """Count what the endpoint said that it served. Sorted: one lock order for all writers."""
    seen = Counter(
        (r.outcome.parsed.returned_model, r.outcome.parsed.system_fingerprint)
        for r in results
        if r.outcome.status in (SampleStatus.ANSWERED, SampleStatus.FILTERED)
    )
    now = clock.now()
    with connection.cursor() as cursor:
        for (model, fingerprint), count in sorted(seen.items()):
            cursor.execute(
                UPSERT_IDENTITY,
                [uuid7(), now, run.model_version_id, model, fingerprint, now, now, count],
            )
