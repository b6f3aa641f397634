"""What happened to one version, on one axis of time: the lanes of its page."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

from apps.core import clock
from apps.drift import selectors as drift
from apps.drift.models import Comparison, Evidence
from apps.evaluations.models import Run
from apps.registry.models import Approval, ModelVersion
from apps.tickets.models import Ticket, TicketState
from apps.vendors.selectors import notices
from apps.web import layers
from apps.web.evidence import e_value
from apps.web.inventory import link

ZOOMS = (7, 30, 90, 365)
USUAL = (7, 30, 90)
# More rows than this in a lane are not drawn; a mark stands for many anyway.
MOST = 400
USE_CASES = 5


def zoom(asked: str, version: ModelVersion) -> int:
    """Days that the address asks for (`?days=30`), else what is usual for the version."""
    if asked.isdecimal() and len(asked) < 5 and int(asked) in ZOOMS:
        return int(asked)
    return usual(version)


def usual(version: ModelVersion) -> int:
    """The least that holds its whole life, 90 at most: two weeks would be a corner of 90 days."""
    first = version.runs.order_by("created_at").values_list("created_at", flat=True).first()
    age = (clock.now() - min(filter(None, [first, version.created_at]))).days
    return next((days for days in USUAL if age < days), USUAL[-1])


def lanes(user: Any, version: ModelVersion, approvals: Any, days: int) -> list[dict[str, Any]]:
    since = clock.now() - dt.timedelta(days=days)
    return [
        *_approvals(approvals, since),
        _notices(user, version, since),
        _changes(version, since),
        _verdicts(version, since),
        *_evidence(version, since),
        *layers.lanes(version, since),
        _runs(version, since),
        _tickets(version, since),
    ]


def _approvals(approvals: Any, since: dt.datetime) -> list[dict[str, Any]]:
    """A lane for each use case, so that approvals of several never cover each other."""
    by_use: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    names: dict[Any, str] = {}
    more = 0
    for approval in approvals[:MOST]:
        item = _approval(approval, since)
        if item is None:
            continue
        if approval.use_case_id not in by_use and len(by_use) == USE_CASES:
            more += 1
            continue
        by_use[approval.use_case_id].append(item)
        names[approval.use_case_id] = approval.use_case.name
    if not by_use:
        return [{"label": "approvals", "items": [], "empty": "none in this time"}]
    found: list[dict[str, Any]]
    found = [{"label": f"for {names[use]}", "items": items} for use, items in by_use.items()]
    if more:
        found[-1]["label"] += f" (and {more} approvals for others)"
    return found


def _approval(a: Approval, since: dt.datetime) -> dict[str, Any] | None:
    item: dict[str, Any] = {
        "kind": "approval",
        "value": a.state,
        "label": str(a),
        "href": link("web:approval", a.number),
    }
    if not a.in_force:
        return item | {"at": a.created_at} if a.created_at >= since else None
    upper = a.in_force.upper
    over = upper is not None and upper <= clock.now()
    if over and upper < since:
        return None
    return item | {"start": a.in_force.lower, "end": upper if over else None}


def _notices(user: Any, version: ModelVersion, since: dt.datetime) -> dict[str, Any]:
    names = {n.casefold() for n in (version.requested_name, version.label, version.model.name)}
    rows = notices(user, version.model.provider).filter(announced_at__gte=since)[:MOST]
    items = [
        {
            "kind": "event",
            "value": "announced",
            "label": n.title,
            "at": n.announced_at,
            "href": link("web:provider", version.model.provider.slug),
        }
        for n in rows
        if names & {name.casefold() for name in n.model_names}
    ]
    return {"label": "notices", "items": items, "empty": "none about this model"}


def _changes(version: ModelVersion, since: dt.datetime) -> dict[str, Any]:
    events = version.change_events.filter(window_end__gte=since).order_by("window_end")[:MOST]
    return {
        "label": "changes",
        "empty": "none found",
        "items": [
            {
                "kind": "event",
                "value": e.kind,
                "start": e.window_start,
                "end": e.window_end,
                "label": str(e),
                "href": link("web:change", e.number),
            }
            for e in events
        ],
    }


def _verdicts(version: ModelVersion, since: dt.datetime) -> dict[str, Any]:
    rows = Comparison.objects.filter(baseline__model_version=version, created_at__gte=since)
    newest = rows.select_related("run", "baseline__suite_revision__suite").order_by("-created_at")
    return {
        "label": "verdicts",
        "names": False,
        "empty": "nothing compared yet",
        "items": [
            {
                "kind": "verdict",
                "value": c.verdict,
                "label": c.baseline.suite_revision.suite.name,
                "at": c.run.finished_at or c.created_at,
                "href": link("web:comparison", c.pk),
            }
            for c in reversed(newest[:MOST])
        ],
    }


def _evidence(version: ModelVersion, since: dt.datetime) -> list[dict[str, Any]]:
    """The version's e-value as a line, with its alarm line; a decision begins a new life."""
    rows = Evidence.objects.filter(model_version=version).exclude(ended_at__lt=since)
    found = []
    for life in rows.order_by("created_at"):
        looks = life.history.filter(at__gte=since).order_by("number").values_list("at", "log_e")
        points = [(at, e_value(log_e)) for at, log_e in looks]
        if points:
            label = "all evidence" if life.ended_at is None else "evidence before the decision"
            found.append({"label": label, "points": points, "alarm": 1.0 / life.alpha})
    return found or _own_evidence(version, since)


def _own_evidence(version: ModelVersion, since: dt.datetime) -> list[dict[str, Any]]:
    """Of suites that were compared before evidence was added up."""
    found = []
    for baseline in drift.current_baselines(version).order_by("suite_revision__suite__name")[:4]:
        looks = drift.looks(baseline)
        if not looks or looks[-1].at < since:
            continue
        found.append(
            {
                "label": f"e-value, {baseline.suite_revision.suite.name}",
                "points": [(look.at, e_value(look.log_e)) for look in looks if look.at >= since],
                "alarm": 1.0 / looks[-1].comparison.alpha,
            }
        )
    return found


def _runs(version: ModelVersion, since: dt.datetime) -> dict[str, Any]:
    rows = version.runs.filter(created_at__gte=since).select_related("suite_revision__suite")
    return {
        "label": "runs",
        "names": False,
        "empty": "none yet",
        "items": [
            {
                "kind": "run",
                "value": r.state,
                "label": f"{r.suite_revision.suite.name}, {Run.Purpose(r.purpose).label.lower()}",
                "at": r.finished_at or r.created_at,
                "href": link("web:run", r.pk),
            }
            for r in reversed(rows.order_by("-created_at")[:MOST])
        ],
    }


def _tickets(version: ModelVersion, since: dt.datetime) -> dict[str, Any]:
    rows = Ticket.objects.filter(change_event__model_version=version).order_by("created_at")
    items = []
    for t in rows[:MOST]:
        decided = t.decided_at if t.state == TicketState.DECIDED else None
        if decided and decided < since:
            continue
        items.append(
            {
                "kind": "ticket",
                "value": t.state,
                "label": str(t),
                "start": t.created_at,
                "end": decided,
                "href": link("web:ticket", t.number),
            }
        )
    return {"label": "tickets", "items": items, "empty": "none"}
