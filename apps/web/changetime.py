"""When it happened: the time around one change, lane by lane."""

from __future__ import annotations

import datetime as dt
from typing import Any

from apps.core import clock
from apps.drift.models import ChangeEvent, Comparison
from apps.vendors.selectors import notices
from apps.web import layers
from apps.web.inventory import link

# So many times the window is shown before and after it; at least a day, at most three months.
AROUND = 3
LEAST, MOST = dt.timedelta(days=1), dt.timedelta(days=90)
ROWS = 300


def strip(user: Any, event: ChangeEvent) -> dict[str, Any]:
    """Lanes with start and end for the timeline tag."""
    window = event.window_end - event.window_start
    around = min(max(window * AROUND, LEAST), MOST)
    start, end = event.window_start - around, min(event.window_end + around, clock.now())
    end = max(end, event.window_end + window * 0.1)
    # Before the version was known here nothing of it can be shown.
    start = max(start, min(event.model_version.created_at, event.window_start - window * 0.5))
    return {
        "start": start,
        "end": end,
        "lanes": [
            {
                "label": "began to differ",
                "items": [
                    {
                        "kind": "event",
                        "value": event.kind,
                        "label": str(event),
                        "start": event.window_start,
                        "end": event.window_end,
                    }
                ],
            },
            *_looks(event, start, end),
            *layers.lanes(event.model_version, start, end),
            _notices(user, event, start, end),
        ],
    }


def _looks(event: ChangeEvent, start: dt.datetime, end: dt.datetime) -> list[dict[str, Any]]:
    """A lane of verdicts for each suite: the last that fitted, the first that did not."""
    rows = (
        Comparison.objects.filter(
            baseline__model_version=event.model_version_id,
            run__finished_at__gte=start,
            run__finished_at__lte=end,
        )
        .select_related("run", "baseline__suite_revision__suite")
        .order_by("run__finished_at")[:ROWS]
    )
    lanes: dict[Any, dict[str, Any]] = {}
    for row in rows:
        suite = row.baseline.suite_revision.suite
        lane = lanes.setdefault(suite.pk, {"label": suite.name, "items": [], "names": False})
        lane["items"].append(
            {
                "kind": "verdict",
                "value": row.verdict,
                "label": f"look {row.look}",
                "at": row.run.finished_at,
                "href": link("web:comparison", row.pk),
            }
        )
    return list(lanes.values())


def _notices(user: Any, event: ChangeEvent, start: dt.datetime, end: dt.datetime) -> dict[str, Any]:
    provider = event.model_version.model.provider
    rows = notices(user, provider).filter(announced_at__gte=start, announced_at__lte=end)
    return {
        "label": "notices",
        "empty": f"none of {provider.name} in this time",
        "items": [
            {"kind": "event", "value": "announced", "label": n.title, "at": n.announced_at}
            for n in rows[:ROWS]
        ],
    }
