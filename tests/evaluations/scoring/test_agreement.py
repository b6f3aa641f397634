"""Cohen's kappa: a published example, exact invariants, and the interval's coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.agreement import MIN_ITEMS, cohens_kappa

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
labels = st.sampled_from([0.0, 0.5, 1.0])
pairs = st.lists(st.tuples(labels, labels), min_size=1, max_size=40)


def table(*cells: tuple[float, float, int]) -> tuple[list[float], list[float]]:
    first = [a for a, _, n in cells for _ in range(n)]
    second = [b for _, b, n in cells for _ in range(n)]
    return first, second


def test_a_worked_example_has_its_published_kappa() -> None:
    # Twenty yes-yes, five yes-no, ten no-yes, fifteen no-no: kappa 0.4.
    found = cohens_kappa(*table((1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15)))
    assert found is not None
    assert (found.items, found.same) == (50, pytest.approx(0.7))
    assert found.kappa == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    # Standard error 0.12732 (Fleiss, Cohen and Everitt's formula, by hand).
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.1273, abs=0.002)


@quick
@given(pairs)
def test_kappa_is_symmetric_and_does_not_know_the_labels_names(
    given_pairs: list[tuple[float, float]],
) -> None:
    a, b = [p[0] for p in given_pairs], [p[1] for p in given_pairs]
    one, two = cohens_kappa(a, b), cohens_kappa(b, a)
    renamed = cohens_kappa([7 - x for x in a], [7 - x for x in b])
    for other in (two, renamed):
        assert one is not None
        assert other is not None
        assert (one.kappa is None) == (other.kappa is None)
        if one.kappa is not None:
            assert other.kappa == pytest.approx(one.kappa)
            if one.low is not None:
                assert other.low == pytest.approx(one.low, abs=1e-9)


@quick
@given(st.lists(labels, min_size=MIN_ITEMS, max_size=30))
def test_raters_who_always_agree_have_kappa_one_or_none(ratings: list[float]) -> None:
    found = cohens_kappa(ratings, ratings)
    assert found is not None
    assert found.same == 1
    assert found.kappa == (1 if len(set(ratings)) > 1 else None)
    if found.kappa is not None:
        assert found.low is not None
        assert found.low < 1  # ten equal answers do not prove that they always agree


def test_the_lower_end_of_full_agreement_is_the_exact_one() -> None:
    found = cohens_kappa([1, 0] * 10, [1, 0] * 10)
    assert found is not None
    # 0.025^(1/20) = 0.8316 agreement at least; by chance half: kappa 0.6631.
    assert (found.low, found.high) == (pytest.approx(0.6631, abs=1e-4), 1)


def test_few_items_have_no_interval_and_none_have_no_agreement() -> None:
    few = cohens_kappa([1, 0], [1, 1])
    assert few is not None
    assert few.low is None
    assert cohens_kappa([], []) is None
    with pytest.raises(ValueError, match="same items"):
        cohens_kappa([1], [])


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    # Both raters say the truth (yes or no, even odds) with 85 %: kappa = (2 * 0.85 - 1)^2 = 0.49.
    random = np.random.default_rng(20250706)
    rounds, items, held = 400, 100, 0
    for _ in range(rounds):
        truth = random.integers(0, 2, items)
        raters = [np.where(random.random(items) < 0.85, truth, 1 - truth) for _ in range(2)]
        found = cohens_kappa(raters[0].tolist(), raters[1].tolist())
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.49 <= found.high
    # 95 % nominal; three standard errors of 400 rounds are 3.3 points.
    assert 0.915 <= held / rounds <= 0.985
