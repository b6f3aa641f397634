"""How a run comes to be: its checks, its row, its shards. No permission is looked at here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import F, Max

from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.code import code_version
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import budgets, wake
from apps.evaluations.models import Run, Shard, SuiteRevision
from apps.registry.models import ModelVersion

MAX_REPLICATES = 100
MAX_SLOTS = 100_000


def create_run(
    *,
    actor: Any,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    purpose: str,
    replicates: int,
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
    **fields: Any,
) -> Run:
    """Inside the caller's transaction, which writes the audit entry. Raises InvalidInput
    (replicates, limits) and Conflict (endpoint off, suite archived, budget used up)."""
    check_replicates(replicates)
    if not model_version.endpoint.active:
        raise Conflict(
            f"The endpoint '{model_version.endpoint.name}' is switched off.",
            field="model_version",
            remedy="Switch the endpoint on, or choose another version.",
        )
    if suite_revision.suite.archived:
        raise Conflict(
            f"The suite '{suite_revision.suite.name}' is archived.",
            field="suite_revision",
            remedy="Choose another suite.",
        )
    budgets.check_limits(max_tokens=max_tokens, max_cost=max_cost, currency=currency)
    budgets.check_open(model_version, max_cost=max_cost, currency=currency)
    slots = suite_revision.case_count * replicates
    check_slots(slots)
    run = Run.objects.create(
        model_version=model_version,
        suite_revision=suite_revision,
        purpose=purpose,
        replicates=replicates,
        month=clock.month_of(clock.now()),
        total_slots=slots,
        requested_by=None if actor is SYSTEM else actor,
        code_version=code_version(),
        max_tokens=max_tokens,
        max_cost=max_cost,
        currency=currency,
        **fields,
    )
    _put_shards(run, [(0, suite_revision.case_count - 1)], replicates=replicates)
    wake.workers_after_commit(-(-slots // settings.GOVTRACK["SHARD_CASES"]))
    return run


def add_shards(
    run: Run,
    positions: list[tuple[int, int]],
    *,
    replicates: int,
    first_replicate: int = 0,
    error_kind: str = "",
) -> None:
    """Work for cases [first, last], `replicates` of each; of a retry, with the class of error that
    it makes good. The caller has locked a run that exists already."""
    latest = run.shards.aggregate(latest=Max("index"))["latest"]
    _put_shards(
        run,
        positions,
        replicates=replicates,
        first_replicate=first_replicate,
        error_kind=error_kind,
        index=0 if latest is None else latest + 1,
    )


def _put_shards(
    run: Run,
    positions: list[tuple[int, int]],
    *,
    replicates: int,
    first_replicate: int = 0,
    error_kind: str = "",
    index: int = 0,
) -> None:
    """A shard is about SHARD_CASES calls, so that a lease is short."""
    size = max(1, settings.GOVTRACK["SHARD_CASES"] // replicates)
    shards: list[Shard] = []
    for first, last in positions:
        for start in range(first, last + 1, size):
            shards.append(
                Shard(
                    run=run,
                    index=index + len(shards),
                    first_position=start,
                    last_position=min(start + size - 1, last),
                    first_replicate=first_replicate,
                    replicates=replicates,
                    error_kind=error_kind,
                )
            )
    Shard.objects.bulk_create(shards, batch_size=1000)


def next_replicate(run: Run) -> int:
    """The first replicate number that no shard of the run has used. The run is locked."""
    # Shards from before runs could be extended mean "all that the run has".
    run.shards.filter(replicates__isnull=True).update(replicates=run.replicates)
    top = run.shards.aggregate(top=Max(F("first_replicate") + F("replicates")))["top"]
    return int(top or 0)


def check_replicates(replicates: int) -> None:
    if not 1 <= replicates <= MAX_REPLICATES:
        raise InvalidInput(
            f"Replicates must lie between 1 and {MAX_REPLICATES}.",
            field="replicates",
            remedy="3 to 5 show a model's own randomness; 1 is enough for a rerun.",
        )


def check_slots(slots: int) -> None:
    if slots > MAX_SLOTS:
        raise InvalidInput(
            f"This run would ask for {slots:,} answers; the most is {MAX_SLOTS:,}.",
            field="replicates",
            remedy="Take fewer replicates, or split the suite.",
        )
