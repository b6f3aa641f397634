"""Checks of arguments, so that every refusal is a sentence that names the argument."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


class NotEnoughAnswers(ValueError):
    """The answers are sound but too few (or too alike) for the statistic that was asked for.

    A caller shows *inconclusive* and asks for more answers; it never reads it as "no change".
    """


def finite(value: float, argument: str) -> float:
    """Return ``value`` as a float. Raises ValueError when it is NaN or infinite."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{argument}: must be a finite number, got {number}.")
    return number


def finite_all(values: Sequence[float], argument: str) -> list[float]:
    """Return ``values`` as floats. Raises ValueError when one is NaN or infinite."""
    numbers = list(map(float, values))
    if math.isfinite(sum(numbers)):  # NaN and infinity survive any sum; an overflow is looked into
        return numbers
    return [finite(value, argument) for value in numbers]


def probability(value: float, argument: str) -> float:
    """Return ``value`` when 0 < value < 1. Raises ValueError otherwise."""
    number = finite(value, argument)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{argument}: must lie strictly between 0 and 1, got {number}.")
    return number


def positive(value: float, argument: str) -> float:
    """Return ``value`` when it is finite and above 0. Raises ValueError otherwise."""
    number = finite(value, argument)
    if number <= 0.0:
        raise ValueError(f"{argument}: must be above 0, got {number}.")
    return number


def answers_by_case(
    answers: Mapping[str, Sequence[float]], argument: str
) -> dict[str, list[float]]:
    """Return finite scores by case id. Raises ValueError naming the argument and the case."""
    found = {}
    for case, values in answers.items():
        numbers = list(map(float, values))
        if not math.isfinite(sum(numbers)):
            finite_all(numbers, f"{argument}[{case!r}]")
        found[case] = numbers
    return found
