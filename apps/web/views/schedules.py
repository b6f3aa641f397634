"""When is this version asked again?"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.accounts.permissions import can, require, visible
from apps.core.errors import GovTrackError, NotFound
from apps.evaluations import cadence, schedules, services
from apps.evaluations.calendar import EXAMPLES
from apps.evaluations.models import Schedule
from apps.registry import selectors
from apps.web.forms_schedules import ScheduleEditForm, ScheduleForm, has_suites, interval_parts
from apps.web.inventory import attempt, capital, chosen, count, found, link, paged, person

# A service names the interval; the form has a number and a unit.
FIELDS = {"interval_seconds": "every", "jitter_seconds": "jitter"}


def crumbs(*rest: dict[str, str]) -> list[dict[str, str]]:
    return [{"label": "Schedules", "href": link("web:schedule_list")}, *rest]


@login_required
def schedule_list(request: HttpRequest) -> HttpResponse:
    user = request.user
    rows = visible(
        user,
        Schedule.objects.select_related("model_version", "suite_revision__suite"),
        team_path="model_version__team",
    )
    on = rows.filter(enabled=True).count()
    next_one = rows.filter(enabled=True, next_due_at__isnull=False).order_by("next_due_at").first()
    lede = "No version is asked again by itself: a silent change would not be noticed."
    if on:
        lede = f"{capital(count(on, 'schedule'))} {'asks' if on == 1 else 'ask'} again by itself."
        lede = lede if on == 1 else lede.replace("by itself", "by themselves")
    page = paged(request, rows.order_by("-enabled", "next_due_at", "pk"))
    return render(
        request,
        "web/schedule_list.html",
        {
            "nav": "runs",
            "lede": lede,
            "next_one": next_one,
            "page": page,
            "rows": [{"row": r, "rhythm": rhythm(r)} for r in page.rows],
            "may_edit": can(user, "schedule.edit"),
            "crumbs": [
                {"label": "Runs", "href": link("web:run_list")},
                {"label": "Schedules"},
            ],
        },
    )


@login_required
def schedule_new(request: HttpRequest) -> HttpResponse:
    user = request.user
    require(user, "schedule.edit")
    versions = selectors.versions(user)
    version = chosen(versions, request.GET.get("version") or request.POST.get("version"))
    if version is None:
        page = paged(request, versions)
        there = crumbs({"label": "New schedule"})
        return render(request, "web/schedule_pick.html", {"page": page, "crumbs": there})
    require(user, "schedule.edit", version)
    proposed = cadence.proposed(version)
    initial = {
        "calendar": proposed.calendar,
        "jitter": proposed.jitter_seconds // 60,
        "replicates": proposed.replicates,
        "unit": "86400",
    }
    form = ScheduleForm(request.POST or None, initial=initial)
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
            "nav": "runs",
            "why": proposed.why,
            "examples": EXAMPLES,
            "form": form,
            "upcoming": upcoming,
            "ready": has_suites(),
            "submit": "Plan reruns",
            "back": link("web:version", version.pk),
            "suites": link("web:suite_list"),
            "crumbs": crumbs(
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": "New schedule"},
            ),
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
    upcoming = schedules.upcoming(row)
    if request.method == "POST":
        if "trigger" in request.POST:
            return _trigger(request, row)
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
            "nav": "runs",
            "trigger_field": {"trigger": "1"},
            "examples": EXAMPLES,
            "may_edit": can(user, "schedule.edit", version),
            "may_trigger": can(user, "run.start", version),
            "runs": [
                {"row": r, "at": r.due_at or r.created_at, "href": link("web:run", r.pk)}
                for r in row.runs.order_by("-created_at")[:10]
            ],
            "crumbs": crumbs(
                {"label": version.label, "href": link("web:version", version.pk)},
                {"label": row.suite_revision.suite.name},
            ),
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


def _trigger(request: HttpRequest, row: Schedule) -> HttpResponse:
    require(request.user, "run.start", row.model_version)
    try:
        run = services.trigger_schedule(
            actor=person(request),
            schedule=row,
            reason=request.POST.get("reason", "").replace("\x00", ""),
        )
    except NotFound:
        raise
    except GovTrackError as error:
        messages.error(request, str(error))
        return redirect("web:schedule", pk=row.pk)
    messages.success(request, "Started, before all other work.")
    return redirect("web:run", pk=run.pk)


def _preview(form: ScheduleForm) -> list[dt.datetime]:
    """The next five due times; an error at the field where there are none."""
    if not form.planned:
        return []
    try:
        return schedules.preview(**form.timing())
    except GovTrackError as error:
        name = FIELDS.get(error.field, error.field)
        form.add_error(name if name in form.fields else None, str(error))
        return []


def _stored(row: Schedule) -> dict[str, Any]:
    names = (
        "calendar",
        "timezone",
        "replicates",
        "catch_up",
        "on_alarm",
        "max_tokens",
        "row_version",
    )
    stored = {n: getattr(row, n) for n in names} | interval_parts(row.interval_seconds)
    return stored | {
        "suite_revision": row.suite_revision_id,
        "cron": "" if row.calendar else row.cron,
        "jitter": row.jitter_seconds // 60,
        "blackouts": "\n".join(row.blackouts),
    }


def rhythm(row: Schedule) -> str:
    """ "every 2 hours", "weekdays at 02:00 (Europe/Berlin)", "by cron …", "on alarms only"."""
    if row.calendar:
        return f"{row.calendar} ({row.timezone})"
    if row.interval_seconds is None and not row.cron:
        return "on alarms only"
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
