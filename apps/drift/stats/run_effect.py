"""Runs that move together: how much, and how much less their answers then count.

An overloaded hour or another GPU moves many cases of one run. Their ranks are then not independent,
and bets that multiply over the cases of a run cry wolf. Measured from the reruns themselves: for
look s with n answers let

    d_s = (sum of (rank - 1/2))**2 / (sum of the ranks' variances),

which is about chi-squared with one degree of freedom when answers are independent. The *design
effect* (Kish 1965) is D = median(d_s) / 0.455 over the earlier looks, with 24 looks of an assumed D
added; the median does not follow a change that has just begun. The bets of the next look count with
the exponent 1 / max(1, D): as if the run had n / D independent answers.

The baseline is usually one run, so it has a day of its own, and the first reruns are all ranked
against that day's luck, which d_s cannot tell from a change. What is assumed then (`Assumed`):

* 0/1 metrics: 1.3, and at least 1.8 from the second to the fifth look and 1.5 at the first where
  cases have several baseline answers. With one there is no evidence to spare: only what the cases
  beyond the first sixty add to D counts (`labelling`, with more features: beyond twenty).
  Untempered 25 of 400 simulated lives of 100 cases alarmed at the first look, and 22 of 100 of 300
  cases; so 2 of 400 at sixty cases and none of 800 above. That covers days that move by 0.3
  logits; at 0.5 the error rate is not kept.
* other metrics (lengths, likenesses): 2.5, reached at the 14th look from 1.9 at the second on, and
  2 at the first. A day that moves every length by a quarter of the spread within a case gives
  single runs D = 2.2, and, as the sum over the first 10 to 30 looks carries the baseline's day,
  D = 5.7 to that sum: with 1.3 as for 0/1 metrics 7 of 250 simulated lives raised an alarm within
  60 days, so 4 of 500. More at the first looks would hide a complete change behind them.

After a baseline of several occasions 1.15 (also at the first five looks) and 1.5 are assumed.

These are for 20 answers. A day's shift does not average out over the answers of a run, of other
cases or of the same, so the excess D - 1 grows in proportion to their number (Kish: 1 + (n - 1)
rho): large suites, and reruns of several answers a case, gain by a baseline of several runs.
With 1 instead of 1.15 no life of 20 cases shows it, but 62 of 400 of 100 cases and 99 of 100 of 300
raised an alarm within 60 days; with it 3 of 1,000 (in 120 days) and 2 of 400.

A change on the first day is found later for it; the first rerun's test (`labelling`) is there for
the large ones.

The exponent is known before the look, and the mean of a bet to a power between 0 and 1 is at most 1
(Jensen), so the error rate holds whatever the exponent. What it costs is delay, in proportion to D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

KEPT, ADDED = 120, 24
FOR_CASES = 20
SPARED = 60
MEDIAN_OF_CHI_SQUARED = 0.4549
OCCASIONS = 3


class Assumed(NamedTuple):
    """What is taken for granted of D before enough looks have shown it.

    usual: D of the looks added. first: least D of the first look, of cases with several baseline
    answers; with one, of the cases beyond SPARED. early: least D of the looks after it, up to
    early_looks. most: the largest D at the first looks; few looks prove no large effect, and a
    change among them must not pass for one, so it rises by 1/20 a look. All for FOR_CASES cases.
    """

    usual: float
    first: float
    early: float
    early_looks: int
    most: float

    def least(self, looks: int, *, replicated: bool, cases: int = FOR_CASES) -> float:
        """The smallest D that is used after so many looks."""
        if not looks:
            return of_cases(self.first, cases if replicated else max(0, cases - SPARED))
        return of_cases(self.early, cases) if looks < self.early_looks else 1.0

    def largest(self, looks: int, *, cases: int = FOR_CASES) -> float:
        """The largest D that is used after so many looks."""
        return of_cases(self.most + looks / 20.0, cases)


# usual 1.3: 20 cases whose days move together with a logit sd of 0.3.
BINARY = Assumed(usual=1.3, first=1.5, early=1.8, early_looks=5, most=1.3)
OTHER = Assumed(usual=2.5, first=2.0, early=1.0, early_looks=0, most=1.85)
# After a baseline of several occasions, whose own days the ranks hold.
BINARY_SPREAD = Assumed(usual=1.15, first=1.15, early=1.15, early_looks=5, most=1.3)
OTHER_SPREAD = Assumed(usual=1.5, first=1.5, early=1.0, early_looks=0, most=1.5)


def of_cases(effect: float, cases: int) -> float:
    """The D of so many cases of which FOR_CASES have D = effect."""
    return 1.0 + (effect - 1.0) * cases / FOR_CASES


def assumed(*, one_day: bool, binary: bool) -> Assumed:
    """one_day: the baseline is (or may be) one run; see `of_one_day`. binary: 0/1 scores only."""
    if one_day:
        return BINARY if binary else OTHER
    return BINARY_SPREAD if binary else OTHER_SPREAD


def design_effect(
    spreads: Sequence[float],
    *,
    answers: int = FOR_CASES,
    sizes: Sequence[int] = (),
    replicated: bool = False,
    one_day: bool = True,
    binary: bool = True,
) -> float:
    """D >= 1 for the next look, from the d_s of the looks before.

    answers: how many the next look has, over all cases. sizes: how many each look before had; as
    many as this one where it is not told. replicated: cases have several baseline answers.
    one_day, binary: see `assumed`.

    Raises ValueError when sizes are told and are not as many as spreads.
    """
    looks, prior = len(spreads), assumed(one_day=one_day, binary=binary)
    floor = prior.least(looks, replicated=replicated, cases=answers)
    if not looks:
        return floor
    earlier = [d / MEDIAN_OF_CHI_SQUARED for d in spreads[-KEPT:]]
    if sizes:
        # The excess grows with the answers of a look, whether of other cases or of the same.
        told = zip(earlier, sizes[-KEPT:], strict=True)
        earlier = [d if size == answers else 1.0 + (d - 1.0) * answers / size for d, size in told]
    usual = [of_cases(prior.usual, answers)] * ADDED
    found = float(np.median([*usual, *earlier]))
    return max(min(found, prior.largest(looks, cases=answers)), floor)


def of_one_day(runs: int) -> bool:
    """Whether a baseline of so many runs must be taken for the answers of one occasion.

    Replicates of one run share its hour and its load; three runs or more have their own, which the
    ranks then hold. Collect them spread over load and time, or the promise is worth little.
    """
    return runs < OCCASIONS


def rank_variance(counts: Sequence[int]) -> float:
    """Variance of a middle rank among answers that fall into ties of these sizes (Kruskal 1952)."""
    if len(counts) > 12:
        return 1.0 / 12.0
    total = sum(counts)
    return (1.0 - sum([c * c * c for c in counts]) / total**3) / 12.0 if total else 0.0
