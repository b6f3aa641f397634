"""Does this version still behave as it was approved?"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode

from apps.accounts.permissions import can, require
from apps.audit.selectors import history_for
from apps.core import clock
from apps.drift import selectors as drift
from apps.drift.models import ChangeEvent, Comparison, Verdict
from apps.evaluations.models import Run, Schedule
from apps.registry import gate, selectors, services
from apps.registry.models import ModelVersion, Provider
from apps.web import layers, versiontime
from apps.web.forms_inventory import VersionForm
from apps.web.inventory import (
    GATE_RANK,
    attempt,
    capital,
    count,
    found,
    link,
    options,
    paged,
    query,
    word,
)
from apps.web.lists import short
from apps.web.rows import VersionRow, add_verdicts, version_rows

GATES = (
    ("allow", "Allowed"),
    ("conditional", "Conditional"),
    ("hold", "On hold"),
    ("deny", "Denied"),
    ("none", "No approval"),
)
VERDICT_RANK = {"changed_material": 0, "changed_immaterial": 1, "inconclusive": 2, "equivalent": 3}
NEVER = dt.datetime.max.replace(tzinfo=dt.UTC)
SORTS: dict[str, Any] = {
    "label": lambda r: r.version.label.lower(),
    "gate": lambda r: GATE_RANK.get(r.gate, 9),
    "verdict": lambda r: VERDICT_RANK.get(r.last, 9),
    "next": lambda r: r.next_due_at or NEVER,
}


@login_required
def version_list(request: HttpRequest) -> HttpResponse:
    everything = selectors.versions(request.user)
    rows = everything
    if q := query(request):
        rows = rows.filter(
            Q(label__icontains=q) | Q(requested_name__icontains=q) | Q(model__name__icontains=q)
        )
    get = request.GET
    provider, gate_asked, verdict = get.get("provider", ""), get.get("gate", ""), get.get("verdict")
    if provider:
        rows = rows.filter(model__provider__slug=provider.replace("\x00", ""))
    listed: list[VersionRow] = version_rows(rows)
    if gate_asked:
        listed = [r for r in listed if r.gate == gate_asked]
    if verdict:
        listed = [r for r in listed if r.last == verdict]
    sort = get.get("sort", "label")
    key = SORTS.get(sort.removeprefix("-"), SORTS["label"])
    listed.sort(key=key, reverse=sort.startswith("-"))
    page = paged(request, listed)
    add_verdicts(page.rows)
    total = everything.count()
    providers = Provider.objects.filter(models__versions__in=everything).distinct()
    return render(
        request,
        "web/version_list.html",
        {
            "lede": _list_sentence(total, version_rows(everything) if total else []),
            "page": page,
            "q": q,
            "total": total,
            "filtered": bool(q or provider or gate_asked or verdict),
            "hidden": {"sort": sort} if sort != "label" else {},
            "selects": [
                _select("gate", "Gate", gate_asked, GATES, "Every gate"),
                _select(
                    "verdict",
                    "Last verdict",
                    verdict or "",
                    [*Verdict.choices, ("none", "No verdict")],
                    "Every verdict",
                ),
                _select(
                    "provider",
                    "Provider",
                    provider,
                    [(p.slug, p.name) for p in providers.order_by("name")],
                    "Every provider",
                ),
            ],
            "may_register": can(request.user, "registry.edit_version"),
        },
    )


def _select(name: str, label: str, value: str, choices: Any, everything: str) -> dict[str, Any]:
    return {"name": name, "label": label, "value": value, "options": options(choices, everything)}


def _list_sentence(total: int, rows: list[VersionRow]) -> str:
    if not total:
        return "No model version is registered yet."
    usable = sum(any(g.open for g in r.gates) for r in rows)
    changed = sum(r.last in ("changed_material", "changed_immaterial") for r in rows)
    some = capital(word(usable)) if usable else "None"
    said = f"{some} of {count(total, 'registered version')} may be used"
    if total == 1:
        said = f"The one registered version may {'be used' if usable else 'not be used yet'}"
    if changed:
        whose = "its" if changed == 1 else "their"
        said += f"; {word(changed)} last answered differently from {whose} baseline"
    return f"{said}."


@login_required
def version_new(request: HttpRequest) -> HttpResponse:
    require(request.user, "registry.edit_version")
    form = VersionForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        made = attempt(
            form, lambda: services.create_version(actor=request.user, **form.cleaned_data)
        )
        if made:
            messages.success(request, f"{made} registered. Next: take a baseline.")
            return redirect("web:version", pk=made.pk)
    terms = Provider.objects.filter(models__isnull=False).exclude(terms="").distinct()
    return render(
        request,
        "web/version_new.html",
        {
            "form": form,
            "ready": selectors.models(request.user).exists()
            and selectors.endpoints(request.user).exists(),
            "may_provide": can(request.user, "registry.edit_provider"),
            "terms": terms.order_by("name"),
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": "New"},
            ],
        },
    )


TABS = (
    ("changes", "Changes"),
    ("runs", "Runs"),
    ("approvals", "Approvals"),
    ("configuration", "Configuration"),
    ("identity", "Observed identity"),
    ("history", "History"),
)


@login_required
def version(request: HttpRequest, pk: Any) -> HttpResponse:
    user = request.user
    row = found(selectors.versions(user), pk=pk)
    may_audit = can(user, "audit.view", row)
    tabs = [t for t in TABS if t[0] != "history" or may_audit]
    tab = request.GET.get("tab", "changes")
    if tab == "history":
        require(user, "audit.view", row)
    if tab not in dict(tabs):
        tab = "changes"
    days = versiontime.zoom(request.GET.get("days", ""), row)
    usual = versiontime.usual(row)
    events = row.change_events.order_by("-window_end")
    runs = row.runs.select_related("suite_revision__suite").order_by("-created_at")
    approvals = selectors.approvals(user).filter(model_version=row)
    lists: dict[str, Any] = {
        "changes": events,
        "runs": runs,
        "approvals": approvals,
        "identity": row.observed_identities.order_by("-last_seen_at"),
        "history": history_for(row).order_by("-occurred_at", "-id"),
    }
    counts = {k: lists[k].count() for k in ("changes", "runs", "approvals", "identity")}
    page = paged(request, lists[tab]) if tab in lists else None
    if page and tab == "changes":
        page.rows[:] = [{"row": e, "href": link("web:change", e.number)} for e in page.rows]
    if page and tab == "runs":
        page.rows[:] = _runs(page.rows)
    gates = gate.check_many([row])[row.pk]
    return render(
        request,
        "web/version.html",
        {
            "version": row,
            "lede": _sentence(row),
            "gates": gates,
            "schedules": Schedule.objects.filter(model_version=row)
            .select_related("suite_revision__suite")
            .order_by("-enabled", "next_due_at"),
            "baselines": drift.current_baselines(row).order_by("suite_revision__suite__name"),
            "unwatched": drift.unwatched(row),
            "probes": layers.towers(row),
            "findings": layers.findings(row) if tab == "identity" else [],
            "lanes": versiontime.lanes(user, row, approvals, days),
            "since": clock.now() - dt.timedelta(days=days),
            "days": days,
            "zooms": [
                {"label": f"{n} days", "href": _address(tab, n, usual), "current": n == days}
                for n in versiontime.ZOOMS
            ],
            "tab": tab,
            "tabs": [
                {
                    "label": label,
                    "href": _address(key, days, usual),
                    "current": key == tab,
                    "count": counts.get(key),
                }
                for key, label in tabs
            ],
            "page": page,
            "run_new": link("web:run_new", version=row.pk) if can(user, "run.start", row) else "",
            "may_schedule": can(user, "schedule.edit", row),
            "may_request": can(user, "approval.request"),
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": row.label},
            ],
        },
    )


def _address(tab: str, days: int, usual: int) -> str:
    """A view of this page, with its zoom; what is usual stays out of the address."""
    query = {"tab": tab} if tab != "changes" else {}
    if days != usual:
        query["days"] = str(days)
    return f"?{urlencode(query)}"


def _sentence(row: ModelVersion) -> str:
    name = short(row.label)
    event = row.change_events.filter(state=ChangeEvent.State.OPEN).first()
    if event:
        start, end = (m.astimezone(dt.UTC) for m in (event.window_start, event.window_end))
        same = start.date() == end.date()
        until = f"{end:%H:%M}" if same else f"{end:%-d %b %H:%M}"
        began = f"{start:%a %-d %b %H:%M}"
        began += "" if same and until == f"{start:%H:%M}" else f"–{until}"
        said = f"{name} behaves differently since {began} UTC"
        approved = selectors.live_approvals(row).exists()
        return f"{said}; approved behaviour ended there." if approved else f"{said}."
    last = drift.last_comparison(row)
    if last is None:
        if drift.current_baselines(row).exists():
            return f"{name} has a baseline, and waits for the first rerun to compare with it."
        return f"{name} has no baseline yet, so nobody could tell whether it changed."
    return {
        Verdict.EQUIVALENT.value: f"{name} behaves as in its baseline.",
        Verdict.INCONCLUSIVE.value: f"The last rerun could not tell whether {name} changed.",
        Verdict.CHANGED_IMMATERIAL.value: f"{name} answers differently, within the margins.",
    }.get(last.verdict, f"{name} answered differently from its baseline in the last rerun.")


def _runs(rows: list[Run]) -> list[dict[str, Any]]:
    verdicts = dict(
        Comparison.objects.filter(run__in=[r.pk for r in rows])
        .order_by("created_at")
        .values_list("run_id", "verdict")
    )
    return [
        {
            "row": r,
            "href": link("web:run", r.pk),
            "verdict": "baseline"
            if r.purpose == Run.Purpose.BASELINE and r.pk not in verdicts
            else verdicts.get(r.pk, "none"),
        }
        for r in rows
    ]
