"""What every page's shell needs: counts in the rail and the proof state in the footer."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.permissions import can, roles_of, visible
from apps.audit.models import AuditHead
from apps.drift.models import ChangeEvent
from apps.tickets.models import Ticket, TicketState


def shell(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    tickets = visible(
        user,
        Ticket.objects.exclude(state=TicketState.DECIDED),
        team_path="change_event__model_version__team",
    )
    changes = visible(
        user,
        ChangeEvent.objects.filter(state=ChangeEvent.State.OPEN),
        team_path="model_version__team",
    )
    context: dict[str, Any] = {
        "rail_counts": {"tickets": tickets.count(), "changes": changes.count()},
        "rail_role": ", ".join(sorted(r.label for r in roles_of(user))) or "No role yet",
        "rail_hidden": {
            key
            for key, action in (("people", "accounts.manage"), ("history", "audit.view"))
            if not can(user, action)
        },
    }
    if can(user, "audit.view") and (head := AuditHead.objects.order_by("-size").first()):
        context["proof"] = {
            "state": "unverified",
            "text": f"History: {head.size} entries, root {bytes(head.root_hash).hex()[:12]}…",
            "at": head.created_at,
            "href": reverse("web:history"),
        }
    return context
