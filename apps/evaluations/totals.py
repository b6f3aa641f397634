"""What a run came to: counts, tokens, times and the mean of every metric, in one look."""

from __future__ import annotations

from typing import Any

from django.db import connection

from apps.evaluations.models import Run, Sample, SampleStatus

COUNTS = """
SELECT status, error_kind, count(*), coalesce(sum(prompt_tokens), 0),
       coalesce(sum(completion_tokens), 0)
  FROM evaluations_sample WHERE month = %s AND run_id = %s GROUP BY 1, 2
"""
# Money is summed by currency; answers without a known price are counted, not taken for free.
COST = """
SELECT currency, trim_scale(sum(cost))::text, count(*) FROM evaluations_sample
 WHERE month = %s AND run_id = %s AND coalesce(prompt_tokens, completion_tokens) IS NOT NULL
 GROUP BY 1 ORDER BY 1
"""
LATENCY = """
SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms)
  FROM evaluations_sample
 WHERE month = %s AND run_id = %s AND status = 'answered' AND latency_ms IS NOT NULL
"""
# A metric is the mean over its cases, weighted as the suite weights them.
METRICS = """
SELECT s.metric_key, sum(s.value * w.weight) / sum(w.weight)
  FROM evaluations_score s
  JOIN (SELECT id, coalesce((document->>'weight')::float, 1) AS weight
          FROM evaluations_suitecase WHERE revision_id = %s) w ON w.id = s.case_id
 WHERE s.month = %s AND s.run_id = %s AND s.scoring_revision = %s AND s.value IS NOT NULL
 GROUP BY 1 ORDER BY 1
"""
STYLE = """
SELECT 'style.' || f.key, avg(f.value::float)
  FROM evaluations_sample s, jsonb_each_text(s.style) AS f
 WHERE s.month = %s AND s.run_id = %s GROUP BY 1 ORDER BY 1
"""


def metrics_of(run: Run, scoring_revision: int = 1) -> dict[str, float]:
    """The weighted mean of every metric under a scoring revision."""
    with connection.cursor() as cursor:
        cursor.execute(METRICS, [run.suite_revision_id, run.month, run.pk, scoring_revision])
        return dict(cursor.fetchall())


def of_run(run: Run) -> dict[str, Any]:
    """Totals of what is stored now. Six aggregate queries over the run's own partition."""
    slot: list[Any] = [run.month, run.pk]
    found: dict[str, Any] = dict.fromkeys(SampleStatus.values, 0)
    found |= {"slots": run.total_slots, "prompt_tokens": 0, "completion_tokens": 0}
    errors: dict[str, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, slot)
        for status, kind, count, prompt, completion in cursor.fetchall():
            found[status] += count
            found["prompt_tokens"] += int(prompt)
            found["completion_tokens"] += int(completion)
            if kind:
                errors[kind] = errors.get(kind, 0) + count
        cursor.execute(COST, slot)
        money = cursor.fetchall()
        found["cost"] = {currency: cost for currency, cost, _ in money if currency}
        found["unpriced"] = sum(count for currency, _, count in money if not currency)
        cursor.execute(LATENCY, slot)
        times = cursor.fetchone()[0] or [None, None]
        metrics = metrics_of(run)
        cursor.execute(STYLE, slot)
        metrics |= dict(cursor.fetchall())
    done = sum(found[status] for status in SampleStatus.values)
    if done:
        metrics["outcome.error"] = 1 - found[SampleStatus.ANSWERED] / done
    identities = (
        Sample.objects.filter(month=run.month, run=run)
        .exclude(returned_model="", system_fingerprint="")
        .values("returned_model", "system_fingerprint")
        .distinct()
        .order_by("returned_model", "system_fingerprint")
    )
    return {
        **found,
        "errors": errors,
        "latency_ms": {"median": times[0], "p95": times[1]},
        "metrics": metrics,
        "identities": list(identities[:20]),
        "identity_count": identities.count(),
    }
