"""Calls that are no slots of a run: probes, judges, embeddings, a case that is tried.

They take their places under the same shared limits as a run's calls, and tell them what came of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from apps.evaluations.charging import Allowance
from apps.evaluations.runner import limits
from apps.evaluations.runner.client import EndpointClient, Outcome
from apps.evaluations.runner.problems import Problem
from apps.evaluations.runner.requests import Request
from apps.registry.models import Endpoint

POLL_SECONDS = 0.02


class NoPlace(Exception):
    """The endpoint had no place for a call in time."""


class UsedUp(Exception):
    """A budget is used up: the call was not made. The message says which."""


class Calls:
    """One endpoint, for one event loop. `patience`: seconds to wait for a place; None, for ever.
    `allowance`: no call begins beyond it, and it is told of every call; the caller charges it."""

    def __init__(
        self,
        endpoint: Endpoint,
        secret: str,
        *,
        patience: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._endpoint, self._secret, self._patience = endpoint, secret, patience
        self._allowance = allowance

    async def __aenter__(self) -> Self:
        self._client = EndpointClient(self._endpoint, self._secret)
        self._redis = limits.connect()
        self._limiter = limits.Limiter(self._endpoint, self._redis)
        self._waiting = 0
        self._sharing = asyncio.create_task(self._share())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sharing.cancel()
        with suppress(asyncio.CancelledError):
            await self._sharing
        await self._limiter.sync(0)  # what the last calls said about the endpoint
        await self._limiter.leave()
        await self._client.aclose()
        await limits.close(self._redis)

    async def _share(self) -> None:
        """Hear again and again how many calls this worker may have under way."""
        while True:
            await self._limiter.sync(self._waiting)
            await asyncio.sleep(min(max(self._limiter.due_in(self._waiting), 0.02), 1.0))

    async def _place(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                while not self._limiter.take():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NoPlace from None
        finally:
            self._waiting -= 1

    async def once(self, request: Request) -> Outcome:
        """One attempt. Raises Problem as the client does, NoPlace and UsedUp."""
        await self._place()
        verdict, tokens, retry_after = limits.Verdict.NOTHING, 0, 0.0
        try:
            # With the place in hand: whoever waited for it hears what the calls before it used.
            if self._allowance is not None and (said := self._allowance.reached):
                raise UsedUp(said)
            outcome = await self._client.ask(request)
            if self._allowance is not None:
                self._allowance.note(outcome)
            verdict, tokens = limits.Verdict.OK, outcome.tokens
            return outcome
        except Problem as problem:
            verdict = limits.verdict_of(problem)
            retry_after = getattr(problem, "retry_after", None) or 0.0
            raise
        finally:
            self._limiter.put(verdict, tokens=tokens, retry_after=retry_after)
