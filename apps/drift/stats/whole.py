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
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

MOST_CHARS = 2_000
GRAM = 3
CHUNK = 64  # answers at a time: what is sorted stays in the processor's cache
PADDING = 0x110000  # no character


def normalised(text: str, calls: Any = None) -> str:
    """Case, spacing and the order of keys do not count; canonical JSON where it is JSON."""
    said = _canonical(text.strip())
    return f"{said}\n{json.dumps(calls, sort_keys=True)}" if calls else said


def similarities(pairs: Iterable[tuple[str, str]]) -> list[float]:
    """Cosine of the trigram counts of each pair of normalised texts (their first 2,000 characters),
    rounded to six digits so that ties are ties. Equal texts: 1.0; an empty one beside another: 0.0;
    one of one or two characters is a single gram.

    References come first in a pair: those of many pairs are counted once.
    """
    found: dict[tuple[str, str], float] = {}
    by_reference: dict[str, list[str]] = {}
    asked = list(pairs)
    for pair in asked:
        if pair not in found:
            found[pair] = float(pair[0] == pair[1])
            if pair[0] != pair[1] and pair[0] and pair[1]:
                by_reference.setdefault(pair[0], []).append(pair[1])
    chunk: list[tuple[str, list[str]]] = []
    size = 0
    for reference, answers in by_reference.items():
        for start in range(0, len(answers), CHUNK):
            part = answers[start : start + CHUNK]
            if size + len(part) > CHUNK:
                found |= _cosines(chunk)
                chunk, size = [], 0
            chunk.append((reference, part))
            size += len(part)
    if chunk:
        found |= _cosines(chunk)
    return [found[pair] for pair in asked]


def _cosines(groups: Sequence[tuple[str, Sequence[str]]]) -> dict[tuple[str, str], float]:
    """The same of references with their answers, all at once: a gram of a text is one integer, so
    one sort counts them all and one search finds each answer's in its reference. Exact: counts and
    their products stay below 2**53, and at most 2 * CHUNK texts of 2,000 characters below 2**63."""
    pairs = [(reference, answer) for reference, answers in groups for answer in answers]
    texts = [reference for reference, _ in groups] + [answer for _, answer in pairs]
    of_pair = np.repeat(np.arange(len(groups)), [len(answers) for _, answers in groups])
    cut = [text[:MOST_CHARS].ljust(GRAM) for text in texts]
    lengths = np.array([len(text) for text in cut])
    codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    for number, end in enumerate(lengths.cumsum()):
        if len(texts[number]) < GRAM:
            codes[end - GRAM + len(texts[number]) : end] = PADDING
    letters, place = np.unique(codes, return_inverse=True)
    base = len(letters)
    owner = np.repeat(np.arange(len(cut)), lengths)
    within = owner[: 1 - GRAM] == owner[GRAM - 1 :]  # not from the end of one into the next
    grams = ((owner * base + place)[:-2] * base + place[1:-1]) * base + place[2:]
    grams = np.sort(grams[within])
    first = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]]))
    counts = np.diff(first, append=len(grams)).astype(np.float64)
    grams = grams[first]
    owner = grams // base**GRAM
    squares = np.bincount(owner, counts * counts, minlength=len(cut))
    known = int(np.searchsorted(owner, len(groups)))
    mine = owner[known:] - len(groups)
    wanted = grams[known:] - (owner[known:] - of_pair[mine]) * base**GRAM
    at = np.minimum(np.searchsorted(grams[:known], wanted), known - 1)
    both = np.where(grams[at] == wanted, counts[at] * counts[known:], 0.0)
    dots = np.bincount(mine, both, minlength=len(pairs))
    cosines = dots / np.sqrt(squares[of_pair] * squares[len(groups) :])
    return {pair: round(float(c), 6) for pair, c in zip(pairs, cosines, strict=True)}


def _canonical(text: str) -> str:
    if text.startswith(("{", "[")) and len(text) <= 100_000:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
    return " ".join(text.split()).casefold()
