"""What needs me now? And how does every governed version stand?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.accounts.permissions import can, roles_of, visible
from apps.core import clock
from apps.drift.fleet import flagged
from apps.drift.models import Baseline
from apps.evaluations.models import Run, RunState, Schedule
from apps.registry import selectors
from apps.registry.models import Approval, ModelVersion, Provider
from apps.tickets import selectors as tickets
from apps.tickets.models import Ticket
from apps.web.forms_schedules import has_suites
from apps.web.inventory import capital, count, link, paged, word
from apps.web.rows import add_verdicts, version_rows

SOON = dt.timedelta(days=30)
SHOWN = 12


@dataclass(frozen=True)
class Need:
    version: UUID
    shape: str
    tone: str
    title: str
    href: str
    note: str
    when: dt.datetime | None
    when_label: str
    act: str
    act_href: str


@login_required
def overview(request: HttpRequest) -> HttpResponse:
    user = request.user
    versions = selectors.versions(user)
    needs = [*_tickets(user), *_waiting(user), *_failed_runs(user), *_expiring(user)]
    hit = {need.version for need in needs}
    rows = version_rows(versions)
    rows.sort(key=lambda r: (r.version.pk not in hit, not r.gates, r.tier, r.version.label))
    page = paged(request, rows)
    add_verdicts(page.rows)
    steps = _steps(user)
    open_step = next((s for s in steps if not s["done"]), None)
    return render(
        request,
        "web/overview.html",
        {
            "lede": _sentence(user, page.total, needs),
            "needs": needs[:SHOWN],
            "more": max(0, len(needs) - SHOWN),
            "page": page,
            "fleet": flagged(versions),
            "steps": steps if open_step and roles_of(user) else [],
            "next_step": open_step,
            "no_role": not roles_of(user),
            "may_manage": can(user, "accounts.manage"),
            "may_register": can(user, "registry.edit_version"),
        },
    )


def _sentence(user: Any, total: int, needs: list[Need]) -> str:
    if not roles_of(user):
        return "You have no role yet, so there is nothing here that you may see."
    if not total:
        return "Nothing is governed yet."
    hit = len({need.version for need in needs})
    acts = any(can(user, a) for a in ("ticket.propose", "approval.approve", "run.control"))
    governed = "governed version" if total == 1 else "governed versions"
    if not hit:
        whom = "you" if acts else "attention"
        if total == 1:
            return (
                f"The one governed version needs {'nothing from you' if acts else 'no attention'}."
            )
        return f"None of {word(total)} {governed} needs {whom}."
    if total == 1:
        return f"The one governed version needs {'you' if acts else 'attention'}."
    verb = "needs" if hit == 1 else "need"
    return (
        f"{capital(word(hit))} of {word(total)} {governed} {verb} {'you' if acts else 'attention'}."
    )


def _tickets(user: Any) -> list[Need]:
    rows = tickets.undecided(user).prefetch_related(
        "ticket_approvals__approval__use_case", "change_event__broken_assumptions"
    )
    return [_ticket(t, user) for t in rows[:100]]


def _ticket(ticket: Ticket, user: Any) -> Need:
    event = ticket.change_event
    uses = sorted({a.approval.use_case.name for a in ticket.ticket_approvals.all()})
    broken = len(event.broken_assumptions.all())
    name = event.model_version.label
    title = f"{', '.join(uses[:2])} · {name}" if uses else name
    late = ticket.due_at < clock.now()
    note = f"{event.get_kind_display()} change · {ticket.get_severity_display().lower()} severity"
    if broken:
        note += f" · {count(broken, 'assumption')} broken"
    note += f" · ticket {ticket}, {ticket.get_state_display().lower()}"
    href = link("web:ticket", ticket.number)
    may = can(user, "ticket.propose", ticket) or can(user, "ticket.confirm", ticket)
    return Need(
        event.model_version_id,
        "triangle",
        "bad",
        title,
        href,
        note,
        ticket.due_at,
        "was due" if late else "due",
        "Assess" if may else "Read",
        href,
    )


def _waiting(user: Any) -> list[Need]:
    return [
        Need(
            a.model_version_id,
            "half",
            "info",
            f"{a.model_version} for {a.use_case} waits for your decision",
            link("web:approval", a.number),
            f"{a} · tier {a.use_case.risk_tier} · asked for by {a.requested_by.name}",
            a.created_at,
            "asked",
            "Decide",
            link("web:approval", a.number),
        )
        for a in selectors.waiting_for(user)[:100]
    ]


def _failed_runs(user: Any) -> list[Need]:
    """Only where the newest run of a version on a suite failed: a later success settles it."""
    month = clock.now() - SOON
    newest = (
        Run.objects.filter(created_at__gte=month)
        .order_by("model_version_id", "suite_revision_id", "-created_at")
        .distinct("model_version_id", "suite_revision_id")
    )
    rows = visible(user, Run.objects.all(), team_path="model_version__team").filter(
        pk__in=newest.values("pk"), state=RunState.FAILED
    )
    return [
        Need(
            r.model_version_id,
            "cross",
            "bad",
            f"The run of {r.model_version} on {r.suite_revision.suite} failed",
            link("web:run", r.pk),
            r.state_reason[:200] or "Open it to see its errors.",
            r.finished_at or r.created_at,
            "",
            "Open",
            link("web:run", r.pk),
        )
        for r in rows.select_related("model_version", "suite_revision__suite")[:100]
    ]


def _expiring(user: Any) -> list[Need]:
    now = clock.now()
    rows = selectors.in_use(user).filter(expires_at__gt=now, expires_at__lte=now + SOON)
    needs = []
    for a in rows.order_by("expires_at")[:100]:
        renew = can(user, "approval.request", a.use_case)
        again = link("web:approval_new", version=a.model_version_id, use_case=a.use_case_id)
        needs.append(
            Need(
                a.model_version_id,
                "clock",
                "warn",
                f"The approval of {a.model_version} for {a.use_case} ends soon",
                link("web:approval", a.number),
                f"{a} · tier {a.use_case.risk_tier}",
                a.expires_at,
                "ends",
                "Renew" if renew else "Read",
                again if renew else link("web:approval", a.number),
            )
        )
    return needs


def _steps(user: Any) -> list[dict[str, Any]]:
    """From the empty product to a watched version. Each line ticks itself."""
    version = ModelVersion.objects.order_by("-created_at").first()
    query = {"version": version.pk} if version else {}
    baseline = Baseline.objects.exists()
    asked = Approval.objects.exists()
    providers = Provider.objects.filter(endpoints__isnull=False).exists()
    return [
        _step(
            providers,
            "Add a provider and its endpoint",
            "Who serves the model, and where.",
            link("web:provider_list" if Provider.objects.exists() else "web:provider_new"),
            can(user, "registry.edit_provider"),
        ),
        _step(
            version is not None,
            "Register a model version",
            "The exact configuration that you call.",
            link("web:version_new"),
            providers and can(user, "registry.edit_version"),
        ),
        _step(
            has_suites(),
            "Import a suite",
            "The cases whose answers matter to you.",
            link("web:suite_list"),
            can(user, "suite.edit"),
        ),
        _step(
            baseline,
            "Take a baseline",
            "A run with replicates that later runs are compared with.",
            link("web:run_new", **query),
            version is not None and has_suites() and can(user, "baseline.set"),
        ),
        _step(
            asked,
            "Ask for an approval of a use case",
            "With the sentences that must stay true.",
            link("web:approval_new", **query),
            version is not None and can(user, "approval.request"),
        ),
        _step(
            Schedule.objects.exists(),
            "Schedule reruns",
            "From then on, a silent change is found.",
            link("web:schedule_new", **query),
            version is not None and has_suites() and can(user, "schedule.edit"),
        ),
    ]


def _step(done: bool, title: str, note: str, href: str, may: bool) -> dict[str, Any]:
    return {"done": done, "title": title, "note": note, "href": "" if done or not may else href}
