"""Store results: sample, scores, payloads, identity and spending in one statement, under the fence.

A result is written only while its lease holds: owner and fence are checked on the locked shard in
the same statement, so a worker that was stopped and woke up later cannot write over, or beside,
the one that took its place. The unique slot is the second lock on the same door.

One statement is one round trip and one commit, and its rows come as arrays: inserting through the
ORM cost more than the calls themselves.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from apps.core import clock
from apps.core.ids import uuid7
from apps.evaluations import budgets, finishing, payloads, scoring
from apps.evaluations.leases import Lease
from apps.evaluations.models import Run, RunState, SampleStatus, SuiteCase
from apps.evaluations.runner import halts
from apps.evaluations.runner.client import Outcome
from apps.evaluations.scorers import Answer
from apps.evaluations.stored import case_of
from apps.evaluations.style import style_profile
from apps.evaluations.suitefile import Case


@dataclass(frozen=True)
class Result:
    run: Run
    lease: Lease
    row: SuiteCase
    replicate: int
    outcome: Outcome
    answered_at: dt.datetime
    case: Case | None = None
    """The row's case, where it is known already."""


@dataclass
class Row:
    """A sample before it is stored: the columns of `evaluations_sample`, but for run and month."""

    shard_id: UUID
    id: UUID
    case_id: UUID
    replicate: int
    status: str
    error_kind: str
    error_message: str
    text: str
    tool_calls: str
    finish_reason: str
    request_digest: bytes
    response_digest: bytes | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    latency_ms: float | None
    first_token_ms: float | None
    attempts: int
    requested_model: str
    returned_model: str
    system_fingerprint: str
    headers: str
    style: str
    answered_at: dt.datetime
    cost: Decimal | None = None
    currency: str = ""


# How each column of Row goes to the database; a further column needs one line here and one above.
COLUMNS = {
    "shard_id": "uuid",
    "id": "uuid",
    "case_id": "uuid",
    "replicate": "smallint",
    "status": "text",
    "error_kind": "text",
    "error_message": "text",
    "text": "text",
    "tool_calls": "jsonb",
    "finish_reason": "text",
    "request_digest": "bytea",
    "response_digest": "bytea",
    "prompt_tokens": "integer",
    "completion_tokens": "integer",
    "cached_tokens": "integer",
    "latency_ms": "float8",
    "first_token_ms": "float8",
    "attempts": "smallint",
    "requested_model": "text",
    "returned_model": "text",
    "system_fingerprint": "text",
    "headers": "jsonb",
    "style": "jsonb",
    "answered_at": "timestamptz",
    "cost": "numeric",
    "currency": "text",
}
SCORE_COLUMNS = {
    "id": "uuid",
    "sample_id": "uuid",
    "case_id": "uuid",
    "replicate": "smallint",
    "metric_key": "text",
    "value": "float8",
    "explanation": "text",
    "detail": "jsonb",
}


def _unnest(prefix: str, columns: dict[str, str]) -> str:
    # JSON travels as text: an array of it would be parsed twice.
    sent = (
        f"%({prefix}{name})s::{'text' if kind == 'jsonb' else kind}[]"
        for name, kind in columns.items()
    )
    return f"unnest({', '.join(sent)}) AS n({', '.join(columns)})"


def _select(columns: dict[str, str], table: str) -> str:
    return ", ".join(
        f"{table}.{name}::jsonb" if kind == "jsonb" else f"{table}.{name}"
        for name, kind in columns.items()
    )


# An endpoint that names another model in every answer fills no table: what comes after so many
# names of a version is counted together. Every sample keeps the name that came with it.
MAX_IDENTITIES = 100
FURTHER_NAMES = "(further names)"
_STORED = {name: kind for name, kind in COLUMNS.items() if name != "shard_id"}
# Locks: run, then shard, as everywhere: `held` reads `open` before it can lock. A shared lock on
# the run keeps its end out. Payloads come sorted, so that two writers with the same ones wait for
# each other in one direction.
WRITE = f"""
WITH open AS MATERIALIZED (
  SELECT id, month, state FROM evaluations_run
   WHERE id = %(run)s AND state IN ('running', 'paused') FOR SHARE
), held AS MATERIALIZED (
  SELECT s.id
    FROM open CROSS JOIN unnest(%(shards)s::uuid[], %(owners)s::text[], %(fences)s::bigint[])
         AS l(id, owner, fence)
    JOIN evaluations_shard s ON s.id = l.id AND s.lease_owner = l.owner AND s.fence = l.fence
   WHERE NOT s.done ORDER BY s.id FOR NO KEY UPDATE OF s
), fresh AS MATERIALIZED (
  SELECT * FROM {_unnest("", COLUMNS)} WHERE n.shard_id IN (SELECT id FROM held)
), kept AS (
  INSERT INTO evaluations_payload (digest, codec, size, data, created_at)
  SELECT p.digest, 'zstd', p.size, p.data, %(now)s
    FROM unnest(%(digests)s::bytea[], %(sizes)s::int[], %(datas)s::bytea[]) AS p(digest, size, data)
   WHERE EXISTS (SELECT 1 FROM fresh)
  ON CONFLICT DO NOTHING
), inserted AS (
  INSERT INTO evaluations_sample (month, run_id, {", ".join(_STORED)})
  SELECT open.month, open.id, {_select(_STORED, "fresh")} FROM open, fresh
  ON CONFLICT DO NOTHING RETURNING id
), scored AS (
  INSERT INTO evaluations_score (month, run_id, scoring_revision, {", ".join(SCORE_COLUMNS)})
  SELECT open.month, open.id, %(revision)s, {_select(SCORE_COLUMNS, "n")}
    FROM open, {_unnest("score_", SCORE_COLUMNS)} JOIN inserted ON inserted.id = n.sample_id
), added AS MATERIALIZED (
  SELECT fresh.* FROM fresh JOIN inserted ON inserted.id = fresh.id
), claimed AS (
  SELECT returned_model, system_fingerprint, count(*) AS times
    FROM added WHERE status IN ('answered', 'filtered')
   GROUP BY returned_model, system_fingerprint
), known AS (
  SELECT returned_model, system_fingerprint FROM evaluations_observedidentity
   WHERE model_version_id = %(version)s
), named AS (
  SELECT known.returned_model IS NOT NULL
         OR (SELECT count(*) FROM known)
            + row_number() OVER (PARTITION BY known.returned_model IS NULL
                                 ORDER BY returned_model, system_fingerprint)
            <= {MAX_IDENTITIES} AS kept, claimed.*
    FROM claimed LEFT JOIN known USING (returned_model, system_fingerprint)
), seen AS (
  INSERT INTO evaluations_observedidentity
    (id, created_at, model_version_id, returned_model, system_fingerprint,
     first_seen_at, last_seen_at, count)
  SELECT (%(spare_ids)s::uuid[])[(row_number() OVER (ORDER BY model, fingerprint))::int],
         %(now)s, %(version)s, model, fingerprint, %(now)s, %(now)s, times
    FROM (SELECT CASE WHEN kept THEN returned_model ELSE '{FURTHER_NAMES}' END AS model,
                 CASE WHEN kept THEN system_fingerprint ELSE '' END AS fingerprint,
                 sum(times) AS times
            FROM named GROUP BY 1, 2) n
   ORDER BY model, fingerprint
  ON CONFLICT (model_version_id, returned_model, system_fingerprint) DO UPDATE
    SET count = evaluations_observedidentity.count + excluded.count,
        last_seen_at = greatest(evaluations_observedidentity.last_seen_at, excluded.last_seen_at)
), spent AS (
  {budgets.ADD_FROM}
    FROM (SELECT *, coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) AS tokens
            FROM added) a
   WHERE tokens > 0 GROUP BY 3, 4 ORDER BY 3, 4
  {budgets.ADD_CONFLICT}
), calmed AS (
  UPDATE evaluations_shard SET attempts = 0
   WHERE attempts > 0 AND id IN (SELECT shard_id FROM fresh WHERE status <> 'error')
)
SELECT (SELECT state FROM open), ARRAY(SELECT id FROM held)
"""  # noqa: S608


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
        _keep_budget(group[0].run)
    return stored


def _keep_budget(run: Run) -> None:
    """After the answers are safe: no further call once a limit is reached."""
    if not halts.holds(run.pk) and (reason := budgets.reached(run)):
        halts.halt(run.pk)
        finishing.stop_for_budget(run.pk, reason=reason)


def _write_run(results: list[Result]) -> list[bool]:
    run = results[0].run
    # Scoring and compression take their time: they happen before anything is locked.
    rows: list[Row] = []
    scores: list[tuple[Any, ...]] = []
    contents: dict[bytes, bytes] = {}
    for result in results:
        rows.append(_row(result, scores, contents))
    digests = sorted(contents)
    leases = {r.lease.shard_id: r.lease for r in results}.values()
    values: dict[str, Any] = {
        "run": run.pk,
        "version": run.model_version_id,
        "now": clock.now(),
        "revision": scoring.FIRST_REVISION,
        "shards": [lease.shard_id for lease in leases],
        "owners": [lease.owner for lease in leases],
        "fences": [lease.fence for lease in leases],
        "digests": digests,
        "sizes": [len(contents[d]) for d in digests],
        "datas": payloads.compressed([contents[d] for d in digests]),
        "spare_ids": [uuid7() for _ in rows],
    }
    values |= {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns = zip(*scores, strict=True) if scores else ([] for _ in SCORE_COLUMNS)
    values |= {f"score_{name}": list(c) for name, c in zip(SCORE_COLUMNS, columns, strict=True)}
    state, held = _execute(values)
    if state == RunState.PAUSED:
        halts.halt(run.pk)
    return [result.lease.shard_id in held for result in results]


def _execute(values: dict[str, Any]) -> tuple[str | None, set[UUID]]:
    """On psycopg's own cursor: bound on the server and prepared, so that it is planned once."""
    connection.ensure_connection()
    raw: psycopg.Connection[Any] = connection.connection
    try:
        with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
            row: Any = cursor.execute(WRITE, values, prepare=True).fetchone()
    except BaseException:
        connection.close_if_unusable_or_obsolete()
        raise
    return row[0], set(row[1])


def _row(result: Result, scores: list[tuple[Any, ...]], contents: dict[bytes, bytes]) -> Row:
    """The sample's row; its scores and payloads are added to the other two."""
    outcome, parsed, run = result.outcome, result.outcome.parsed, result.run
    answered = outcome.status == SampleStatus.ANSWERED
    request = outcome.request.canonical
    request_digest = payloads.digest_of(request)
    contents[request_digest] = request
    response_digest = None
    if outcome.response is not None:
        response_digest = payloads.digest_of(outcome.response)
        contents[response_digest] = outcome.response
    version = run.model_version
    row = Row(
        shard_id=result.lease.shard_id,
        id=uuid7(),
        case_id=result.row.pk,
        replicate=result.replicate,
        status=str(outcome.status),
        error_kind=outcome.error_kind,
        error_message=outcome.error_message,
        text=parsed.text,
        tool_calls=json.dumps(parsed.tool_calls) if parsed.tool_calls else "[]",
        finish_reason=parsed.finish_reason,
        request_digest=request_digest,
        response_digest=response_digest,
        prompt_tokens=parsed.prompt_tokens,
        completion_tokens=parsed.completion_tokens,
        cached_tokens=parsed.cached_tokens,
        latency_ms=outcome.latency_ms,
        first_token_ms=outcome.first_token_ms,
        attempts=outcome.attempts,
        requested_model=version.requested_name,
        returned_model=parsed.returned_model,
        system_fingerprint=parsed.system_fingerprint,
        headers=json.dumps(outcome.headers),
        style=json.dumps(style_profile(parsed.text)) if answered else "{}",
        answered_at=result.answered_at,
    )
    budgets.price(
        row, version.endpoint.provider_id, (version.requested_name, parsed.returned_model)
    )
    if answered:
        found = scoring.plan_of(run.suite_revision).results(
            result.case or case_of(result.row),
            Answer(parsed.text, parsed.tool_calls, parsed.finish_reason or None),
        )
        for key, score in found.items():
            detail = json.dumps(score.detail) if score.detail else "{}"
            scores.append(
                (
                    *(uuid7(), row.id, row.case_id, row.replicate),
                    *(key, score.value, score.explanation, detail),
                )
            )
    return row
