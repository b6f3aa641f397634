"""`govtrack schedule`: when a version is asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, fail, out, product, version_named
from govtrack.commands.runs import newest

if TYPE_CHECKING:
    from apps.evaluations.models import Schedule

app = typer.Typer(help="Schedules: plan, preview, list, trigger.", no_args_is_help=True)
Rule = Annotated[
    str, typer.Option("--rule", help="In words: 'weekdays at 02:00', 'first monday of the month …'")
]
Every = Annotated[int | None, typer.Option("--every", min=5, help="Seconds between two runs.")]
Cron = Annotated[str, typer.Option("--cron", help="minute hour day month weekday.")]
Zone = Annotated[str, typer.Option("--timezone", help="E.g. Europe/Berlin.")]
Jitter = Annotated[int, typer.Option("--jitter", min=0, help="Start up to so many seconds later.")]
Blackout = Annotated[
    list[str] | None, typer.Option("--blackout", help="'mon-fri 08:00-18:00'; may be repeated.")
]
VersionOf = Annotated[str, typer.Argument(help="Label or id of a model version.")]
SuiteOf = Annotated[str, typer.Argument(help="Slug of a suite.")]


@app.command("preview")
def preview(
    rule: Rule = "",
    every: Every = None,
    cron: Cron = "",
    timezone: Zone = "UTC",
    blackout: Blackout = None,
    count: Annotated[int, typer.Option(min=1, max=50)] = 5,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """The next due times. Nothing is saved."""
    with product(data_dir):
        from apps.evaluations import schedules

        times = schedules.preview(
            interval_seconds=every,
            cron=cron,
            calendar=rule,
            timezone=timezone,
            blackouts=blackout or (),
            count=count,
        )
        for moment in times:
            out.print(f"{moment:%a %Y-%m-%d %H:%M:%S %Z}")


@app.command("create")
def create(
    version: VersionOf,
    suite: SuiteOf,
    rule: Rule = "",
    every: Every = None,
    cron: Cron = "",
    timezone: Zone = "UTC",
    jitter: Jitter = 0,
    blackout: Blackout = None,
    replicates: Annotated[int, typer.Option(min=1, max=100)] = 1,
    on_alarm: Annotated[
        bool | None, typer.Option("--on-alarm/--not-on-alarm", help="Also when a layer alarms.")
    ] = None,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Plan reruns. Without a time, what is proposed for the version's risk tier."""
    with product(data_dir):
        from apps.evaluations import cadence, schedules
        from apps.evaluations.services import create_schedule

        model_version = version_named(version)
        timing: dict[str, Any] = {
            "interval_seconds": every,
            "cron": cron,
            "calendar": rule,
            "jitter_seconds": jitter,
            "replicates": replicates,
        }
        if not (rule or every or cron) and on_alarm is None:
            proposed = cadence.proposed(model_version)
            out.print(proposed.why)
            timing |= {
                "calendar": proposed.calendar,
                "jitter_seconds": jitter or proposed.jitter_seconds,
                "replicates": max(replicates, proposed.replicates),
            }
        made = create_schedule(
            actor=acting(as_),
            model_version=model_version,
            suite_revision=newest(suite),
            timezone=timezone,
            blackouts=blackout or (),
            on_alarm=on_alarm,
            **timing,
        )
        out.print(f"✓ Schedule {made.pk}.")
        for moment in schedules.upcoming(made):
            out.print(f"  {moment:%a %Y-%m-%d %H:%M:%S %Z}")


@app.command("list")
def list_(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Every schedule and when it is due next."""
    with product(data_dir):
        from apps.evaluations.models import Schedule

        rows = Schedule.objects.select_related("model_version", "suite_revision__suite")
        for row in rows.order_by("next_due_at"):
            due = f"{row.next_due_at:%Y-%m-%d %H:%M} UTC" if row.next_due_at else "on alarm"
            state = due if row.enabled else "switched off"
            rhythm = row.calendar or row.cron or f"every {row.interval_seconds} s"
            out.print(
                f"{row.pk}  {row.model_version} on {row.suite_revision}  {rhythm}  {state}",
                soft_wrap=True,
            )


@app.command("trigger")
def trigger(
    schedule: Annotated[str, typer.Argument(help="Id of a schedule.")],
    reason: Annotated[str, typer.Option(help="Why; the run and the history show it.")],
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Run a schedule now and urgently, before all other work."""
    with product(data_dir):
        from apps.evaluations.services import trigger_schedule

        run = trigger_schedule(actor=acting(as_), schedule=_named(schedule), reason=reason)
        out.print(f"✓ Run {run.pk} is {run.state}.")


def _named(name: str) -> Schedule:
    from uuid import UUID

    from apps.evaluations.models import Schedule

    try:
        found = Schedule.objects.filter(pk=UUID(name)).first()
    except ValueError:
        found = None
    if found is None:
        fail(f"schedule: there is none with the id {name}.", remedy="`govtrack schedule list`")
    return found
