"""`govtrack rescore`: score a run's stored answers again, with live progress."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product, version_named


def rescore(
    run: Annotated[str, typer.Argument(help="Id of a run that has ended.")],
    judge: Annotated[
        str, typer.Option(help="Label or id of a pinned version: it judges by the suite's rubrics.")
    ] = "",
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Score nearness to the suite's references.")
    ] = False,
    by: Annotated[
        str, typer.Option(help="With --embedding: the version whose endpoint is asked.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")] = "",
    wait: Annotated[bool, typer.Option(help="Stay until it is done.")] = True,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Score stored answers again: no answer is asked for, the old scores stay. Without options: by
    the suite's rules, as they are in the code today."""
    if (judge and embedding) or (by and not embedding):
        fail("Name --judge, or --embedding (with --by), or neither.", status=2)
    with product(data_dir):
        from apps.evaluations.models import Run, Scoring
        from apps.evaluations.rescoring import begin

        try:
            found = Run.objects.filter(pk=uuid.UUID(run)).first()
        except ValueError:
            found = None
        if found is None:
            fail(
                f"run: there is none with the id {run}.",
                remedy="Its page and `govtrack run` say it.",
            )
        named = judge or by
        made = begin(
            actor=acting(as_),
            run=found,
            kind="judge" if judge else "embedding" if embedding else "rules",
            by_version=version_named(named) if named else None,
            reason=reason,
        )
        out.print(f"Scoring revision {made.number}: {made.total} answers, by {made.by_name}.")
        if not wait:
            return
        try:
            _watch(made)
        except KeyboardInterrupt:
            err.print(f"Left to the workers. Its page: /runs/{found.pk}/#scorings")
            raise typer.Exit(130) from None
        if made.state != Scoring.State.DONE:
            fail(f"The scoring stopped: {made.state_reason}")
        for key in made.metric_keys:
            before = (found.totals.get("metrics") or {}).get(key)
            now = made.totals.get(key)
            first = "" if before is None else f"   (revision 1: {before:.4f})"
            out.print(f"  {key:<30} {'–' if now is None else f'{now:.4f}'}{first}")
        if made.confounded:
            out.print(f"Confounded: {made.confounded}", soft_wrap=True)


def _watch(scoring: object) -> None:
    from apps.evaluations.models import Scoring

    assert isinstance(scoring, Scoring)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("Scoring", total=scoring.total)
        while True:
            scoring.refresh_from_db()
            bars.update(bar, completed=scoring.done, description=f"Scoring · {scoring.state}")
            if scoring.state not in (Scoring.State.QUEUED, Scoring.State.RUNNING):
                return
            time.sleep(0.3)
