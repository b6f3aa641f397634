"""How near in meaning the answer is to a reference text: the cosine of their embeddings, 0 to 1.

Computed after the run, as a scoring revision of its own (docs/suites.md): by the small local
model, or by a registered version's embeddings endpoint.

Trap: near is not right. "We pay this claim" and "We do not pay this claim" are about as near as two
paraphrases; the value moves with the embedding model, so values of two models are never to be
compared, and texts beyond the model's window (256 word pieces locally) are read by their
beginning. Of several references the nearest counts. Watch it for moves, with a margin of its
own; do not take 0.8 for "80 % right".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult

MAX_REFERENCES = 10


@dataclass(frozen=True)
class Embedding(Scorer):
    type = "embedding"
    summary = "Nearness in meaning to a reference text (after the run)."
    deferred = "embedding"

    def check_expect(self, expected: Any) -> str | None:
        texts = references(expected)
        if 0 < len(texts) <= MAX_REFERENCES and all(isinstance(t, str) and t for t in texts):
            return None
        return f"The scorer 'embedding' expects a reference text, or 1 to {MAX_REFERENCES} of them."

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        return ScoreResult(None, "Scored after the run, by embeddings.", {"deferred": True})


def references(expected: Any) -> list[Any]:
    return expected if isinstance(expected, list) else [expected]
