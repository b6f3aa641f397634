"""What a run would use, before it is asked for: from past runs, or by counting characters.

The second way is rough on purpose and says so: about four characters a token (English text with a
byte-pair tokenizer; other languages and code take up to twice as many), and for the answer the
length that the version or the suite allows, which is the most that it can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from apps.evaluations import budgets, prices
from apps.evaluations.models import Run, RunState, SuiteRevision
from apps.evaluations.stored import case_of, frame_of
from apps.evaluations.suitefile import render_case
from apps.registry.models import ModelVersion

CHARACTERS_A_TOKEN = 4.0
# Where neither the version nor the suite limits an answer's length.
UNKNOWN_ANSWER_TOKENS = 256
LENGTH_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LOOKED_AT = 200
PAST_RUNS = 5


@dataclass(frozen=True)
class Estimate:
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal | None
    currency: str
    basis: str
    """A sentence: where these figures come from."""
    exceeds: list[str] = field(default_factory=list)
    """Sentences: the limits at which this run would be stopped."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def estimate(
    *,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    replicates: int = 1,
    max_tokens: int | None = None,
    max_cost: Decimal | None = None,
    currency: str = "",
) -> Estimate:
    """What the run would use, and which limits it would reach. Asks nobody but the database."""
    calls = suite_revision.case_count * max(1, replicates)
    per_call, basis = _per_call(model_version, suite_revision)
    prompt, completion = (round(n * calls) for n in per_call)
    price = prices.of_version(model_version)
    cost = None
    if price is not None:
        cost = prices.cost_of(price, prices.Usage(prompt, completion))
    exceeds = []
    limits = [
        budgets.limit_of(b)
        for b in budgets.of_scope(model_version.pk, model_version.endpoint.provider_id)
    ]
    if max_tokens is not None or max_cost is not None:
        own = budgets.Limit(
            "The run's own budget", max_tokens, max_cost, currency, 0, Decimal(0), 0
        )
        limits.insert(0, own)
    for limit in limits:
        if limit.max_tokens is not None and limit.tokens + prompt + completion > limit.max_tokens:
            left = max(0, limit.max_tokens - limit.tokens)
            exceeds.append(f"{limit.name} has {left:,} tokens left.")
        if limit.max_cost is not None and cost is not None and price is not None:
            over = limit.cost + cost > limit.max_cost
            if over and price.currency == limit.currency:
                left_money = max(Decimal(0), limit.max_cost - limit.cost)
                exceeds.append(
                    f"{limit.name} has {budgets.money(left_money, limit.currency)} left."
                )
    return Estimate(
        calls=calls,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost,
        currency=price.currency if price else "",
        basis=basis,
        exceeds=exceeds,
    )


def _per_call(version: ModelVersion, revision: SuiteRevision) -> tuple[tuple[float, float], str]:
    """Prompt and completion tokens of one call, and where that is from."""
    finished = Run.objects.filter(
        suite_revision=revision, state__in=[RunState.COMPLETE, RunState.PARTIAL]
    ).order_by("-created_at")
    for rows, whose in (
        (finished.filter(model_version=version), "this version's"),
        (finished, "other versions'"),
    ):
        totals = [run.totals for run in rows.only("totals")[:PAST_RUNS]]
        if means := _means(totals):
            count = len(totals)
            return means, f"From {whose} last {count} run{'s' if count > 1 else ''} of this suite."
    return _by_characters(version, revision)


def _means(totals: Iterable[dict[str, Any]]) -> tuple[float, float] | None:
    answered = prompt = completion = 0
    for total in totals:
        answered += int(total.get("answered", 0))
        prompt += int(total.get("prompt_tokens", 0))
        completion += int(total.get("completion_tokens", 0))
    return (prompt / answered, completion / answered) if answered and prompt else None


def _by_characters(
    version: ModelVersion, revision: SuiteRevision
) -> tuple[tuple[float, float], str]:
    frame = frame_of(revision.pk)
    step = max(1, revision.case_count // LOOKED_AT)
    cases = revision.cases.filter(position__in=range(0, revision.case_count, step))
    lengths = [
        sum(len(str(message.get("content") or "")) for message in render_case(frame, case_of(row)))
        for row in cases
    ]
    characters = sum(lengths) / len(lengths) if lengths else 0.0
    characters += len(version.system_prompt)
    given = [version.parameters.get(key) for key in LENGTH_KEYS]
    answer = next((n for n in (*given, frame.max_tokens) if isinstance(n, int)), None)
    basis = "A rough count: no run of this suite has ended yet, so about four characters a token"
    basis += (
        " and answers as long as they may be."
        if answer is not None
        else f", and {UNKNOWN_ANSWER_TOKENS} tokens for an answer, whose length nothing limits."
    )
    return (characters / CHARACTERS_A_TOKEN, float(answer or UNKNOWN_ANSWER_TOKENS)), basis
