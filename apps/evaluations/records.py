"""Everything that is needed to repeat a run, as one JSON document: which code and client asked,
what exactly was asked for, what was served, and by which prices it was paid.

The requests themselves are stored byte for byte, each once (`samples/{id}` of the API shows them);
they follow from what stands here: suite content × version configuration × replicates.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max, Min

from apps.evaluations import selectors
from apps.evaluations.models import Run, Sample

FORMAT = "govtrack.run/1"


def of_run(run: Run) -> dict[str, Any]:
    """JSON-ready. Four queries beside the run's own (`services.run_by_id`)."""
    version, revision = run.model_version, run.suite_revision
    progress = selectors.progress(run)
    return {
        "format": FORMAT,
        "run": {
            "id": str(run.pk),
            "purpose": run.purpose,
            "state": run.state,
            "state_reason": run.state_reason,
            "reason": run.reason,
            "urgency": run.get_urgency_display(),
            "replicates": run.replicates,
            "slots": run.total_slots,
            "stored": progress.done,
            "requested_by": run.requested_by.name if run.requested_by else None,
            "schedule": str(run.schedule_id) if run.schedule_id else None,
            "due_at": _time(run.due_at),
            "created_at": _time(run.created_at),
            "started_at": _time(run.started_at),
            "finished_at": _time(run.finished_at),
            "sealed": run.sealed,
            "limits": {
                "tokens": run.max_tokens,
                "money": None if run.max_cost is None else str(run.max_cost),
                "currency": run.currency,
            },
        },
        "code": {"govtrack": run.code_version, "client": run.client_version},
        "suite": {
            "slug": revision.suite.slug,
            "revision": revision.number,
            "content_hash": revision.content_hash,
            "cases": revision.case_count,
        },
        "model_version": {
            "id": str(version.pk),
            "label": version.label,
            "provider": version.endpoint.provider.slug,
            "requested_name": version.requested_name,
            "pin_kind": version.pin_kind,
            "config_hash": version.config_hash,
            "parameters": version.parameters,
            "system_prompt": version.system_prompt,
            "tools": version.tools,
        },
        # Where it is asked now; a credential never leaves the registry.
        "endpoint": {
            "name": version.endpoint.name,
            "base_url": version.endpoint.base_url,
            "api_style": version.endpoint.api_style,
            "region": version.endpoint.region,
        },
        "observed": _observed(run),
        "used": {
            "prompt_tokens": progress.prompt_tokens,
            "completion_tokens": progress.completion_tokens,
            "cost": {currency: str(cost) for currency, cost in progress.spent.items()},
            "errors": progress.errors,
        },
        "totals": run.totals,
    }


def _observed(run: Run) -> list[dict[str, Any]]:
    """What the endpoint said that it served, and between which times."""
    rows = (
        Sample.objects.filter(month=run.month, run=run)
        .values("returned_model", "system_fingerprint")
        .annotate(answers=Count("id"), first_at=Min("answered_at"), last_at=Max("answered_at"))
        .order_by("first_at")
    )
    return [
        {**row, "first_at": _time(row["first_at"]), "last_at": _time(row["last_at"])}
        for row in rows[:100]
    ]


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()
