"""Try one case against one version now: a real call whose answer is shown and not stored.

It goes the way of every call (credential, outbound policy, the endpoint's shared limits), and no
run, sample or score comes of it. What it used stands in the history and counts against budgets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.db import transaction

from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.audit.services import record
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import budgets, charging
from apps.evaluations.models import SampleStatus, Spending, SuiteRevision
from apps.evaluations.runner import requests
from apps.evaluations.runner.calls import Calls, NoPlace
from apps.evaluations.runner.client import Outcome
from apps.evaluations.runner.job import secret_of
from apps.evaluations.runner.problems import Misconfigured, Problem
from apps.evaluations.scorers import Answer, ScoreResult
from apps.evaluations.style import style_profile
from apps.evaluations.suitefile import Case, Suite, build_scorers, score_answer
from apps.registry.models import Endpoint, ModelVersion

PER_HOUR = 60
WAIT_SECONDS = 15.0


@dataclass(frozen=True)
class Tried:
    """What one call came to. `scores`: the scorer's key → its result."""

    request: bytes
    status: str
    text: str = ""
    tool_calls: list[Any] = field(default_factory=list)
    problem: str = ""
    scores: dict[str, ScoreResult] = field(default_factory=dict)
    style: dict[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    returned_model: str = ""


def try_case(
    *, actor: User, model_version: ModelVersion, revision: SuiteRevision, suite: Suite, case: Case
) -> Tried:
    """Ask once. `suite` is the revision as it would be saved. Raises NotAllowed, InvalidInput
    (too often), Conflict (endpoint switched off, a budget used up, no place at the endpoint)."""
    require(actor, "run.start", model_version)
    require(actor, "suite.edit", revision.suite)
    endpoint = model_version.endpoint
    if not endpoint.active:
        raise Conflict(
            f"The endpoint '{endpoint.name}' is switched off.",
            field="version",
            remedy="Switch it on, or choose another version.",
        )
    budgets.check_open(model_version, refused="No case is tried.")
    _count(actor)
    try:
        request = requests.build(model_version, endpoint.api_style, suite, case)
        secret = secret_of(endpoint)
    except Misconfigured as problem:
        raise Conflict(problem.message, field="version") from None
    outcome = async_to_sync(_ask)(endpoint, secret, request)
    parsed = outcome.parsed
    scores: dict[str, ScoreResult] = {}
    if outcome.status == SampleStatus.ANSWERED:
        answer = Answer(parsed.text, parsed.tool_calls, parsed.finish_reason or None)
        scores = score_answer(build_scorers(suite), case, answer)
    with transaction.atomic():
        charging.charge(model_version, [charging.used(outcome)], purpose=Spending.Purpose.TRIED)
        record(
            "evaluations.case_tried",
            actor=actor,
            obj=revision,
            summary=f"Tried case {case.id} of {revision.suite.slug} against {model_version.label}: "
            f"{outcome.status}, {outcome.tokens:,} tokens.",
            changes={"case": case.id, "model_version": model_version, "tokens": outcome.tokens},
        )
    return Tried(
        request=request.canonical,
        status=str(outcome.status),
        text=parsed.text,
        tool_calls=list(parsed.tool_calls),
        problem=outcome.error_message,
        scores=scores,
        style=style_profile(parsed.text),
        latency_ms=outcome.latency_ms,
        prompt_tokens=parsed.prompt_tokens,
        completion_tokens=parsed.completion_tokens,
        returned_model=parsed.returned_model,
    )


def _count(actor: User) -> None:
    """At most PER_HOUR calls a person: trying is no way around a run's budget."""
    key = f"tried:{actor.pk}"
    cache.add(key, 0, 3600)
    if cache.incr(key) > PER_HOUR:
        raise InvalidInput(
            f"You tried {PER_HOUR} cases within an hour.",
            field="version",
            remedy="Start a run: it has a budget and its answers are kept.",
        )


async def _ask(endpoint: Endpoint, secret: str, request: requests.Request) -> Outcome:
    """One attempt with a place at the endpoint, in an event loop of its own.

    Raises Conflict where the endpoint has no place within a quarter of a minute.
    """
    async with Calls(endpoint, secret, patience=WAIT_SECONDS) as calls:
        try:
            return await calls.once(request)
        except Problem as problem:
            return Outcome(
                request, SampleStatus.ERROR, error_kind=problem.kind, error_message=problem.message
            )
        except NoPlace:
            raise Conflict(
                "The endpoint has no place for another call now.",
                field="version",
                remedy="Wait until its runs are through, or raise its limits.",
            ) from None
