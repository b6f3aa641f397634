"""Score stored answers again, after the run: no answer is asked for, and no stored score changes.

Each scoring is a number of its own (a scoring revision) beside the first one. What watches a
version reads the first only (`selectors.metric_values`), so that a rule which changed cannot look
like a model that changed. The work is done in batches under a lease: a worker that dies costs
one batch, and what is scored is not scored again.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
from collections.abc import Callable
from typing import cast

import structlog
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet

from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.code import code_version
from apps.core.errors import Conflict, InvalidInput
from apps.core.ids import uuid7
from apps.core.models import Outbox
from apps.evaluations import (
    budgets,
    confounding,
    finishing,
    lifecycle,
    scoring,
    similarity,
    totals,
    wake,
)
from apps.evaluations.models import Run, RunState, Sample, SampleStatus, Score, Scoring
from apps.evaluations.scorers import Answer
from apps.evaluations.scoring_failure import BudgetUsedUp, ScoringFailed
from apps.evaluations.stored import case_of
from apps.registry.models import ModelVersion

log = structlog.get_logger(__name__)
# Longer than the longest batch: three attempts at sixteen questions, some of them slow.
LEASE_SECONDS = 300
BATCH = {Scoring.Kind.RULES: 200, Scoring.Kind.EMBEDDING: 64, Scoring.Kind.JUDGE: 16}
DEFERRED = {
    Scoring.Kind.RULES: "",
    Scoring.Kind.EMBEDDING: "embedding",
    Scoring.Kind.JUDGE: "judge",
}
OPEN = (Scoring.State.QUEUED, Scoring.State.RUNNING)


def rescore(*, actor: Actor, run: Run, reason: str = "") -> Scoring:
    """Apply the suite's rules again, as they are in the code today, to every stored answer.

    Raises NotAllowed, InvalidInput (nothing to score) and Conflict (the run is on its way).
    """
    return _start(actor, run, Scoring.Kind.RULES, None, "the suite's rules", reason)


def score_similarity(
    *, actor: Actor, run: Run, by_version: ModelVersion | None = None, reason: str = ""
) -> Scoring:
    """Score the suite's `embedding` metrics: by the local model, or by a registered version whose
    endpoint serves /embeddings. Raises as `rescore`, and Conflict where there is no local model."""
    if by_version is None:
        similarity.require_local()
    name = by_version.label if by_version else similarity.LOCAL_NAME
    return _start(actor, run, Scoring.Kind.EMBEDDING, by_version, name, reason)


def judge(*, actor: Actor, run: Run, judge: ModelVersion, reason: str = "") -> Scoring:
    """Have a registered version judge the suite's `rubric` metrics. It must be pinned (a snapshot
    or a digest), and not the judged version itself. Raises as `rescore`."""
    if judge.pin_kind == ModelVersion.PinKind.ALIAS:
        raise InvalidInput(
            f"'{judge.label}' is asked for by an alias, which its vendor may point elsewhere.",
            field="judge",
            remedy="Register the judge under a snapshot or a digest, and take that version.",
        )
    if judge.pk == run.model_version_id:
        raise InvalidInput(
            "A version cannot judge its own answers.",
            field="judge",
            remedy="Take another version as the judge.",
        )
    return _start(actor, run, Scoring.Kind.JUDGE, judge, judge.label, reason)


def begin(
    *,
    actor: Actor,
    run: Run,
    kind: str,
    by_version: ModelVersion | None = None,
    reason: str = "",
) -> Scoring:
    """One of the above, by its kind. Raises as they do."""
    if kind == Scoring.Kind.JUDGE:
        if by_version is None:
            raise InvalidInput(
                "Which version is to judge?", field="by_version", remedy="Name a pinned version."
            )
        return judge(actor=actor, run=run, judge=by_version, reason=reason)
    if kind == Scoring.Kind.EMBEDDING:
        return score_similarity(actor=actor, run=run, by_version=by_version, reason=reason)
    if by_version is not None:
        raise InvalidInput("Rules are applied by nobody else.", field="by_version")
    return rescore(actor=actor, run=run, reason=reason)


def resume(*, actor: Actor, scoring: Scoring) -> Scoring:
    """Go on with a scoring that failed, or that a budget ended. What is scored is not scored again.
    Raises NotAllowed, and Conflict (a budget is still used up)."""
    _require(actor, scoring.run)
    with transaction.atomic():
        row = Scoring.objects.select_for_update().get(pk=scoring.pk)
        if row.state not in (Scoring.State.FAILED, Scoring.State.PARTIAL):
            raise Conflict(f"This scoring is {row.get_state_display().lower()}, not stopped.")
        _check_budget(row.by_version)
        row.state, row.state_reason = Scoring.State.QUEUED, ""
        row.save_versioned("state", "state_reason")
        _note(row, actor, "resumed", "Resumed")
        transaction.on_commit(wake.scorers)
    return row


def _require(actor: Actor, run: Run) -> None:
    if actor is not SYSTEM:
        require(actor, "run.control", run)


def _check_budget(by: ModelVersion | None) -> None:
    if by is not None:
        budgets.check_open(by, refused="No scoring is started.")


def _start(
    actor: Actor, run: Run, kind: str, by: ModelVersion | None, name: str, reason: str
) -> Scoring:
    _require(actor, run)
    if by is not None and actor is not SYSTEM:
        require(actor, "view", by)
    _check_budget(by)
    keys = scoring.plan_of(run.suite_revision).metric_keys(DEFERRED[Scoring.Kind(kind)])
    if not keys:
        raise InvalidInput(
            f"No metric of {run.suite_revision} is scored this way.",
            field="run",
            remedy="Give the suite a metric with a scorer of that type (docs/suites.md).",
        )
    with transaction.atomic():
        # The lock gives numbers one after another, and keeps the run from being retried meanwhile.
        locked = Run.objects.select_for_update().get(pk=run.pk)
        if RunState(locked.state) not in lifecycle.FINISHED:
            raise Conflict(
                "The run is still on its way: its answers are not all there.",
                remedy="Score it again when it has ended.",
            )
        answered = _answered(locked)
        row = Scoring.objects.create(
            run=locked,
            number=next_number(locked),
            kind=kind,
            metric_keys=keys,
            by_version=by,
            by_name=name,
            reason=reason.strip()[:2000],
            total=answered.count(),
            code_version=code_version(),
            requested_by=None if actor is SYSTEM else cast(User, actor),
        )
        if not row.total:
            raise InvalidInput("The run has no answer that could be scored.", field="run")
        _note(row, actor, "requested", "Asked for")
        transaction.on_commit(wake.scorers)
    return row


def next_number(run: Run) -> int:
    """The next scoring revision of a run that the caller has locked."""
    newest = Scoring.objects.filter(run=run).aggregate(newest=Max("number"))["newest"]
    return (newest or scoring.FIRST_REVISION) + 1


def _answered(run: Run) -> QuerySet[Sample]:
    return Sample.objects.filter(month=run.month, run=run, status=SampleStatus.ANSWERED)


def _note(row: Scoring, actor: Actor, verb: str, said: str) -> None:
    name = f"scoring {row.number} of {finishing.name_of(row.run)}"
    record(
        f"evaluations.scoring_{verb}",
        actor=actor,
        obj=row,
        object_name=name,
        summary=f"{said}: {name}, by {row.by_name}." + (f" {row.reason}" if row.reason else ""),
        changes={
            "run": str(row.run_id),
            "number": row.number,
            "kind": row.kind,
            "by": row.by_name,
            "metrics": row.metric_keys,
            "state": row.state,
        },
    )


# ------------------------------------------------------------------------------------- the work


def todo() -> QuerySet[Scoring]:
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=clock.now())
    return Scoring.objects.filter(free, state__in=OPEN)


def work(*, seconds: float = 40.0) -> int:
    """Work off scorings for a while. Returns how many answers were scored."""
    deadline = time.monotonic() + seconds
    scored = 0
    while time.monotonic() < deadline and (row := _claim()):
        scored += _run(row, deadline)
    return scored


def _claim() -> Scoring | None:
    with transaction.atomic():
        row = todo().select_for_update(skip_locked=True).order_by("id").first()
        if row is None:
            return None
        row.state = Scoring.State.RUNNING
        row.started_at = row.started_at or clock.now()
        row.lease_owner = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid7().hex}"
        row.lease_until = clock.now() + dt.timedelta(seconds=LEASE_SECONDS)
        row.save_versioned("state", "started_at", "lease_owner", "lease_until")
    return row


def _run(row: Scoring, deadline: float) -> int:
    row = Scoring.objects.select_related("run__suite_revision", "by_version__endpoint").get(
        pk=row.pk
    )
    plan = scoring.plan_of(row.run.suite_revision)
    scored = 0
    try:
        while time.monotonic() < deadline:
            samples = list(
                _unscored(row)
                .select_related("case")
                .order_by("id")[: BATCH[Scoring.Kind(row.kind)]]
            )
            if not samples:
                _finish(row)
                return scored
            scores = WAYS[Scoring.Kind(row.kind)](row, plan, samples)
            if not _store(row, scores, len(samples)):
                return scored
            scored += len(samples)
    except ScoringFailed as error:
        if error.samples and _store(row, error.scores, error.samples):
            scored += error.samples
        _stop(row, error)
        return scored
    Scoring.objects.filter(pk=row.pk, lease_owner=row.lease_owner).update(lease_until=None)
    return scored


def _unscored(row: Scoring) -> QuerySet[Sample]:
    stored = Score.objects.filter(
        month=row.run.month,
        run=row.run_id,
        sample_id=OuterRef("id"),
        scoring_revision=row.number,
    )
    return _answered(row.run).filter(~Exists(stored))


def _store(row: Scoring, scores: list[Score], samples: int) -> bool:
    """One batch and its count commit together. False: the lease is somebody else's now."""
    with transaction.atomic():
        held = Scoring.objects.filter(
            pk=row.pk, lease_owner=row.lease_owner, state=Scoring.State.RUNNING
        ).update(
            done=F("done") + samples,
            identities=row.identities,
            lease_until=clock.now() + dt.timedelta(seconds=LEASE_SECONDS),
        )
        if held:
            Score.objects.bulk_create(scores, ignore_conflicts=True)
    return bool(held)


def _finish(row: Scoring) -> None:
    with transaction.atomic():
        held = Scoring.objects.select_for_update().get(pk=row.pk)
        if held.lease_owner != row.lease_owner or held.state != Scoring.State.RUNNING:
            return
        held.state, held.finished_at, held.lease_until = Scoring.State.DONE, clock.now(), None
        held.totals = totals.metrics_of(row.run, row.number)
        held.confounded = held.confounded or confounding.moved(held)
        held.save_versioned("state", "finished_at", "lease_until", "totals", "confounded")
        _note(held, SYSTEM, "done", "Scored")
        # Is the judge itself under suspicion? Who knows that stands to the right.
        if held.by_version_id is not None:
            Outbox.put("scoring.done", held.pk, scoring_id=str(held.pk))


def _stop(row: Scoring, error: ScoringFailed) -> None:
    partial = isinstance(error, BudgetUsedUp)
    reason = str(error)
    with transaction.atomic():
        held = Scoring.objects.select_for_update().get(pk=row.pk)
        if held.lease_owner != row.lease_owner or held.state != Scoring.State.RUNNING:
            return
        held.state = Scoring.State.PARTIAL if partial else Scoring.State.FAILED
        held.state_reason, held.lease_until = reason[:2000], None
        held.save_versioned("state", "state_reason", "lease_until")
        if partial:
            _note(held, SYSTEM, "spent", "Ended as partial")
        else:
            _note(held, SYSTEM, "failed", "Stopped")
    log.info("scoring_stopped", scoring_id=str(row.pk), state=held.state, reason=reason)


def _rules(row: Scoring, plan: scoring.Plan, samples: list[Sample]) -> list[Score]:
    scores = []
    for sample in samples:
        answer = Answer(sample.text, sample.tool_calls, sample.finish_reason or None)
        results = plan.results(case_of(sample.case), answer)
        scores += scoring.scores_of(
            run=row.run, sample=sample, results=results, revision=row.number
        )
    return scores


def _judged(row: Scoring, plan: scoring.Plan, samples: list[Sample]) -> list[Score]:
    # Only a worker that judges needs the HTTP client: the web process imports this module too.
    from apps.evaluations import judging

    return judging.scores(row, plan, samples)


WAYS: dict[str, Callable[[Scoring, scoring.Plan, list[Sample]], list[Score]]] = {
    Scoring.Kind.RULES: _rules,
    Scoring.Kind.EMBEDDING: similarity.scores,
    Scoring.Kind.JUDGE: _judged,
}
