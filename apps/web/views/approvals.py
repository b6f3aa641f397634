"""May this version be used for this use case, on what promises, and who said so?"""

from __future__ import annotations

import re
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from apps.access.auth import of_request
from apps.access.services import require_fresh
from apps.accounts.permissions import can, require
from apps.core.errors import GovTrackError, NotFound, ReauthenticationRequired
from apps.drift.models import Baseline, MetricResult
from apps.drift.planning import Power, power_of_approval
from apps.registry import gate, selectors, services
from apps.registry.lifecycle import LIVE, PENDING, RULES, Move, moves_for
from apps.registry.models import Approval, ApprovalState, Assumption
from apps.tickets.models import Ticket, TicketState
from apps.web.forms_inventory import ApprovalForm, AssumptionForm, AssumptionRows
from apps.web.inventory import chosen, count, found, link, person
from apps.web.lists import short

VERBS: dict[str, Any] = {
    "validate": services.validate_approval,
    "approve": services.approve_approval,
    "reject": services.reject_approval,
    "suspend": services.suspend_approval,
    "revoke": services.revoke_approval,
    "hold": services.hold_approval,
    "release": services.release_approval,
}
DECIDES = {"validate", "approve", "release"}
UNVERSIONED = {"hold", "release"}
WHAT_HAPPENS = {
    "reject": "The request ends. A new one can be made.",
    "hold": "The gate says hold from the next call on, until somebody releases it.",
    "release": "The gate opens again from the next call on.",
    "suspend": "The gate denies from the next call on, until a new approval is given.",
    "revoke": "The approval ends for good; the gate denies from the next call on.",
}
ROWS, MOST_ROWS = "assumption", 100
ROW = re.compile(r"assumptions\[(\d+)\](?:\.(\w+))?")


@login_required
def approval_new(request: HttpRequest) -> HttpResponse:
    user = request.user
    require(user, "approval.request")
    version = chosen(selectors.versions(user), request.GET.get("version"))
    use_case = chosen(selectors.use_cases(user), request.GET.get("use_case"))
    reshaped = _reshaped(request)
    sent = None if reshaped is not None else request.POST or None
    start = {
        "model_version": version.pk if version else None,
        "use_case": use_case.pk if use_case else None,
    }
    form = ApprovalForm(sent, user=user, initial={**start, **request.POST.dict()})
    rows: Any = AssumptionRows(sent, initial=reshaped or [_blank([])], prefix=ROWS)
    if sent is not None and form.is_valid() & rows.is_valid():
        made = _request(user, form, rows)
        if made:
            messages.success(request, f"{made} requested. Somebody else must decide on it.")
            return redirect("web:approval", number=made.number)
    baselines = Baseline.objects.filter(
        retired_at__isnull=True, model_version__in=selectors.versions(user)
    ).select_related("suite_revision__suite", "model_version")
    if version:
        baselines = baselines.filter(model_version=version)
    return render(
        request,
        "web/approval_new.html",
        {
            "form": form,
            "rows": rows,
            "offers": _offers(baselines[:50]),
            "ready": selectors.versions(user).exists() and selectors.use_cases(user).exists(),
            "version": version,
            "crumbs": [
                {"label": "Use cases", "href": link("web:use_case_list")},
                {"label": "Request approval"},
            ],
        },
    )


def _reshaped(request: HttpRequest) -> list[dict[str, Any]] | None:
    """The rows as typed with one more or one fewer; None where no row button was pressed.

    The buttons send the form like any other, so they work without script; nothing is checked yet.
    """
    post = request.POST
    if "row_add" not in post and "row_remove" not in post:
        return None
    total = post.get(f"{ROWS}-TOTAL_FORMS", "")
    names = list(AssumptionForm.base_fields)
    rows = [
        {name: post.get(f"{ROWS}-{n}-{name}", "") for name in names}
        for n in range(min(int(total), MOST_ROWS) if total.isdecimal() and len(total) < 5 else 0)
    ]
    out = post.get("row_remove", "")
    if out.isdecimal() and len(out) < 5 and int(out) < len(rows):
        del rows[int(out)]
    if ("row_add" in post and len(rows) < MOST_ROWS) or not rows:
        rows.append(_blank([row["code"] for row in rows]))
    return rows


def _blank(codes: list[str]) -> dict[str, Any]:
    """An empty row with the first free code."""
    number = next(n for n in range(1, len(codes) + 2) if f"A{n}" not in codes)
    return {"code": f"A{number}", "criticality": "medium"}


def _request(user: Any, form: ApprovalForm, rows: Any) -> Approval | None:
    filled = [row for row in rows if not row.blank]
    try:
        return services.request_approval(
            actor=user, assumptions=[row.values() for row in filled], **form.cleaned_data
        )
    except NotFound:
        raise
    except GovTrackError as error:
        match = ROW.fullmatch(error.field)
        if match and int(match[1]) < len(filled):
            row = filled[int(match[1])]
            row.add_error(match[2] if match[2] in row.fields else None, str(error))
        else:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        return None


def _offers(baselines: Any) -> list[dict[str, Any]]:
    """Metrics that were measured, with their baseline mean: what a promise can be tied to."""
    return [
        {
            "suite": b.suite_revision.suite.slug,
            "key": m["key"],
            "label": m.get("label", ""),
            "mean": m.get("mean"),
            "version": b.model_version.label,
        }
        for b in baselines
        for m in b.summary.get("metrics", [])
    ]


@login_required
def approval(request: HttpRequest, number: int) -> HttpResponse:
    return _page(request, found(selectors.approvals(request.user), number=number))


@login_required
@require_POST
def approval_move(request: HttpRequest, number: int, move: str) -> HttpResponse:
    row = found(selectors.approvals(request.user), number=number)
    if move not in VERBS:
        raise Http404
    values: dict[str, Any] = {}
    if RULES[move].needs_reason:
        values["reason"] = request.POST.get("reason", "")
    read = request.POST.get("row_version", "")
    if move not in UNVERSIONED and read.isdecimal() and len(read) < 10:
        values["row_version"] = int(read)
    try:
        if move in DECIDES:
            require_fresh(of_request(request))
        VERBS[move](actor=person(request), approval=row, **values)
    except NotFound:
        raise
    except GovTrackError as error:
        row = found(selectors.approvals(request.user), number=number)
        return _page(request, row, refused=move, error=error)
    messages.success(request, f"{row} {RULES[move].past}.")
    return redirect("web:approval", number=number)


def _page(
    request: HttpRequest, row: Approval, *, refused: str = "", error: GovTrackError | None = None
) -> HttpResponse:
    moves = moves_for(row, person(request))
    again = next((m for m in moves if m.name == refused and m.needs_reason), None)
    reauth = ""
    if isinstance(error, ReauthenticationRequired):
        reauth = link("account_reauthenticate", next=link("web:approval", row.number))
    power = power_of_approval(row)
    assumptions = _assumptions(row, power)
    waiting = row.tickets.exclude(state=TicketState.DECIDED).order_by("due_at").first()
    return render(
        request,
        "web/approval.html",
        {
            "approval": row,
            "lede": _sentence(row, sum(a["state"] == "broken" for a in assumptions), waiting),
            "waiting": waiting,
            "waiting_href": link("web:ticket", waiting.number) if waiting else "",
            "gate": gate.check(use_case=row.use_case, model_version=row.model_version),
            "assumptions": assumptions,
            "unsupported": [p for p in power if p.warns] if row.state in PENDING else [],
            "baselines": Baseline.objects.filter(approval_links__approval=row).select_related(
                "suite_revision__suite"
            ),
            "people": _people(row),
            # The primary act is the last of a page's buttons, at the same corner everywhere.
            "moves": [_button(row, m) for m in sorted(moves, key=lambda m: not m.needs_reason)],
            "waits": "" if moves else _waits(row),
            "error": error,
            "reauth": reauth,
            "again": _button(row, again) if again else None,
            "typed": request.POST.get("reason", ""),
            "renew": link(
                "web:approval_new", version=row.model_version_id, use_case=row.use_case_id
            )
            if row.state not in PENDING and can(request.user, "approval.request", row.use_case)
            else "",
            "tickets": [
                {"row": t, "href": link("web:ticket", t.number)}
                for t in row.tickets.order_by("-number")
            ],
            "crumbs": [
                {"label": "Use cases", "href": link("web:use_case_list")},
                {"label": row.use_case.name, "href": link("web:use_case", row.use_case.slug)},
                {"label": str(row)},
            ],
        },
        status=error.status if error else 200,
    )


def _button(row: Approval, move: Move) -> dict[str, Any]:
    return {
        "move": move,
        "href": link("web:approval_move", row.number, move.name),
        "id": f"move-{move.name}",
        "title": f"{move.label}: {row}, {row.model_version} for {row.use_case}",
        "body": WHAT_HAPPENS.get(move.name, ""),
        "hidden": {"row_version": row.row_version},
    }


def _sentence(row: Approval, broken: int, waiting: Ticket | None) -> str:
    """What it allows, and in the same breath what speaks against it."""
    said = _standing(row)
    if row.state not in LIVE:
        return f"{said}."
    doubts = []
    if broken:
        hold = "holds" if broken == 1 else "hold"
        doubts.append(f"{count(broken, 'assumption')} no longer {hold}")
    if waiting:
        severity = waiting.get_severity_display().lower()
        doubts.append(f"{waiting} ({severity}) waits for a decision")
    if not doubts:
        return f"{said}."
    joint = ":" if row.state == ApprovalState.ON_HOLD else ", but"
    return f"{said}{joint} {' and '.join(doubts)}."


def _standing(row: Approval) -> str:
    pair = f"{short(row.model_version)} for {short(row.use_case)}"
    state = ApprovalState(row.state)
    if state == ApprovalState.REQUESTED:
        whom = "a validator" if row.use_case.risk_tier <= 2 else "a governance lead"
        return f"{row} asks to use {pair}, and waits for {whom}"
    if state == ApprovalState.VALIDATED:
        return f"{row} asks to use {pair}; it is validated, and waits for a governance lead"
    if state == ApprovalState.APPROVED:
        return f"{row} allows {pair}"
    if state == ApprovalState.CONDITIONAL:
        return f"{row} allows {pair} under conditions"
    if state == ApprovalState.ON_HOLD:
        return f"{row} of {pair} is on hold"
    return f"{row} of {pair} is {state.label.lower()}, so it allows nothing"


def _waits(row: Approval) -> str:
    if row.state in PENDING:
        return "This waits for somebody with the role who neither asked for it nor validated it."
    return ""


def _people(row: Approval) -> list[dict[str, Any]]:
    return [
        {"did": "Requested", "who": row.requested_by, "at": row.created_at},
        {"did": "Validated", "who": row.validated_by, "at": row.validated_at},
        {"did": "Approved", "who": row.approved_by, "at": row.approved_at},
    ]


def _assumptions(row: Approval, power: list[Power]) -> list[dict[str, Any]]:
    """Each promise with what was measured last: the newest comparison, else the baseline."""
    results = (
        MetricResult.objects.filter(comparison__baseline__model_version=row.model_version)
        .order_by(
            "comparison__baseline__suite_revision__suite__slug",
            "metric_key",
            "-comparison__created_at",
        )
        .distinct("comparison__baseline__suite_revision__suite__slug", "metric_key")
        .values_list(
            "comparison__baseline__suite_revision__suite__slug",
            "metric_key",
            "current_mean",
            "comparison__created_at",
        )
    )
    now: dict[tuple[str, str], tuple[float | None, Any]] = {}
    for base in Baseline.objects.filter(
        model_version=row.model_version, retired_at__isnull=True
    ).select_related("suite_revision__suite"):
        for m in base.summary.get("metrics", []):
            now[base.suite_revision.suite.slug, m["key"]] = (m.get("mean"), base.created_at)
    then = dict(now)
    for slug, key, mean, at in results:
        if mean is not None and at >= now.get((slug, key), (None, at))[1]:
            now[slug, key] = (mean, at)
    broken = set(
        row.assumptions.filter(breaks__change_event__state="open").values_list("pk", flat=True)
    )
    seen = {p.assumption.pk: p for p in power}
    return [{**_promise(a, now, then, broken), "power": seen[a.pk]} for a in row.assumptions.all()]


def _promise(a: Assumption, now: Any, then: Any, broken: set[Any]) -> dict[str, Any]:
    value, at = now.get((a.suite_slug, a.metric_key), (None, None))
    state = "untested"
    if value is not None:
        state = "holds" if a.holds(value) else "broken"
    if a.pk in broken:
        state = "broken"
    return {
        "row": a,
        "now": value,
        "at": at,
        "baseline": then.get((a.suite_slug, a.metric_key), (None, None))[0],
        "state": state,
        "suite_href": link("web:suite", a.suite_slug),
    }
