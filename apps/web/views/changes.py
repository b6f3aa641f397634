"""Changes: what behaves differently since when, what that breaks, and why we say so."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from apps.accounts.permissions import visible
from apps.drift import narrative, recomputing, selectors
from apps.drift.models import ChangeEvent, Comparison, ExamplePair, Verdict
from apps.tickets.models import Ticket
from apps.web import changetime, layers
from apps.web.evidence import forest_rows, life_at, newest_by_baseline, watchtower
from apps.web.inventory import capital, word
from apps.web.inventory import count as numbered
from apps.web.lists import as_uuid, chosen, listing, param, select, signed_in, sort_order
from apps.web.pairs import KINDS, Pair, exchange, one_pair, pairs_of
from apps.web.ticketdata import control_rows, deciders, gates

SORTS = {"since": "window_end", "number": "number", "version": "model_version__label"}
FIRST_PAIRS = 10


@login_required
@require_GET
def change_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    everything = selectors.change_events(user)
    state = chosen(request, "state", ChangeEvent.State.values)
    kind = chosen(request, "kind", ChangeEvent.Kind.values)
    verdict = chosen(request, "verdict", Verdict.values)
    version, words = as_uuid(param(request, "version")), param(request, "q")
    rows = everything.annotate(broken=Count("broken_assumptions", distinct=True)).select_related(
        "ticket"
    )
    given = {"state": state, "kind": kind, "verdict": verdict, "model_version": version}
    rows = rows.filter(**{name: value for name, value in given.items() if value})
    if words:
        rows = rows.filter(Q(model_version__label__icontains=words) | Q(sentence__icontains=words))
    page = listing(request, rows.order_by(*sort_order(request, SORTS, "-since")))
    hidden = {"sort": param(request, "sort"), "version": str(version) if version else ""}
    context = {
        "nav": "changes",
        "page": page,
        "q": words,
        "filtered": bool(words or any(given.values())),
        "any": bool(page.count) or everything.exists(),
        "selects": [
            select("state", "State", state, ChangeEvent.State.choices, "Open and closed"),
            select("kind", "Announced or not", kind, ChangeEvent.Kind.choices, "Announced or not"),
            select(
                "verdict",
                "Verdict",
                verdict,
                [(v.value, v.label) for v in Verdict if v.value.startswith("changed")],
                "Every verdict",
            ),
        ],
        "hidden": {name: value for name, value in hidden.items() if value},
        "sentence": _list_sentence(everything),
    }
    return render(request, "web/change_list.html", context)


def _list_sentence(rows: QuerySet[ChangeEvent]) -> str:
    still = rows.filter(state=ChangeEvent.State.OPEN)
    count = still.count()
    if not count:
        return "No version behaves differently from what was approved, as far as was looked."
    silent = still.filter(kind=ChangeEvent.Kind.SILENT).count()
    said = capital(numbered(count, "version behaves", "versions behave"))
    said += " differently from what was approved"
    if not silent:
        return f"{said}; each was announced."
    if silent == count:
        return f"{said}, and nobody announced it." if count == 1 else f"{said}, none announced."
    return f"{said}; {word(silent)} of them changed silently."


@login_required
@require_GET
def change(request: HttpRequest, number: int) -> HttpResponse:
    user = signed_in(request)
    event = get_object_or_404(selectors.change_events(user), number=number)
    comparisons = list(
        event.comparisons.select_related("baseline__suite_revision__suite", "run").order_by(
            "created_at"
        )
    )
    results = selectors.newest_results(event)
    newest = newest_by_baseline(comparisons)
    ticket = Ticket.objects.filter(change_event=event).select_related("assignee").first()
    broken = list(
        event.broken_assumptions.select_related(
            "assumption__approval__use_case", "comparison"
        ).order_by("assumption__approval__number", "assumption__code")
    )
    context = {
        "nav": "changes",
        "event": event,
        "crumbs": [{"label": "Changes", "href": reverse("web:change_list")}, {"label": str(event)}],
        "rows": forest_rows(results, with_suite=True),
        "broken": [_broken(row) for row in broken],
        "comparisons": comparisons,
        "structures": [c for c in newest if c.method.get("structure")],
        "towers": [t for c in newest if (t := watchtower(c.baseline))],
        "life": life_at(event.model_version, event.window_end),
        "strip": changetime.strip(user, event),
        "probe_cases": layers.cases(event),
        "probe_led": narrative.rests_on_probes(event),
        "findings": layers.worth_telling(
            layers.findings(event.model_version, event.window_start, event.window_end)
        ),
        "ticket": ticket,
        "gates": gates(user, event.model_version, ticket),
        "deciders": deciders(event.model_version),
        "controls": control_rows(ticket),
        **_seen(request, pairs_of(newest)),
    }
    return render(request, "web/change.html", context)


def _seen(request: HttpRequest, pairs: list[Pair]) -> dict[str, Any]:
    """The pairs that the address asks for, and the filters: by tag, by kind of change."""
    tags = sorted({tag for pair in pairs for tag in pair.tags})
    kinds = [kind for kind in KINDS if any(kind in pair.kinds for pair in pairs)]
    tag, kind = chosen(request, "tag", tags), chosen(request, "kind", kinds)
    everything = request.GET.get("all") == "1"
    total = len(pairs)
    if tag:
        pairs = [pair for pair in pairs if tag in pair.tags]
    if kind:
        pairs = [pair for pair in pairs if kind in pair.kinds]
    return {
        "pairs": pairs if everything else pairs[:FIRST_PAIRS],
        "pair_count": len(pairs),
        "pair_total": total,
        "tags": [(name, _see("" if name == tag else name, kind, everything)) for name in tags],
        "kinds": [
            (name, KINDS[name], _see(tag, "" if name == kind else name, everything))
            for name in kinds
        ],
        "tag": tag,
        "kind": kind,
        "everything": everything,
        "all_href": _see(tag, kind, True),
        "few_href": _see(tag, kind, False),
    }


def _see(tag: str, kind: str, everything: bool) -> str:
    query = {"tag": tag, "kind": kind, "all": "1" if everything else ""}
    return f"?{urlencode({name: value for name, value in query.items() if value})}#see"


@login_required
@require_GET
def change_recompute(request: HttpRequest, number: int) -> HttpResponse:
    """The file of `govtrack recompute`."""
    event = get_object_or_404(selectors.change_events(signed_in(request)), number=number)
    body = json.dumps(recomputing.document(event), allow_nan=False, ensure_ascii=False)
    response = HttpResponse(body, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{event}-recompute.json"'
    return response


@login_required
@require_GET
def pair(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One pair in full: what was sent and what came back, both times."""
    rows = visible(
        signed_in(request),
        ExamplePair.objects.select_related(
            "case", "comparison__run", "comparison__baseline__suite_revision__suite"
        ),
        team_path="comparison__baseline__model_version__team",
    )
    row = get_object_or_404(rows, pk=pk)
    shown = one_pair(row)
    before = exchange(row.baseline_sample_id, row.comparison.baseline.runs.all())
    now = exchange(row.current_sample_id, [row.comparison.run])
    event = row.comparison.change_events.first()
    crumbs = [{"label": "Changes", "href": reverse("web:change_list")}]
    if event:
        crumbs.append({"label": str(event), "href": reverse("web:change", args=[event.number])})
    return render(
        request,
        "web/pair.html",
        {
            "nav": "changes",
            "pair": shown,
            "row": row,
            "before": before,
            "now": now,
            "calls": [(before, "For the baseline"), (now, "Now")],
            "same_request": bool(before and now and before.sent == now.sent),
            "crumbs": [*crumbs, {"label": row.case.case_id}],
        },
    )


def _broken(row: Any) -> dict[str, Any]:
    return {
        "row": row,
        "assumption": row.assumption,
        "promised": f"{row.assumption.get_comparator_display()} {row.assumption.threshold:g}",
        "before": row.value_before,
        "now": row.value_now,
        "comparison": row.comparison,
    }


@login_required
@require_GET
def comparison(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """A rerun's verdict on its own."""
    user = signed_in(request)
    rows = visible(
        user,
        Comparison.objects.select_related(
            "run",
            "top_up",
            "baseline__suite_revision__suite",
            "baseline__model_version__model__provider",
        ),
        team_path="baseline__model_version__team",
    )
    row = get_object_or_404(rows, pk=pk)
    results = list(
        row.metrics.select_related("comparison__baseline__suite_revision__suite").order_by(
            "-log_e", "metric_key"
        )
    )
    pairs = pairs_of([row])
    everything = request.GET.get("all") == "1"
    version, revision = row.baseline.model_version, row.baseline.suite_revision
    context = {
        "nav": "changes",
        "comparison": row,
        "version": version,
        "revision": revision,
        "crumbs": [
            {"label": "Runs", "href": reverse("web:run_list")},
            {
                "label": f"{version.label} on {revision}",
                "href": reverse("web:run", args=[row.run_id]),
            },
            {"label": f"Look {row.look}"},
        ],
        "rows": forest_rows(results, with_suite=False),
        "pairs": pairs if everything else pairs[:FIRST_PAIRS],
        "pair_count": len(pairs),
        "everything": everything,
        "tower": watchtower(row.baseline),
        "baseline_runs": list(row.baseline.runs.order_by("created_at")),
        "events": list(row.change_events.order_by("number")),
        "more": row.method.get("more_answers"),
    }
    return render(request, "web/comparison.html", context)
