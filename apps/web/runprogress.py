"""A run on its way, in the form in which its page shows it: how far, how fast, what it costs."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from apps.core import clock
from apps.evaluations import budgets, lifecycle, selectors
from apps.evaluations.models import Run, RunState, Sample
from apps.web.rundata import answer_rows

NEWEST = 20
# Error classes in words; one that is not here keeps its own name.
CLASSES = {
    "rate_limited": "too many requests",
    "no_answer": "no answer in time",
    "server_error": "server errors",
    "timeout": "timed out",
    "connection": "no connection",
    "unreachable": "no connection",
    "reset": "connection broke",
    "cut": "answer cut off",
    "malformed": "not readable",
    "empty": "empty answers",
    "too_large": "answer too large",
    "bad_request": "prompt refused",
    "filtered": "content-filtered",
    "refused": "refused by the endpoint",
}


@dataclass(frozen=True)
class LimitRow:
    """One budget that counts for the run. `used` and `most` are texts with their unit."""

    name: str
    used: str
    most: str
    share: float
    reached: bool


def context(row: Run, said: str) -> dict[str, Any]:
    """What `_run_progress.html` reads. `said`: what was read aloud last."""
    progress = selectors.progress(row)
    tenth = int(progress.share * 10) * 10
    finished = RunState(row.state) in lifecycle.FINISHED
    eta = None
    if progress.eta_seconds is not None and row.state == RunState.RUNNING:
        eta = clock.now() + dt.timedelta(seconds=min(progress.eta_seconds, 3e7))
    found: dict[str, Any] = {
        "run": row,
        "progress": progress,
        "eta": eta,
        "rate": f"{progress.per_second:.1f} answers/s" if progress.per_second else "",
        "spend": spend(progress),
        "failed": sum(progress.errors.values()),
        "errors": [
            {"kind": kind, "label": class_name(kind), "count": count}
            for kind, count in sorted(progress.errors.items(), key=lambda item: -item[1])
        ],
        "limits": [limit_row(limit) for limit in budgets.limits_of(row)],
        "tenth": tenth,
        # Said aloud at every tenth, not at every second.
        "say": said != f"{row.state}-{tenth}",
        "finished": finished,
    }
    if not finished:
        newest = (
            Sample.objects.filter(month=row.month, run=row)
            .select_related("case")
            .order_by("-answered_at", "-id")[:NEWEST]
        )
        found["latest"] = answer_rows(row, list(newest))
    return found


def class_name(kind: str) -> str:
    return CLASSES.get(kind, kind.replace("_", " "))


def spend(progress: selectors.RunProgress) -> str:
    """ "0.0123 USD, 8,140 tokens"; says so where no price is known."""
    tokens = progress.prompt_tokens + progress.completion_tokens
    parts = [budgets.money(cost, currency) for currency, cost in progress.spent.items()]
    if tokens:
        parts.append(f"{tokens:,} tokens")
    if progress.unpriced and progress.spent:
        parts.append(f"{progress.unpriced:,} answers without a price")
    return ", ".join(parts)


def limit_row(limit: budgets.Limit) -> LimitRow:
    """The tighter of its two limits."""
    by_tokens = limit.max_tokens is not None and (
        limit.max_cost is None or limit.tokens / limit.max_tokens >= limit.cost / limit.max_cost
    )
    if by_tokens:
        used, most = f"{limit.tokens:,}", f"{limit.max_tokens:,} tokens"
    else:
        assert limit.max_cost is not None
        used, most = (
            budgets.money(limit.cost, ""),
            budgets.money(limit.max_cost, limit.currency),
        )
    return LimitRow(limit.name, used, most, min(limit.share, 1.0), bool(limit.reached))
