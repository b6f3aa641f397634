"""The part of the control policy that spends money: top-ups of inconclusive reruns."""

from __future__ import annotations

import copy
from typing import Any

from django import forms

from apps.tickets import policy
from apps.tickets.models import ControlPolicy
from apps.web.forms_inventory import TIERS, Plain

OFF = {"runs": 0, "replicates": 5, "calls_a_month": 5000, "urgent": False}


def tiers() -> list[dict[str, Any]]:
    """What the policy in force allows, by tier; none where it is from before there were any."""
    rules = policy.current().document.get("top_ups", {})
    return [{"tier": label, **rules.get(str(tier), OFF)} for tier, label in TIERS]


class TopUpForm(Plain):
    """The limits themselves are the policy's; see `policy.TOP_UP_LIMITS`."""

    tier = forms.TypedChoiceField(
        choices=TIERS,
        coerce=int,
        label="Risk tier",
        help_text="The highest that rests on a version by an approval counts.",
    )
    runs = forms.IntegerField(
        label="Top-ups",
        initial=2,
        help_text="Extra runs until a rerun says something again, and in 24 hours. 0: none. "
        "None is begun where all of them together could not settle it.",
    )
    replicates = forms.IntegerField(
        label="Answers to a case",
        initial=5,
        help_text="At most so many in one top-up. Every case is asked equally often: cases picked "
        "because they look bad would bias the result.",
    )
    calls_a_month = forms.IntegerField(
        label="Calls a month",
        initial=5000,
        help_text="For all top-ups of a version in a calendar month (UTC), beside its budgets.",
    )
    urgent = forms.BooleanField(
        required=False,
        label="Urgent",
        help_text="Asked before all other work; else in turn.",
    )
    reason = forms.CharField(max_length=2_000, help_text="Why: it stands with the policy.")

    def publish(self, actor: Any) -> ControlPolicy:
        """The policy in force with this tier changed. Raises NotAllowed and InvalidInput."""
        data = dict(self.cleaned_data)
        tier, reason = str(data.pop("tier")), data.pop("reason")
        document = copy.deepcopy(policy.current().document)
        rules = document.setdefault("top_ups", {str(t): dict(OFF) for t, _ in TIERS})
        rules[tier] = data
        return policy.publish(actor=actor, document=document, reason=reason)
