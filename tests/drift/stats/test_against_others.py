"""The same numbers from other people's code.

The constants were computed once with `confseq` (Howard, Waudby-Smith, Ramdas; MIT), commit 70b1ef3,
its header `uniform_boundaries.h` compiled by itself: `TwoSidedNormalMixture` and
`BetaBinomialMixture(g = h = 1)`. Lambert's W and the Benjamini-Hochberg procedure are SciPy's.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw
from scipy.stats import false_discovery_control

from apps.drift.stats import RestartMixture, e_bh
from apps.drift.stats.intervals import anytime_half_width, mixture_scale
from benchmarks.detection.signs import plain_sign_log_e

LINE = math.log(100)
LARGEST = 1_000  # pairs that differ


@pytest.mark.parametrize(
    ("variance", "baseline_variance", "alpha", "rho", "half_width"),
    [
        (0.004, 0.0, 0.05, 25.6333016821, 0.207392747418),
        (0.02, 0.0, 0.01, 3.77254636567, 0.533922233615),
        (1.5, 0.0, 0.05, 0.0683554711523, 4.01614328437),
        (0.01, 0.0012, 0.05, 42.7221694702, 0.350016950121),
        (0.0125, 0.004, 0.05, 12.8166508411, 0.368388548437),
        (3.0, 1.0, 0.01, 0.0377254636567, 6.55911722692),
        (0.05, 0.002, 0.2, 37.6599489511, 0.851608822823),
    ],
)
def test_the_normal_mixture_boundary_is_that_of_confseq(
    variance: float, baseline_variance: float, alpha: float, rho: float, half_width: float
) -> None:
    """Boundary of S = estimate * I at V = I = 1/variance, at level alpha/2, divided by I."""
    aimed_at = 2.0 * baseline_variance if baseline_variance > 0.0 else variance
    assert 1.0 / (mixture_scale(alpha / 2.0) * aimed_at) == pytest.approx(rho, rel=1e-9)
    found = anytime_half_width(variance=variance, baseline_variance=baseline_variance, alpha=alpha)
    assert found == pytest.approx(half_width, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 1e-6])
def test_the_scale_of_the_mixture_is_the_optimum_by_lamberts_w(alpha: float) -> None:
    """Howard et al. 2021, proposition 3: t/v = -W_-1(-alpha**2 / e) - 1."""
    exact = -lambertw(-(alpha**2) / math.e, -1).real - 1.0
    assert mixture_scale(alpha) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("wins", "losses", "log_e"),
    [
        (10, 0, 5.195319509),
        (1, 0, 0.0),
        (7, 7, -1.56316206723),
        (14, 2, 3.42121360919),
        (60, 27, 3.95612671941),
        (200, 130, 4.35482643185),
        (3, 90, 48.7023902149),
        (700, 560, 3.99843607417),
    ],
)
def test_the_plain_sign_test_is_the_beta_binomial_mixture_of_confseq(
    wins: int, losses: int, log_e: float
) -> None:
    assert float(plain_sign_log_e(wins, losses)) == pytest.approx(log_e, rel=1e-9, abs=1e-9)


def first_records_of_the_plain_test() -> list[tuple[int, int]]:
    """(wins, losses) at which the plain test reaches 100 for the first time, in favour of wins.

    A record crosses by a win: the fewest wins for each number of losses are all there are.
    """
    records, wins = [], 1
    for losses in range(LARGEST):
        wins = max(wins, losses)
        while plain_sign_log_e(wins, losses) < LINE:
            wins += 1
        if wins + losses > LARGEST:
            break
        records.append((wins, losses))
    return records


@pytest.mark.parametrize("direction", [1, -1])
def test_with_one_baseline_answer_no_record_alarms_later_than_under_the_plain_sign_test(
    direction: int,
) -> None:
    """Whatever the answers were: at each such record the product's watch has its 100 too."""
    records = first_records_of_the_plain_test()
    assert len(records) > 400
    for wins, losses in records:
        above = wins if direction > 0 else losses
        below = [1] * above + [0] * (wins + losses - above)  # of one earlier answer
        watch = RestartMixture(binary=True)
        watch.update_intervals(below, [0] * len(below), [1] * len(below))
        assert watch.log_e >= LINE, (wins, losses)


@given(st.lists(st.floats(min_value=-5, max_value=12), min_size=1, max_size=60))
def test_e_bh_is_benjamini_and_hochberg_on_inverse_e_values(log_es: list[float]) -> None:
    p = np.minimum(1.0, np.exp(-np.array(log_es)))
    adjusted = false_discovery_control(p, method="bh")
    if bool(np.any(np.abs(adjusted - 0.05) < 1e-9)):
        return  # on the line itself rounding decides
    assert e_bh(log_es, 0.05) == np.nonzero(adjusted <= 0.05)[0].tolist()
