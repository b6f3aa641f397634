"""Whole outputs: is this answer still the answer that was approved, and how near is it?

Two scores of an answer, each against one *reference* answer to the same case:

* match: 1.0 where both are the same once normalised, else 0.0;
* similarity: cosine of their character-trigram counts, the normalised 3-spectrum kernel (Leslie,
  Eskin and Noble 2002), in [0, 1]: the kernel of a string MMD with one point on one side.

**Why the reference is left out.** Scores of new answers against the baseline's answers, beside
scores of those among themselves, are not exchangeable: an answer is always nearest to itself, and
leave-one-out compares with fewer answers than a new one is compared with. So the first baseline
answer of a case is the reference and takes part in nothing else. Given it, the case's other
baseline answers and all reruns of an unchanged model are exchangeable, and so are any fixed
function's values of them: their ranks may be bet on like any other metric's. The price is one
replicate; a case with a single baseline answer has no such score. What is seen is agreement
*beyond the model's own*: the other baseline answers say how often it agrees with itself.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from functools import cached_property
from typing import Any

MOST_CHARS = 2_000
GRAM = 3


def normalised(text: str, calls: Any = None) -> str:
    """Case, spacing and the order of keys do not count; canonical JSON where it is JSON."""
    said = _canonical(text.strip())
    return f"{said}\n{json.dumps(calls, sort_keys=True)}" if calls else said


class Reference:
    """One reference answer, normalised; its trigrams are counted once, when first needed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def match(self, answer: str) -> float:
        """1.0 where two normalised answers are the same."""
        return float(answer == self.text)

    def similarity(self, answer: str) -> float:
        """Cosine of trigram counts of the first 2,000 characters, rounded so that ties are ties."""
        if answer == self.text:
            return 1.0
        grams, own = self._grams, _grams(answer)
        if not grams or not own:
            return 0.0
        small, large = (grams, own) if len(grams) < len(own) else (own, grams)
        dot = sum([n * large[gram] for gram, n in small.items() if gram in large])
        return round(dot / math.sqrt(self._square * _square(own)), 6)

    @cached_property
    def _grams(self) -> Counter[str]:
        return _grams(self.text)

    @cached_property
    def _square(self) -> int:
        return _square(self._grams)


def _square(grams: Counter[str]) -> int:
    return sum([n * n for n in grams.values()])


def _grams(text: str) -> Counter[str]:
    text = text[:MOST_CHARS]
    if not text:
        return Counter()
    return Counter([text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1))])


def _canonical(text: str) -> str:
    if text.startswith(("{", "[")) and len(text) <= 100_000:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
    return " ".join(text.split()).casefold()
