"""More answers at once where a rerun could not tell: a new run, within policy and budget.

Valid at any stopping time, because an e-process grows by bets whose mean is 1 given all that was
seen before them. So whether another run is made, when, and with how many answers to a case may
depend on the evidence; which of its answers count may not. Hence a top-up asks the *whole* suite
(cases picked for looking bad would bias the effect), its size is fixed before its first answer, and
it is compared like every other run, whatever it shows.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import asdict, dataclass

from django.db import transaction
from django.db.models import Max, Sum

from apps.audit.services import SYSTEM, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.drift.models import Baseline, Comparison, TopUp, Verdict
from apps.evaluations.estimating import Estimate, estimate
from apps.evaluations.lifecycle import CLAIMABLE
from apps.evaluations.models import Run
from apps.evaluations.services import start_top_up
from apps.registry.models import ModelVersion

# A person's own run is theirs to follow up; answers recorded elsewhere cannot be asked for again.
TOPPED_UP = (Run.Purpose.SCHEDULED, Run.Purpose.TOP_UP)
DAY = dt.timedelta(hours=24)


@dataclass(frozen=True)
class TopUpRule:
    """What the policy allows for a risk tier. runs: at most so many in one streak of inconclusive
    looks, and in 24 hours; replicates: at most so many answers to a case in one of them."""

    tier: int
    runs: int
    replicates: int
    calls_a_month: int
    urgent: bool = False


@transaction.atomic
def top_up(*, comparison: Comparison, rule: TopUpRule) -> TopUp | None:
    """Ask for the answers that an inconclusive rerun still needs, or write down why not.

    Idempotent: one row for a comparison. None where it found something, or where no schedule asked.
    """
    run = comparison.run
    if comparison.verdict != Verdict.INCONCLUSIVE or run.purpose not in TOPPED_UP:
        return None
    # One at a time for a version: its caps are counted under this lock.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=run.model_version_id)
    if done := TopUp.objects.filter(comparison=comparison).first():
        return done
    made, reason = None, _stale(comparison) or _spent(comparison, rule)
    if not reason:
        replicates, reason = _affordable(run, rule, _wanted(comparison))
        if not reason:
            made, reason = _start(comparison, rule, replicates)
    row = TopUp.objects.create(comparison=comparison, run=made, reason=reason, rule=asdict(rule))
    record(
        "drift.top_up_requested" if made else "drift.top_up_declined",
        actor=SYSTEM,
        obj=comparison,
        object_name=f"Comparison {comparison.look} of {run.model_version}",
        summary=reason,
        changes={"run": str(made.pk) if made else None, "rule": asdict(rule)},
    )
    return row


def _start(comparison: Comparison, rule: TopUpRule, replicates: int) -> tuple[Run | None, str]:
    times = "once" if replicates == 1 else f"{replicates} times"
    reason = (
        f"Top-up of look {comparison.look}, which was inconclusive: about "
        f"{_wanted(comparison):,} more answers were needed, so every case is asked {times} more."
    )
    try:
        with transaction.atomic():
            run = start_top_up(
                run=comparison.run,
                replicates=replicates,
                urgent=rule.urgent,
                reason=reason,
                key=f"top-up:{comparison.pk}",
            )
    except (Conflict, InvalidInput) as problem:
        return None, f"No top-up: {problem}"
    return run, reason


def _wanted(comparison: Comparison) -> int:
    return int(comparison.method.get("more_answers") or 0)


def _stale(comparison: Comparison) -> str:
    """Why this look is no longer the one to settle; "" where it is."""
    baseline: Baseline = comparison.baseline
    if baseline.retired_at is not None:
        return "No top-up: its baseline was retired meanwhile."
    newest = baseline.comparisons.aggregate(look=Max("look"))["look"]
    if newest != comparison.look:
        return "No top-up: a later rerun has been compared already."
    under_way = Run.objects.filter(
        model_version=baseline.model_version_id,
        suite_revision=baseline.suite_revision_id,
        state__in=CLAIMABLE,
    ).exclude(purpose=Run.Purpose.BASELINE)
    if under_way.exists():
        return "No top-up: another run of this suite is under way, whose answers come first."
    return ""


def _spent(comparison: Comparison, rule: TopUpRule) -> str:
    """Why the rule allows none, or none that could settle it; "" where it does."""
    wanted = _wanted(comparison)
    if not wanted:
        return (
            "No top-up: no number of further answers would settle it (the baseline is too small, a "
            "metric was not measured, or none has a margin)."
        )
    of_baseline = TopUp.objects.filter(
        comparison__baseline=comparison.baseline_id, run__isnull=False
    )
    settled = comparison.baseline.comparisons.exclude(verdict=Verdict.INCONCLUSIVE)
    since = settled.aggregate(look=Max("look"))["look"] or 0
    in_streak = of_baseline.filter(comparison__look__gt=since).count()
    left = rule.runs - in_streak
    if left <= 0:
        return (
            f"No top-up: {in_streak} were made since it was last settled, as many as the policy "
            f"allows for tier {rule.tier}."
        )
    in_a_day = of_baseline.filter(created_at__gt=clock.now() - DAY).count()
    if in_a_day >= rule.runs:
        return (
            f"No top-up: {in_a_day} were made in the last 24 hours, as many as the policy allows "
            f"for tier {rule.tier}."
        )
    most = left * rule.replicates * comparison.run.suite_revision.case_count
    if wanted > most:
        return (
            f"No top-up: about {wanted:,} more answers are needed, and what the policy allows for "
            f"tier {rule.tier} is {most:,}. The schedule's reruns go on adding up."
        )
    return ""


def _affordable(run: Run, rule: TopUpRule, wanted: int) -> tuple[int, str]:
    """(answers to a case, ""), as many as are wanted and can be paid; or (0, why none can)."""
    cases = run.suite_revision.case_count
    month = clock.month_of(clock.now())
    used = Run.objects.filter(
        model_version=run.model_version_id, purpose=Run.Purpose.TOP_UP, month=month
    ).aggregate(slots=Sum("total_slots"))["slots"]
    left = rule.calls_a_month - (used or 0)
    if left < cases:
        return 0, (
            f"No top-up: {max(left, 0):,} of this month's {rule.calls_a_month:,} calls for top-ups "
            f"of tier {rule.tier} are left, and one answer to every case takes {cases:,}."
        )
    most = min(math.ceil(wanted / cases), rule.replicates, left // cases)
    found: Estimate | None = None
    for replicates in range(most, 0, -1):
        found = estimate(
            model_version=run.model_version,
            suite_revision=run.suite_revision,
            replicates=replicates,
            max_tokens=run.max_tokens,
            max_cost=run.max_cost,
            currency=run.currency,
        )
        if not found.exceeds:
            return replicates, ""
    assert found is not None
    return 0, f"No top-up: it would not fit the budget. {found.exceeds[0]}"
