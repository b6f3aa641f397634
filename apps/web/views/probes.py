"""Is a probe watch on, what does it cost, what can it not see; and is it us, or the vendor?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.permissions import can, require
from apps.core.errors import GovTrackError, NotAllowed, NotFound, StaleVersion
from apps.drift import blind_spots, control_arms, probes_acts, probing
from apps.drift.models import ControlArm, Probe
from apps.drift.probes_selectors import arms_of, current_probes
from apps.registry import selectors
from apps.registry.models import ModelVersion
from apps.web import probedata
from apps.web.inventory import chosen, found, link, person


@login_required
@require_GET
def probes(request: HttpRequest, pk: Any) -> HttpResponse:
    user = person(request)
    version = found(selectors.versions(user), pk=pk)
    rows = current_probes(version)
    spots = blind_spots.spots(version, rows)
    arms = arms_of(version)
    used = [a.control.pk for a in arms]
    pinned = (
        selectors.versions(user)
        .exclude(pin_kind=ModelVersion.PinKind.ALIAS)
        .exclude(pk__in=[version.pk, *used])
        .order_by("label")
    )
    may_edit = can(user, "schedule.edit", version)
    return render(
        request,
        "web/probes.html",
        {
            "nav": "versions",
            "version": version,
            "lede": probedata.sentence(version, rows),
            **probedata.context(version, rows),
            "unseen": [s for s in spots if s.sight != blind_spots.Sight.SEEN],
            "seen": [s for s in spots if s.sight == blind_spots.Sight.SEEN],
            "false_alarms": blind_spots.may_alarm_falsely(rows),
            "arms": arms,
            "pinned": pinned[:200] if may_edit else [],
            "may_edit": may_edit,
            "may_run": can(user, "run.start", version),
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": "Probes"},
            ],
        },
    )


@login_required
@require_POST
def start(request: HttpRequest, pk: Any) -> HttpResponse:
    version = found(selectors.versions(request.user), pk=pk)
    require(request.user, "schedule.edit", version)
    kinds = request.POST.getlist("kind")
    return _done(
        request,
        version,
        lambda: probing.start_probes(actor=person(request), model_version=version, kinds=kinds),
        "Turned on. The baseline is recorded first; nothing is claimed until it covers time and "
        "load.",
    )


@login_required
@require_POST
def act(request: HttpRequest, pk: Any, probe: Any, act: str) -> HttpResponse:
    version = found(selectors.versions(request.user), pk=pk)
    row = found(Probe.objects.filter(model_version=version), pk=probe)
    user = person(request)
    reason = request.POST.get("reason", "").replace("\x00", "")
    read = request.POST.get("read", "")
    row_version = int(read) if read.isdecimal() and len(read) < 10 else None
    acts: dict[str, tuple[Callable[[], Any], str]] = {
        "pause": (
            lambda: probing.set_enabled(
                actor=user, probe=row, enabled=False, row_version=row_version
            ),
            "Paused: it looks at nothing until you resume it.",
        ),
        "resume": (
            lambda: probing.set_enabled(
                actor=user, probe=row, enabled=True, row_version=row_version
            ),
            "Resumed.",
        ),
        "again": (
            lambda: probes_acts.record_again(actor=user, probe=row, reason=reason),
            "The baseline is recorded again. What was found before stays below, under earlier "
            "probes.",
        ),
        "now": (
            lambda: probes_acts.ask_now(actor=user, probe=row, reason=reason),
            "A round is asked within seconds; this page shows it when it is in.",
        ),
    }
    if act not in acts:
        raise Http404
    do, said = acts[act]
    return _done(request, version, do, said)


@login_required
@require_POST
def control_add(request: HttpRequest, pk: Any) -> HttpResponse:
    user = person(request)
    version = found(selectors.versions(user), pk=pk)
    require(user, "schedule.edit", version)
    control = chosen(selectors.versions(user), request.POST.get("control"))
    if control is None:
        messages.error(request, "Choose the version that is to be the control.")
        return redirect(f"{link('web:probes', version.pk)}#controls")
    return _done(
        request,
        version,
        lambda: control_arms.add_control(
            actor=user, model_version=version, control_version=control
        ),
        f"{control.label} is a control now: it is rerun whenever a change is found here.",
        "controls",
    )


@login_required
@require_POST
def control_remove(request: HttpRequest, pk: Any, arm: Any) -> HttpResponse:
    version = found(selectors.versions(request.user), pk=pk)
    row = found(
        ControlArm.objects.filter(model_version=version).select_related(
            "model_version", "control_version"
        ),
        pk=arm,
    )
    return _done(
        request,
        version,
        lambda: control_arms.remove_control(actor=person(request), arm=row),
        "Taken off. What it said about changes stays.",
        "controls",
    )


def _done(
    request: HttpRequest,
    version: ModelVersion,
    do: Callable[[], Any],
    said: str,
    place: str = "",
) -> HttpResponse:
    """Back to the page, with what was done or why not."""
    try:
        do()
        messages.success(request, said)
    except (NotAllowed, NotFound, StaleVersion):
        raise
    except GovTrackError as error:
        messages.error(request, str(error))
    address = link("web:probes", version.pk)
    return redirect(f"{address}#{place}" if place else address)
