"""`govtrack run`: run a suite against a version, with live progress."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product, version_named


def run(
    version: Annotated[str, typer.Argument(help="Label or id of a model version.")],
    suite: Annotated[str, typer.Argument(help="Slug of a suite; its newest revision is run.")],
    replicates: Annotated[int, typer.Option(min=1, max=100)] = 1,
    baseline: Annotated[bool, typer.Option(help="Make it the version's baseline.")] = False,
    wait: Annotated[bool, typer.Option(help="Stay until the run has ended.")] = True,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Start a run. Ctrl-C leaves it running; its state is in the database."""
    with product(data_dir):
        from apps.drift.services import create_baseline
        from apps.evaluations.models import RunState, SuiteRevision
        from apps.evaluations.services import start_run

        actor = acting(as_)
        revision = SuiteRevision.objects.filter(suite__slug=suite).order_by("-number").first()
        if revision is None:
            fail(f"suite: there is none called {suite}.", remedy="`govtrack suite import PATH`")
        started = start_run(
            actor=actor,
            model_version=version_named(version),
            suite_revision=revision,
            purpose="baseline" if baseline else "manual",
            replicates=replicates,
        )
        out.print(f"Run {started.pk}: {started.total_slots} answers to get.")
        if not wait:
            return
        try:
            _watch(started)
        except KeyboardInterrupt:
            err.print(f"Left running. Its page: /runs/{started.pk}/")
            raise typer.Exit(130) from None
        if started.state != RunState.COMPLETE:
            fail(f"The run is {started.state}: {started.state_reason}")
        for key, value in sorted((started.totals.get("metrics") or {}).items()):
            if not key.startswith("style."):
                out.print(f"  {key:<30} {value if value is None else round(value, 4)}")
        if baseline:
            create_baseline(
                actor=actor,
                model_version=started.model_version,
                suite_revision=revision,
                runs=[started],
            )
            out.print("✓ This is now the version's baseline.")
            return
        _say_verdict(started)


def _watch(run: object) -> None:
    from apps.evaluations.models import Run, RunState
    from apps.evaluations.selectors import progress

    assert isinstance(run, Run)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task(str(run.suite_revision), total=run.total_slots)
        while True:
            run.refresh_from_db()
            now = progress(run)
            errors = sum(now.errors.values())
            said = f"{run.suite_revision} · {run.state}" + (f" · {errors} errors" if errors else "")
            bars.update(bar, completed=now.done, description=said)
            if run.state in (RunState.COMPLETE, RunState.FAILED, RunState.CANCELLED):
                return
            time.sleep(0.5)


def _say_verdict(run: object, seconds: float = 15.0) -> None:
    from apps.drift.models import Baseline, Comparison
    from apps.evaluations.models import Run

    assert isinstance(run, Run)
    if not Baseline.objects.filter(
        model_version=run.model_version, suite_revision=run.suite_revision, retired_at=None
    ).exists():
        out.print("No baseline to compare with yet: run once with --baseline --replicates 3.")
        return
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := Comparison.objects.filter(run=run).first():
            out.print(found.reason, soft_wrap=True)
            return
        time.sleep(0.5)
    out.print("The comparison is still to come; see the run's page.")
