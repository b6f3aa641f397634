"""Calls that serve a scoring: to a judge, or for embeddings. Not a sample's own path.

They go through the same client, outbound policy and shared limits as a run's calls.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

import numpy as np

from apps.core.errors import GovTrackError
from apps.evaluations.charging import Allowance
from apps.evaluations.models import SampleStatus
from apps.evaluations.runner.calls import Calls, NoPlace, UsedUp
from apps.evaluations.runner.client import EMBEDDINGS, Outcome
from apps.evaluations.runner.problems import Misconfigured, Problem, Retry, Unreachable
from apps.evaluations.runner.requests import Request, canonical
from apps.evaluations.scoring_failure import BudgetUsedUp, ScoringFailed
from apps.registry import credentials
from apps.registry.models import ModelVersion

ATTEMPTS = 3
MAX_WAIT_SECONDS = 20.0
PLACE_SECONDS = 60.0
MAX_DIMENSIONS = 8192


class Asker:
    """A version's endpoint, for one event loop, within what its budgets leave."""

    def __init__(self, version: ModelVersion, allowance: Allowance) -> None:
        self.version = version
        self._allowance = allowance
        self.endpoint = version.endpoint

    async def __aenter__(self) -> Self:
        if not self.endpoint.active:
            raise ScoringFailed(
                f"The endpoint '{self.endpoint.name}' is switched off. Switch it on, then resume."
            )
        try:
            secret = credentials.resolve(self.endpoint)
        except GovTrackError as error:
            raise ScoringFailed(f"{error} Then resume.") from None
        self._calls = Calls(
            self.endpoint, secret, patience=PLACE_SECONDS, allowance=self._allowance
        )
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._calls.__aexit__(*error)

    async def ask(self, request: Request) -> Outcome:
        """The outcome after up to three attempts. Raises ScoringFailed where only a person can
        help (BudgetUsedUp at a limit), and Problem where the endpoint did not answer."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(request)
            except Misconfigured as problem:
                raise ScoringFailed(f"{problem.message} Then resume the scoring.") from None
            except (Retry, Unreachable) as problem:
                if attempt == ATTEMPTS:
                    raise
                wait = getattr(problem, "retry_after", None) or 2.0 ** (attempt - 2)
                await asyncio.sleep(min(wait, MAX_WAIT_SECONDS))
        raise AssertionError("unreachable")

    async def _once(self, request: Request) -> Outcome:
        try:
            return await self._calls.once(request)
        except UsedUp as used_up:
            raise BudgetUsedUp(
                f"{used_up} What was scored is kept. Raise the budget, then resume the scoring."
            ) from None
        except NoPlace:
            raise Unreachable(
                "waiting", f"The endpoint had no place for a call within {PLACE_SECONDS:.0f} s."
            ) from None

    async def embed(self, texts: list[str]) -> list[Any]:
        """Unit vectors of the texts. Raises ScoringFailed."""
        body = {"model": self.version.requested_name, "input": texts, "encoding_format": "float"}
        try:
            outcome = await self.ask(Request(EMBEDDINGS, body, canonical(body)))
            if outcome.status != SampleStatus.ANSWERED or outcome.response is None:
                raise ScoringFailed(f"{outcome.error_message} Then resume the scoring.")
            return _unit_vectors(outcome.response, len(texts))
        except Problem as problem:
            raise ScoringFailed(f"{problem.message} Resume when it answers.") from None


def _unit_vectors(raw: bytes, count: int) -> list[Any]:
    """The vectors of an answer in the order of the texts. Raises Retry when it is none."""
    try:
        data = json.loads(raw)["data"]
        rows = sorted(data, key=lambda row: int(row["index"]))
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float64)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Retry("malformed", "The answer of /embeddings is not as OpenAI's is.") from None
    shape_right = vectors.ndim == 2 and len(vectors) == count
    if not shape_right or not 0 < vectors.shape[1] <= MAX_DIMENSIONS:
        raise Retry("malformed", f"The answer of /embeddings does not hold {count} vectors.")
    sizes = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or not (sizes > 0).all():
        raise Retry("malformed", "An embedding has no length, or is no number.")
    return list(vectors / sizes[:, None])
