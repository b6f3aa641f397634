"""History: who did what, when, from which session, and whether it still verifies."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.permissions import require
from apps.accounts.selectors import people
from apps.audit.merkle import leaf_hash
from apps.audit.models import AuditEvent, AuditHead
from apps.audit.selectors import Filters, page
from apps.audit.services import SYSTEM, verify
from apps.core import clock
from apps.web.inventory import capital, count
from apps.web.lists import Listing, listing, param, select, short, signed_in

PAGE = 50
VERIFIED = "history-verified"
AREAS = (
    ("registry.", "Registry and approvals"),
    ("evaluations.", "Suites and runs"),
    ("drift.", "Baselines and changes"),
    ("vendors.", "Vendors"),
    ("tickets.", "Tickets and decisions"),
    ("accounts.", "People and roles"),
    ("access.", "Sessions and tokens"),
)
KINDS = (
    ("registry.approval", "Approvals"),
    ("registry.modelversion", "Versions"),
    ("registry.usecase", "Use cases"),
    ("registry.provider", "Providers"),
    ("registry.endpoint", "Endpoints"),
    ("evaluations.suiterevision", "Suites"),
    ("evaluations.run", "Runs"),
    ("evaluations.schedule", "Schedules"),
    ("drift.baseline", "Baselines"),
    ("drift.comparison", "Comparisons"),
    ("drift.changeevent", "Changes"),
    ("tickets.ticket", "Tickets"),
    ("tickets.controlpolicy", "Policies"),
    ("accounts.user", "People"),
)
# Objects whose page is found by id, and those whose page is found by the number in their name.
BY_ID = {
    "evaluations.run": "web:run",
    "drift.comparison": "web:comparison",
    "registry.modelversion": "web:version",
}
BY_NUMBER = {
    "tickets.ticket": ("web:ticket", re.compile(r"RT-(\d+)")),
    "drift.changeevent": ("web:change", re.compile(r"C-(\d+)")),
    "registry.approval": ("web:approval", re.compile(r"A-(\d+)")),
}


@login_required
@require_GET
def history(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    require(user, "audit.view")
    person, action, words = (param(request, name) for name in ("person", "action", "q"))
    object_type, _, object_id = param(request, "object").partition(":")
    since, until = _day(param(request, "since")), _day(param(request, "until"))
    filters = Filters(
        actor_id=person,
        action=action,
        object_type=object_type,
        object_id=object_id,
        text=words,
        since=since,
        until=until + dt.timedelta(days=1) if until else None,
    )
    found = listing(request, page(filters), size=PAGE)
    actions = list(AREAS)
    if action and action not in dict(AREAS):
        actions.append((action, action))
    kinds = list(KINDS)
    if object_id or (object_type and object_type not in dict(KINDS)):
        name = found.rows[0].object_name if found.rows else object_id
        kinds.insert(0, (f"{object_type}:{object_id}", name or object_type))
    persons = [(str(u.pk), u.name) for u in people()[:500]]
    filtered = bool(person or action or object_type or words or since or until)
    context = {
        "nav": "history",
        "page": found,
        "rows": [{"event": event, "href": object_href(event)} for event in found.rows],
        "q": words,
        "since": since.date().isoformat() if since else "",
        "until": until.date().isoformat() if until else "",
        "bad_date": any(param(request, n) and not _day(param(request, n)) for n in DATES),
        "selects": [
            select("person", "Person", person, [(SYSTEM.pk, SYSTEM.name), *persons], "Everybody"),
            select("action", "What", action, actions, "Every act"),
            select("object", "About", param(request, "object"), kinds, "Every object"),
        ],
        "filtered": filtered,
        "sentence": _sentence(found, filtered=filtered),
        "unnumbered": _unnumbered(),
        **proof_context(request),
    }
    return render(request, "web/history.html", context)


DATES = ("since", "until")


def _day(value: str) -> dt.datetime | None:
    try:
        day = parse_date(value) if value else None
        if day is None or not 1970 <= day.year <= 9000:
            return None
    except ValueError:
        return None
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def _sentence(found: Listing, *, filtered: bool) -> str:
    """Who did what last, and how many acts there are: the number that the list shows too."""
    if not found.count:
        return "Nothing fits these filters." if filtered else "Nothing was written yet."
    acts = count(found.count, "act fits", "acts fit") if filtered else count(found.count, "act")
    said = f"{capital(acts)} these filters" if filtered else f"{capital(acts)} on record"
    if len(found.rows) and found.first:
        last = found.rows[0]
        at = last.occurred_at.astimezone(dt.UTC)
        said += f"; the last, on {at:%-d %b at %H:%M} UTC: {short(last.summary.rstrip('.'), 140)}"
    return f"{said}."


def _unnumbered() -> int:
    return AuditEvent.objects.filter(leaf__isnull=True).count()


def proof_context(request: HttpRequest) -> dict[str, Any]:
    """The proof state of the log in a line: what this person's last check said, and its head."""
    head = AuditHead.objects.order_by("-size").first()
    checked = request.session.get(VERIFIED)
    if checked:
        state = "verified" if checked["ok"] else "broken"
        text, at = checked["sentence"], checked["at"]
    elif head:
        root = bytes(head.root_hash).hex()
        state, text, at = "unverified", f"{head.size:,} entries, root {root[:16]}…", head.created_at
    else:
        state, text, at = "unverified", "no entry has a number yet", None
    proof = {"state": state, "text": text, "at": at, "href": reverse("web:history")}
    return {"proof": proof, "checked": checked, "head": head}


@login_required
@require_POST
def history_verify(request: HttpRequest) -> HttpResponse:
    """Recompute every hash of the log now; the result is shown on the page that follows."""
    require(signed_in(request), "audit.view")
    result = verify()
    request.session[VERIFIED] = {
        "ok": result.ok,
        "sentence": result.sentence(),
        "at": clock.now().isoformat(),
        "root": result.root,
    }
    return redirect("web:history")


@login_required
@require_GET
def history_entry(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    require(signed_in(request), "audit.view")
    event = get_object_or_404(AuditEvent.objects.select_related("leaf"), pk=pk)
    try:
        body = json.dumps(json.loads(event.body), indent=2, ensure_ascii=False)
    except ValueError:
        body = event.body
    intact = leaf_hash(event.body.encode()) == bytes(event.leaf_hash)
    leaf = getattr(event, "leaf", None)
    context = {
        "nav": "history",
        "event": event,
        "href": object_href(event),
        "body": body,
        "intact": intact,
        "leaf": leaf,
        "hash": bytes(event.leaf_hash).hex(),
        "crumbs": [
            {"label": "History", "href": reverse("web:history")},
            {"label": f"Entry {leaf.seq:,}" if leaf else "Entry"},
        ],
    }
    return render(request, "web/history_entry.html", context)


def object_href(event: AuditEvent) -> str:
    """The page of what an entry is about; "" where it has none."""
    name, argument = BY_ID.get(event.object_type, ""), event.object_id
    if event.object_type in BY_NUMBER:
        name, pattern = BY_NUMBER[event.object_type]
        match = pattern.fullmatch(event.object_name)
        if match is None:
            return ""
        argument = match.group(1)
    try:
        return reverse(name, args=[argument]) if name else ""
    except NoReverseMatch:
        return ""
