"""The way through the product."""

from __future__ import annotations

from typing import Any

from django.template import Context
from django.urls import NoReverseMatch, reverse

from apps.web.tags import register

_RAIL: tuple[tuple[str, str, str], ...] = (
    ("web:overview", "Overview", "overview"),
    ("web:version_list", "Versions", "versions"),
    ("web:run_list", "Runs", "runs"),
    ("web:suite_list", "Suites", "suites"),
    ("web:review_list", "Reviews", "reviews"),
    ("web:change_list", "Changes", "changes"),
    ("web:ticket_list", "Tickets", "tickets"),
    ("web:use_case_list", "Use cases", "use_cases"),
    ("web:provider_list", "Providers", "providers"),
    ("web:history", "History", "history"),
    ("web:people", "People", "people"),
    ("access:sessions", "Sessions", "sessions"),
)


@register.simple_tag(takes_context=True)
def rail_items(context: Context) -> list[dict[str, object]]:
    """The rail's links. A page not yet routed is left out.

    The current one is the context's ``nav`` ("versions"), or the longest address that the request's
    path begins with. ``rail_counts`` ({"tickets": 3}) puts numbers beside them;
    ``rail_hidden`` ({"people"}) leaves out what this person may not open.
    """
    request = context.get("request")
    path = getattr(request, "path", "") or ""
    counts = context.get("rail_counts") or {}
    hidden = context.get("rail_hidden") or ()
    items: list[dict[str, object]] = []
    best, best_length = "", 0
    for name, label, key in _RAIL:
        if key in hidden:
            continue
        try:
            url = reverse(name)
        except NoReverseMatch:
            continue
        fits = path == url if url == "/" else path.startswith(url)
        if fits and len(url) > best_length:
            best, best_length = key, len(url)
        items.append({"url": url, "label": label, "key": key, "count": counts.get(key)})
    current = context.get("nav") or best
    for item in items:
        item["current"] = item["key"] == current
    return items


@register.simple_tag
def person_name(user: Any) -> str:
    """The best printed name of a user object of any shape."""
    for name in ("display_name", "name", "get_full_name", "email", "username"):
        value = getattr(user, name, "")
        value = value() if callable(value) else value
        if value:
            return str(value)
    return str(user)
