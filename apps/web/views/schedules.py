"""When is this version asked again?"""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.accounts.permissions import can, require, visible
from apps.core.errors import GovTrackError
from apps.evaluations import schedules, services
from apps.evaluations.models import Schedule
from apps.registry import selectors
from apps.web.forms_inventory import ScheduleEditForm, ScheduleForm, has_suites, interval_parts
from apps.web.inventory import attempt, chosen, found, link, paged, person

# A service names the interval; the form has a number and a unit.
FIELDS = {"interval_seconds": "every", "suite_revision": "suite_revision"}


@login_required
def schedule_new(request: HttpRequest) -> HttpResponse:
    user = request.user
    require(user, "schedule.edit")
    versions = selectors.versions(user)
    version = chosen(versions, request.GET.get("version") or request.POST.get("version"))
    if version is None:
        page = paged(request, versions)
        return render(request, "web/schedule_pick.html", {"page": page})
    require(user, "schedule.edit", version)
    form = ScheduleForm(request.POST or None, initial={"every": 1, "unit": "86400"})
    upcoming: list[dt.datetime] = []
    if request.method == "POST" and form.is_valid():
        upcoming = _preview(form)
        if "preview" not in request.POST and not form.errors:
            made = attempt(
                form,
                lambda: services.create_schedule(
                    actor=person(request), model_version=version, **form.values()
                ),
                FIELDS,
            )
            if made:
                messages.success(request, "Reruns planned.")
                return redirect("web:schedule", pk=made.pk)
    return render(
        request,
        "web/schedule_form.html",
        {
            "lede": f"How often should {version} be asked again?",
            "version": version,
            "form": form,
            "upcoming": upcoming,
            "ready": has_suites(),
            "submit": "Plan reruns",
            "back": link("web:version", version.pk),
            "suites": link("web:suite_list"),
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": "New schedule"},
            ],
        },
    )


@login_required
def schedule(request: HttpRequest, pk: Any) -> HttpResponse:
    user = request.user
    rows = Schedule.objects.select_related("model_version", "suite_revision__suite")
    row = found(visible(user, rows, team_path="model_version__team"), pk=pk)
    version = row.model_version
    form = ScheduleEditForm(
        request.POST if "row_version" in request.POST else None, initial=_stored(row)
    )
    upcoming = _upcoming(row)
    if request.method == "POST":
        require(user, "schedule.edit", version)
        if "switch" in request.POST:
            return _switch(request, row)
        if form.is_valid():
            upcoming = _preview(form)
            values = form.values() | {"row_version": form.cleaned_data["row_version"]}
            if "preview" not in request.POST and not form.errors:
                saved = attempt(
                    form,
                    lambda: services.update_schedule(actor=person(request), schedule=row, **values),
                    FIELDS,
                )
                if saved:
                    messages.success(request, "Schedule saved.")
                    return redirect("web:schedule", pk=row.pk)
    return render(
        request,
        "web/schedule.html",
        {
            "schedule": row,
            "version": version,
            "lede": _sentence(row),
            "form": form,
            "upcoming": upcoming,
            "may_edit": can(user, "schedule.edit", version),
            "runs": [
                {"row": r, "href": link("web:run", r.pk)} for r in row.runs.order_by("-due_at")[:10]
            ],
            "crumbs": [
                {"label": "Versions", "href": link("web:version_list")},
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": "Schedule"},
            ],
        },
    )


def _switch(request: HttpRequest, row: Schedule) -> HttpResponse:
    on = request.POST["switch"] == "on"
    read = request.POST.get("read", "")
    services.update_schedule(
        actor=person(request),
        schedule=row,
        enabled=on,
        row_version=int(read) if read.isdecimal() and len(read) < 10 else None,
    )
    messages.success(
        request, "Switched on." if on else "Switched off: no rerun until you switch it on."
    )
    return redirect("web:schedule", pk=row.pk)


def _preview(form: ScheduleForm) -> list[dt.datetime]:
    """The next five due times; an error at the field where there are none."""
    try:
        return schedules.preview(**form.timing())
    except GovTrackError as error:
        name = FIELDS.get(error.field, error.field)
        form.add_error(name if name in form.fields else None, str(error))
        return []


def _upcoming(row: Schedule) -> list[dt.datetime]:
    if not row.enabled:
        return []
    later = schedules.preview(
        interval_seconds=row.interval_seconds,
        cron=row.cron,
        timezone=row.timezone,
        count=4,
        after=row.next_due_at,
    )
    return [row.next_due_at.astimezone(ZoneInfo(row.timezone)), *later]


def _stored(row: Schedule) -> dict[str, Any]:
    names = ("cron", "timezone", "replicates", "catch_up", "row_version")
    stored = {n: getattr(row, n) for n in names} | interval_parts(row.interval_seconds)
    return stored | {"suite_revision": row.suite_revision_id}


def rhythm(row: Schedule) -> str:
    """ "every 2 hours", "by cron 0 2 * * * (Europe/Berlin)"."""
    if row.interval_seconds is None:
        return f"by cron {row.cron} ({row.timezone})"
    parts = interval_parts(row.interval_seconds)
    unit = {"60": "minute", "3600": "hour", "86400": "day", "1": "second"}[parts["unit"]]
    return f"every {unit}" if parts["every"] == 1 else f"every {parts['every']} {unit}s"


def _sentence(row: Schedule) -> str:
    what = f"{row.model_version} on {row.suite_revision.suite}"
    if not row.enabled:
        return f"{what} is not rerun: this schedule is switched off."
    return f"{what} is rerun {rhythm(row)}."
