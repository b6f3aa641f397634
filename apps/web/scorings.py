"""The scorings of a run, and reviews, in the form in which their pages show them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from apps.accounts.permissions import can
from apps.drift.models import ChangeEvent
from apps.evaluations import reviews, scoring
from apps.evaluations.models import Run, Scoring
from apps.web.lists import param, signed_in

OPEN = (Scoring.State.QUEUED, Scoring.State.RUNNING)


def context(request: HttpRequest, run: Run) -> dict[str, Any]:
    """All scorings of a run, the one that `?scoring=` asks for, and what may be done."""
    user = signed_in(request)
    rows = reviews.scorings_of(run)
    number = param(request, "scoring")
    chosen = next((row for row in rows if str(row.number) == number), None)
    suspects = dict(
        ChangeEvent.objects.filter(
            state=ChangeEvent.State.OPEN, model_version__in={r.by_version_id for r in rows}
        ).values_list("model_version", "number")
    )
    specs = {m["key"]: m for m in run.suite_revision.document.get("metrics", [])}
    plan = scoring.plan_of(run.suite_revision)
    return {
        "scorings": [
            {
                "scoring": row,
                "badge": "complete" if row.state == Scoring.State.DONE else row.state,
                "open": row.state in OPEN,
                "means": [
                    {
                        "label": specs.get(key, {}).get("label") or key,
                        "value": value,
                        "agreement": agreement.get(key),
                    }
                    for key, value in row.totals.items()
                ],
                "suspect": suspects.get(row.by_version_id) if row.by_version_id else None,
            }
            for row in rows
            for agreement in [reviews.calibration(row) if _judged(row) else {}]
        ],
        "scoring_open": any(row.state in OPEN for row in rows),
        "chosen": chosen,
        "shown_revision": chosen.number if chosen else scoring.FIRST_REVISION,
        "may_score": can(user, "run.control", run),
        "may_review": can(user, "review.start", run),
        "ways": {
            "rules": bool(plan.metric_keys("")),
            "embedding": bool(plan.metric_keys("embedding")),
            "judge": bool(plan.metric_keys("judge")),
        },
    }


def _judged(row: Scoring) -> bool:
    return row.kind == Scoring.Kind.JUDGE and row.state == Scoring.State.DONE
