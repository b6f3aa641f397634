"""A run in the terminal: bar, rate, time left, spend, and errors by class beneath."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from govtrack.commands.common import err, out

if TYPE_CHECKING:
    from apps.evaluations.estimating import Estimate
    from apps.evaluations.models import Run
    from apps.evaluations.selectors import RunProgress

EVERY_SECONDS = 0.5


def say_estimate(found: Estimate) -> None:
    from apps.evaluations.budgets import money

    cost = "no price is known" if found.cost is None else money(found.cost, found.currency)
    out.print(
        f"About {found.calls:,} calls, {found.prompt_tokens:,} + {found.completion_tokens:,} "
        f"tokens, {cost}. {found.basis}",
        soft_wrap=True,
    )
    for said in found.exceeds:
        out.print(f"! This may not be enough: {said} The run stops there, as partial.")


def watch(run: Run) -> None:
    """Until the run has ended. `run` is fresh afterwards."""
    from apps.evaluations.lifecycle import FINISHED
    from apps.evaluations.selectors import progress

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        console=err,
    )
    bar = bars.add_task(str(run.suite_revision), total=run.total_slots, facts="")
    beneath = Text()
    with Live(Group(bars, beneath), console=err, transient=True, refresh_per_second=4):
        while True:
            run.refresh_from_db()
            now = progress(run)
            bars.update(
                bar,
                completed=now.done,
                total=run.total_slots,
                description=f"{run.suite_revision} · {run.state}",
                facts=facts(now),
            )
            beneath.plain = errors(now)
            if run.state in FINISHED:
                return
            time.sleep(EVERY_SECONDS)


def facts(now: RunProgress) -> str:
    """ "12.4/s · 1 min 20 s left · 0.0123 USD · 8,140 tokens"."""
    from apps.evaluations.budgets import money

    parts = []
    if now.per_second:
        parts.append(f"{now.per_second:.1f}/s")
    if now.eta_seconds is not None:
        parts.append(f"{dt.timedelta(seconds=round(min(now.eta_seconds, 8e8)))} left")
    parts += [money(cost, currency) for currency, cost in now.spent.items()]
    if tokens := now.prompt_tokens + now.completion_tokens:
        parts.append(f"{tokens:,} tokens")
    return " · ".join(parts)


def errors(now: RunProgress) -> str:
    """Outcomes other than an answer, the most frequent first."""
    found = sorted(now.errors.items(), key=lambda item: -item[1])
    return "  ".join(f"{kind} {count:,}" for kind, count in found)
