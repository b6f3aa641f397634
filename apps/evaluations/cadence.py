"""How often a version should be asked again, by the risk of what it is used for: a proposal that
the pages fill in, never a rule. The higher the risk, the sooner a silent change is seen."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Min

from apps.registry.lifecycle import LIVE, PENDING
from apps.registry.models import Approval, ModelVersion


@dataclass(frozen=True)
class Cadence:
    """`tier`: the highest risk tier (1 is the highest) of the version's use cases, or None."""

    tier: int | None
    calendar: str
    jitter_seconds: int
    replicates: int
    why: str


# tier → rule, jitter in seconds, answers a case. A tier 1 rerun has two answers a case: a verdict
# needs fewer days where each look says more.
BY_TIER: dict[int, tuple[str, int, int]] = {
    1: ("every day at 02:00", 15 * 60, 2),
    2: ("weekdays at 02:00", 30 * 60, 1),
    3: ("mondays at 02:00", 60 * 60, 1),
    4: ("first monday of the month at 02:00", 2 * 60 * 60, 1),
}
WITHOUT_USE = 3


def proposed(version: ModelVersion) -> Cadence:
    """By the approvals that are in use or asked for now."""
    tier = Approval.objects.filter(model_version=version, state__in=[*LIVE, *PENDING]).aggregate(
        tier=Min("use_case__risk_tier")
    )["tier"]
    calendar, jitter, replicates = BY_TIER[tier or WITHOUT_USE]
    if tier is None:
        why = "No use case rests on this version yet: once a week keeps an eye on it."
    else:
        why = f"Its use of the highest risk is of tier {tier}: {calendar} is proposed."
    return Cadence(tier, calendar, jitter, replicates, why)
