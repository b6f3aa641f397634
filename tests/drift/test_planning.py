"""Before an approval: can the suites notice that an assumption broke?"""

from __future__ import annotations

import re
from typing import Any

from apps.drift.planning import Support, power_of_approval
from apps.registry.models import Approval
from tests.drift.story import baseline_of, suite
from tests.fixtures.pages import page, signed_in
from tests.world import ASSUMPTIONS, World

A1 = ASSUMPTIONS[0]


def asked(world: World, **changes: Any) -> Approval:
    return world.request(assumptions=[{**A1, **changes}])


def test_an_assumption_with_room_says_within_how_many_reruns_its_break_is_seen(
    world: World,
) -> None:
    baseline_of(world, suite())
    [power] = power_of_approval(asked(world, threshold=0.5))
    assert power.support == Support.YES
    assert power.reruns is not None
    assert 1 <= power.reruns <= 40
    assert f"within {power.reruns} reruns" in power.sentence
    # One run is one day's luck, so the first reruns count for less; how to mend it is said.
    found = re.search(r"; within (\d+) with a baseline of 3 runs or more", power.sentence)
    assert found
    assert int(found[1]) < power.reruns


def test_a_tolerance_too_fine_for_the_suite_is_said_before_the_approval(world: World) -> None:
    baseline = baseline_of(world, suite())
    mean = next(m["mean"] for m in baseline.summary["metrics"] if m["key"] == "accuracy")
    approval = asked(world, threshold=mean, tolerance=0.02)
    [power] = power_of_approval(approval)
    assert (power.support, power.reruns) == (Support.NO, None)
    assert "A fall of 2 points breaks it" in power.sentence
    assert "points would be seen" in power.sentence
    shown = page(signed_in(world.lead), f"/approvals/{approval.number}/")
    assert "1 of 1 assumptions cannot be watched" in shown
    assert power.sentence in shown


def test_a_longer_suite_supports_what_a_short_one_does_not(world: World) -> None:
    mean = 0.85
    baseline_of(world, suite(cases=4))
    baseline_of(world, suite("claims-long", cases=60))
    same = {**A1, "threshold": mean - 0.2}
    both = [same, {**same, "code": "A2", "suite_slug": "claims-long"}]
    short, long = power_of_approval(world.request(assumptions=both))
    assert (short.support, long.support) == (Support.NO, Support.YES)


def test_a_suite_without_a_baseline_is_said(world: World) -> None:
    [power] = power_of_approval(asked(world))
    assert power.support == Support.UNKNOWN
    assert "no baseline" in power.sentence


def test_an_assumption_that_the_baseline_itself_breaks_is_said(world: World) -> None:
    baseline_of(world, suite(), value=0.0)
    [power] = power_of_approval(asked(world))
    assert power.support == Support.BROKEN


def test_a_length_is_judged_by_the_width_of_its_interval(world: World) -> None:
    baseline = baseline_of(world, suite())
    words = {**A1, "metric_key": "style.words", "comparator": "lte"}
    [mean] = [m["mean"] for m in baseline.summary["metrics"] if m["key"] == "style.words"]
    both = [
        {**words, "threshold": 40},
        {**words, "code": "A2", "threshold": mean + 0.05, "tolerance": 0},
    ]
    wide, narrow = power_of_approval(world.request(assumptions=both))
    assert wide.support == Support.YES
    assert narrow.support == Support.NO
    assert "the baseline needs about" in narrow.sentence


def test_the_api_tells_the_same_of_every_assumption(world: World) -> None:
    baseline_of(world, suite())
    approval = world.request()
    client = signed_in(world.lead)
    rows = client.get(f"/api/v1/approvals/{approval.pk}/power").json()["results"]
    assert [(r["code"], r["support"]) for r in rows] == [
        (p.assumption.code, p.support.value) for p in power_of_approval(approval)
    ]
    stranger = signed_in(world.outsider)
    assert stranger.get(f"/api/v1/approvals/{approval.pk}/power").status_code in (403, 404)
