"""What is another now than at a moment of the reader's choice?"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET

from apps.core import clock
from apps.registry import selectors
from apps.web import between
from apps.web.inventory import count, found, link
from apps.web.lists import as_uuid, param, short

FIELD = "%Y-%m-%dT%H:%M"


@login_required
@require_GET
def version_compare(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    version = found(selectors.versions(request.user), pk=pk)
    revisions = between.revisions(version)
    asked = as_uuid(param(request, "suite"))
    revision = next((r for r in revisions if r.pk == asked), revisions[0] if revisions else None)
    now = clock.now()
    since = _moment(param(request, "from")) or now - dt.timedelta(days=30)
    until = _moment(param(request, "to")) or now
    bad = any(param(request, name) and not _moment(param(request, name)) for name in ("from", "to"))
    result = None
    if revision:
        before = between.side(version, revision, since)
        after = between.side(version, revision, until)
        if before and after and before.run.pk != after.run.pk:
            result = between.compare(*sorted((before, after), key=lambda side: side.at))
    return render(
        request,
        "web/between.html",
        {
            "nav": "versions",
            "version": version,
            "revisions": revisions,
            "revision": revision,
            "since": since.strftime(FIELD),
            "until": until.strftime(FIELD),
            "bad": bad,
            "result": result,
            "lede": _sentence(version.label, revision, result),
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": "Two moments"},
            ],
        },
    )


def _moment(value: str) -> dt.datetime | None:
    """As typed, in UTC; None for what is no moment."""
    try:
        found = parse_datetime(value) if value else None
    except ValueError:
        return None
    if found is None or not 1970 <= found.year <= 9000:
        return None
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)


def _sentence(label: str, revision: Any, result: between.Between | None) -> str:
    if revision is None:
        return f"{short(label)} has answered no suite completely yet."
    if result is None:
        return f"Both moments lie at the same run of {short(label)} on {revision.suite.name}."
    times = [f"{s.at.astimezone(dt.UTC):%-d %b %H:%M}" for s in (result.before, result.now)]
    head = f"Between {times[0]} and {times[1]} UTC, "
    moved = [str(r["metric"]) for r in result.rows if r["verdict"] == "changed"]
    if moved:
        parts = [f"“{short(name, 40)}”" for name in moved[:3]]
        if len(moved) > 3:
            parts.append(count(len(moved) - 3, "other metric"))
        named = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
        return f"{head}{named} moved further than chance explains at one look."
    other = result.compared - result.same
    if not other:
        return f"{head}every answer stayed word for word the same."
    verb = "is" if other == 1 else "are"
    whole = count(result.compared, "answer")
    return f"{head}{count(other, 'answer')} of {whole} {verb} worded otherwise; no metric moved."
