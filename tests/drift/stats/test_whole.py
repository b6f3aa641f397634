"""Whole outputs: scores against one reference that takes part in nothing else."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from apps.drift.stats import CaseWatch
from apps.drift.stats.whole import normalised, similarities

WORDS = "hail broke the roof of my van near an old mill today and nobody saw it"


def answer(rng: np.random.Generator, usual: list[str], replaced: int) -> str:
    """The case's usual words, some of them replaced at random places."""
    words = list(usual)
    for place in rng.choice(len(words), size=replaced, replace=False):
        words[place] = str(rng.choice(WORDS.split(" ")))
    return normalised(" ".join(words))


def likeness(reference: str, answer: str) -> float:
    return similarities([(reference, answer)])[0]


def test_spacing_case_and_the_order_of_keys_do_not_count() -> None:
    assert normalised(' {"b": 1,  "a": [2]}') == normalised('{"a":[2], "b":1}\n')
    assert normalised("Yes,  indeed") == normalised("yes, indeed ")
    assert normalised("yes", [{"name": "f"}]) != normalised("yes")


def test_likeness_is_one_for_itself_none_for_nothing_and_symmetric() -> None:
    a, b = "the roof of my van", "the roof of an old mill"
    assert likeness(a, a) == 1.0
    assert 0.0 < likeness(b, a) == likeness(a, b) < 1.0
    assert likeness(a, "") == likeness(a, "xyz") == 0.0
    assert likeness("", "") == 1.0


def cosine(reference: str, answer: str) -> float:
    """The same as anybody would write it."""
    if reference == answer:
        return 1.0
    one, other = (
        Counter(text[i : i + 3] for i in range(max(1, len(text) - 2)) if text)
        for text in (reference[:2000], answer[:2000])
    )
    if not one or not other:
        return 0.0
    dot = sum(n * other[gram] for gram, n in one.items())
    size = sum(n * n for n in one.values()) * sum(n * n for n in other.values())
    return round(dot / math.sqrt(size), 6)


TEXTS = st.one_of(
    st.text(max_size=5),
    st.text(alphabet="ab c", max_size=300),
    st.text(alphabet=st.characters(codec=None), max_size=40),
    st.text(alphabet="xyz", min_size=1, max_size=9).map(lambda part: part * 400),
)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12), st.integers(1, 40))
@example([("x", "x\U0010ffff"), ("x ", "x"), ("\ud800", "\x00")], 1)
def test_all_pairs_at_once_are_what_each_is_by_itself(
    pairs: list[tuple[str, str]], again: int
) -> None:
    # One reference beside many answers fills more than one chunk.
    pairs = pairs + [(pairs[0][0], f"{i} {pairs[0][1]}") for i in range(2 * again) if pairs]
    assert similarities(pairs) == [cosine(a, b) for a, b in pairs]


def lives(seed: int, *, reruns: int, replaced: int) -> tuple[int, int]:
    """(alarms, lives): 8 cases, 3 baseline answers of which the first is the reference. Baseline
    answers have two words replaced."""
    alarms, count, line = 0, 60, math.log(20.0)
    rng = np.random.default_rng(seed)
    for life in range(count):
        usual = {f"c{i}": [str(w) for w in rng.choice(WORDS.split(" "), size=8)] for i in range(8)}
        reference = {case: answer(rng, words, 2) for case, words in usual.items()}

        def scored(many: int, n: int, usual=usual, reference=reference) -> dict[str, list[float]]:  # type: ignore[no-untyped-def]
            return {
                case: [likeness(reference[case], answer(rng, words, many)) for _ in range(n)]
                for case, words in usual.items()
            }

        watch = CaseWatch.start(scored(2, 2), f"life-{life}")
        for run in range(reruns):
            watch.observe_run(f"r{run}", scored(replaced, 1))
        alarms += watch.max_log_e >= line
    return alarms, count


def test_an_unchanged_model_raises_no_more_alarms_than_allowed() -> None:
    """Alpha 5 % over 40 reruns: 3 of 60 are allowed; 8 or more would happen in 1 of 80 tries."""
    alarms, count = lives(1, reruns=40, replaced=2)
    assert alarms <= 7, f"{alarms} of {count}"


def test_answers_in_other_words_are_found() -> None:
    alarms, count = lives(2, reruns=20, replaced=6)
    assert alarms >= 0.7 * count, f"{alarms} of {count}"
