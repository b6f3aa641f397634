"""`govtrack run`: run a suite against a version with live progress; steer, extend and show runs.

govtrack run VERSION SUITE            starts a run and watches it
govtrack run pause|resume|cancel|retry|extend|watch|show RUN
"""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from govtrack import stack
from govtrack.commands import watching
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product, version_named

if TYPE_CHECKING:
    from apps.evaluations.models import Run, SuiteRevision


class StartUnlessNamed(TyperGroup):
    """`govtrack run VERSION SUITE` is `govtrack run start VERSION SUITE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=StartUnlessNamed,
    no_args_is_help=True,
    help="Run a suite against a version: `govtrack run VERSION SUITE`. Steer and show runs.",
)
RunId = Annotated[str, typer.Argument(help="Id of a run, or the end of one.")]
Version = Annotated[str, typer.Argument(help="Label or id of a model version.")]
SuiteSlug = Annotated[str, typer.Argument(help="Slug of a suite; its newest revision is run.")]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Stop the run at so many tokens, as partial.")
]
MaxCost = Annotated[
    str, typer.Option(metavar="AMOUNT CURRENCY", help="Stop the run at so much, e.g. '2.50 USD'.")
]
Replicates = Annotated[int, typer.Option(min=1, max=100)]


@app.command("start")
def start(
    version: Version,
    suite: SuiteSlug,
    replicates: Replicates = 1,
    baseline: Annotated[bool, typer.Option(help="Make it the version's baseline.")] = False,
    wait: Annotated[bool, typer.Option(help="Stay until the run has ended.")] = True,
    urgent: Annotated[bool, typer.Option(help="Before all other work.")] = False,
    reason: Annotated[str, typer.Option(help="Why; the run shows it.")] = "",
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = "",
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Start a run and watch it. Ctrl-C asks whether to pause it; it lives in the database."""
    with product(data_dir):
        from apps.drift.services import create_baseline
        from apps.evaluations import estimating
        from apps.evaluations.models import Run, RunState
        from apps.evaluations.services import start_run

        actor = acting(as_)
        revision = newest(suite)
        model_version = version_named(version)
        limits = {"max_tokens": max_tokens, **money(max_cost)}
        found = estimating.estimate(
            model_version=model_version, suite_revision=revision, replicates=replicates, **limits
        )
        watching.say_estimate(found)
        started = start_run(
            actor=actor,
            model_version=model_version,
            suite_revision=revision,
            purpose="baseline" if baseline else "manual",
            replicates=replicates,
            urgency=Run.Urgency.URGENT if urgent else Run.Urgency.NORMAL,
            reason=reason,
            **limits,
        )
        out.print(f"Run {started.pk}: {started.total_slots} answers to get.")
        if not wait:
            return
        _watch(started, actor, data_dir)
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


@app.command("estimate")
def estimate(
    version: Version,
    suite: SuiteSlug,
    replicates: Replicates = 1,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """What a run would use, and at which limits it would stop. Nothing is started."""
    with product(data_dir):
        from dataclasses import asdict

        from apps.evaluations import estimating

        found = estimating.estimate(
            model_version=version_named(version),
            suite_revision=newest(suite),
            replicates=replicates,
        )
        if as_json:
            out.print(json.dumps(asdict(found), default=str, indent=2), soft_wrap=True)
        else:
            watching.say_estimate(found)


@app.command("watch")
def watch(run: RunId, as_: As = "", data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Follow a run that is on its way. Ctrl-C asks whether to pause it."""
    with product(data_dir):
        row = run_named(run)
        _watch(row, None if not as_ else acting(as_), data_dir)
        out.print(f"The run is {row.state}. {row.state_reason}".strip())


@app.command("show")
def show(
    run: RunId,
    as_json: Annotated[bool, typer.Option("--json", help="All that repeats it, as JSON.")] = False,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """How a run stands; with --json everything that is needed to repeat it."""
    with product(data_dir):
        from apps.evaluations import records
        from apps.evaluations.services import run_by_id

        record = records.of_run(run_by_id(run_named(run).pk))
        if as_json:
            print(json.dumps(record, indent=2, ensure_ascii=False))
            return
        about, used = record["run"], record["used"]
        rows = {
            "Run": about["id"],
            "State": f"{about['state']} {about['state_reason']}".strip(),
            "Version": f"{record['model_version']['label']} ({record['model_version']['id']})",
            "Suite": f"{record['suite']['slug']} r{record['suite']['revision']}",
            "Suite hash": record["suite"]["content_hash"],
            "Answers": f"{about['stored']:,} of {about['slots']:,}",
            "Tokens": f"{used['prompt_tokens']:,} + {used['completion_tokens']:,}",
            "Cost": ", ".join(f"{cost} {cur}" for cur, cost in used["cost"].items()) or "no price",
            "Errors": ", ".join(f"{k} {n}" for k, n in used["errors"].items()) or "none",
            "Code": f"{record['code']['govtrack']} {record['code']['client']}".strip(),
        }
        for name, value in rows.items():
            out.print(f"{name:<11} {value}", soft_wrap=True)
        for seen in record["observed"]:
            served = f"{seen['returned_model'] or 'no name'} {seen['system_fingerprint']}".strip()
            out.print(f"{'Served as':<11} {served} ({seen['answers']:,} answers)", soft_wrap=True)


def _steering(verb: str, done: str, needs_reason: bool = False) -> Any:
    def command(
        run: RunId,
        reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")] = "",
        as_: As = "",
        data_dir: DataDir = stack.DEFAULT_DATA_DIR,
    ) -> None:
        with product(data_dir):
            from apps.evaluations import services

            if needs_reason and not reason.strip():
                fail("--reason: say why.", remedy="It is kept in the history.")
            row = getattr(services, f"{verb}_run")(
                actor=acting(as_), run=run_named(run), reason=reason
            )
            out.print(f"✓ {done} Run {row.pk} is {row.state}.")

    return command


app.command("pause", help="No new call within seconds; calls under way are kept.")(
    _steering("pause", "Paused.")
)
app.command("resume", help="Go on with a paused run.")(_steering("resume", "Resumed."))
app.command("cancel", help="Stop a run for good; what was answered is kept.")(
    _steering("cancel", "Cancelled.", needs_reason=True)
)


@app.command("retry")
def retry(
    run: RunId,
    error_kind: Annotated[
        list[str] | None,
        typer.Option(help="Only errors of this class, e.g. rate_limited; may be given again."),
    ] = None,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Go on with a failed or partial run; ask once more where a slot came to an error."""
    with product(data_dir):
        from apps.evaluations.services import retry_failed

        row = retry_failed(actor=acting(as_), run=run_named(run), error_kinds=error_kind or None)
        out.print(f"✓ Queued again: {row.total_slots:,} slots. {row.state_reason}".strip())


@app.command("extend")
def extend(
    run: RunId,
    replicates: Annotated[int, typer.Option(min=1, max=99, help="More answers a case.")] = 1,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Take more answers to every case: new slots of the same run."""
    with product(data_dir):
        from apps.evaluations.services import extend_run

        row = extend_run(actor=acting(as_), run=run_named(run), replicates=replicates)
        out.print(f"✓ {row.replicates} answers a case now, {row.total_slots:,} slots in all.")


@app.command("budget")
def budget(
    run: RunId,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = "",
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Set a run's own budget anew; what is left out is not limited. Then `govtrack run retry`."""
    with product(data_dir):
        from apps.evaluations.services import change_budget

        row = change_budget(
            actor=acting(as_), run=run_named(run), max_tokens=max_tokens, **money(max_cost)
        )
        out.print(f"✓ Set. Run {row.pk} is {row.state}.")


def newest(slug: str) -> SuiteRevision:
    from apps.evaluations.models import SuiteRevision

    revision = (
        SuiteRevision.objects.filter(suite__slug=slug)
        .select_related("suite")
        .order_by("-number")
        .first()
    )
    if revision is None:
        fail(f"suite: there is none called {slug}.", remedy="`govtrack suite import PATH`")
    return revision


def run_named(name: str) -> Run:
    """A run by its id, or by the end of one that only one run has."""
    from uuid import UUID

    from django.db.models import CharField
    from django.db.models.functions import Cast

    from apps.evaluations.models import Run

    rows = Run.objects.select_related("suite_revision__suite", "model_version__endpoint")
    try:
        found = list(rows.filter(pk=UUID(name)))
    except ValueError:
        short = name.strip().lower()
        found = []
        if len(short) >= 4:
            text = Cast("id", output_field=CharField())
            found = list(rows.annotate(text=text).filter(text__endswith=short)[:2])
    if len(found) != 1:
        many = "more than one ends so" if found else "there is none"
        fail(f"run: {name}: {many}.", remedy="The page of a run shows its id.")
    return found[0]


def money(text: str) -> dict[str, Any]:
    """ "2.50 USD" as `max_cost` and `currency`."""
    if not text.strip():
        return {"max_cost": None, "currency": ""}
    amount, _, currency = text.strip().partition(" ")
    try:
        return {"max_cost": Decimal(amount), "currency": currency.strip().upper()}
    except InvalidOperation:
        fail(f"'{text}' is no amount of money.", remedy="Write it as 2.50 USD.")


def _watch(run: Run, actor: Any, data_dir: Path) -> None:
    try:
        watching.watch(run)
    except KeyboardInterrupt:
        _interrupted(run, actor, data_dir)
        raise typer.Exit(130) from None


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _interrupted(run: Run, actor: Any, data_dir: Path) -> None:
    """Ctrl-C ends the watching, never the run, unless the person says so."""
    from django.db import connection

    from apps.evaluations.services import pause_run

    # Where the stack was named by an option, the next command needs it again.
    named = "" if data_dir == stack.DEFAULT_DATA_DIR else f" --data-dir {data_dir}"
    wanted = False
    if _is_terminal():
        err.print()
        try:
            wanted = typer.confirm("The run goes on by itself. Pause it?", default=False, err=True)
        except (typer.Abort, KeyboardInterrupt):
            err.print()
    if not wanted:
        said = f"The run goes on; watch it again with: govtrack run watch {run.pk}{named}"
    else:
        if not connection.in_atomic_block:
            connection.close()  # the interrupt may have broken a query
        pause_run(actor=actor or acting(""), run=run, reason="Paused from the terminal.")
        said = f"The run is paused; go on with: govtrack run resume {run.pk}{named}"
    err.print(said, soft_wrap=True)


def _say_verdict(run: Run, seconds: float = 15.0) -> None:
    from apps.drift.models import Baseline, Comparison

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
