"""The window runs from the last look like the old regime to the first that is not."""

import math

import numpy as np
import pytest

from apps.drift.stats import CaseWatch, change_interval, change_window


def test_the_window_ends_where_the_capital_begins_to_climb():
    looks = [("mon", -0.1), ("tue", -0.2), ("wed", 1.0), ("thu", 2.0)]
    assert change_window(looks, 3) == ("tue", "wed")


def test_a_short_setback_on_the_way_up_does_not_move_the_window():
    looks = [("mon", -0.1), ("tue", 1.0), ("wed", -0.2), ("thu", 4.0), ("fri", 9.0)]
    assert change_window(looks, 3) == ("mon", "tue")


def test_when_the_first_rerun_already_looks_changed_the_window_begins_at_the_baseline():
    assert change_window([("mon", 1.0), ("tue", 4.0)], 1) == (None, "mon")
    assert change_window([("mon", 5.0)], 0) == (None, "mon")


def test_the_interval_holds_the_true_day_of_a_real_change_and_is_short():
    found = []
    for life in range(20):
        rng = np.random.default_rng(life)
        watch = CaseWatch.start(
            {f"c{i}": (rng.random(5) < 0.8).astype(float).tolist() for i in range(20)}, f"w{life}"
        )
        gains = []
        for day in range(100):
            rate = 0.8 if day < 40 else 0.4
            run = {f"c{i}": [float(rng.random() < rate)] for i in range(20)}
            result = watch.observe_run(str(day), run)
            gains.append(result.gains)
            if result.alarm(0.01):
                break
        found.append(change_interval(gains))
    assert sum(first <= 40 <= last for first, last in found) >= 17
    assert np.median([last - first for first, last in found]) <= 3


def test_gains_that_are_no_numbers_are_refused():
    for bad in ([], [[math.nan]], [[]]):
        with pytest.raises(ValueError, match=r"^gains"):
            change_interval(bad)


@pytest.mark.parametrize(
    ("looks", "alarm", "name"),
    [
        ([], 0, "looks"),
        ([("a", 1.0)], 1, "alarm_index"),
        ([("a", math.nan), ("b", 1.0)], 1, "looks"),
    ],
)
def test_unusable_arguments_are_refused_by_name(looks, alarm, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        change_window(looks, alarm)
