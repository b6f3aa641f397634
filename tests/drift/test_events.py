"""From changed comparisons to one change event."""

from __future__ import annotations

import re

import pytest

from apps.core.models import Outbox
from apps.drift.models import ChangeEvent, Comparison, MetricResult
from apps.drift.services import close_change_event, open_or_extend_change_event
from tests.drift.story import ACCURACY, baseline_of, compared, run_of, suite
from tests.world import World, approve


def changed_event(world: World, slug: str = "claims-triage") -> ChangeEvent:
    """A changed rerun on a suite whose baseline is set."""
    run = run_of(world.version, suite(slug), seed=9, changed=True)
    event = open_or_extend_change_event(comparison=compared(run))
    assert event is not None
    return event


def test_the_window_holds_the_change_and_ends_with_the_first_changed_run(
    world: World,
) -> None:
    baseline_of(world, suite())
    quiet = [run_of(world.version, suite(), seed=s) for s in (2, 3)]
    for run in quiet:
        compared(run)
    changed = run_of(world.version, suite(), seed=4, changed=True)
    event = open_or_extend_change_event(comparison=compared(changed))
    assert event is not None
    # An interval, not a point: it may begin with an earlier rerun, never after the last old one.
    assert event.window_start in {quiet[0].finished_at, quiet[-1].finished_at}
    assert event.window_end == changed.finished_at


def test_without_a_quiet_rerun_the_window_begins_with_the_baseline(world: World) -> None:
    baseline = baseline_of(world, suite())
    event = changed_event(world)
    assert event.window_start == baseline.runs.get().finished_at


def test_a_rerun_that_repeats_every_answer_is_of_the_old_behaviour(world: World) -> None:
    baseline_of(world, suite(), replicates=1)
    quiet = [run_of(world.version, suite(), seed=1) for _ in range(3)]
    for run in quiet:
        compared(run)
    changed = run_of(world.version, suite(), seed=4, changed=True)
    event = open_or_extend_change_event(comparison=compared(changed))
    assert event is not None
    assert (event.window_start, event.window_end) == (quiet[-1].finished_at, changed.finished_at)


def test_five_cases_that_repeat_may_do_so_by_luck(world: World) -> None:
    few = suite(cases=5)
    baseline = baseline_of(world, few, replicates=1)
    compared(run_of(world.version, few, seed=1))
    for seed in range(4, 30):
        run = run_of(world.version, few, seed=seed, changed=True)
        event = open_or_extend_change_event(comparison=compared(run))
        if event:
            break
    assert event is not None
    assert event.window_start == baseline.runs.get().finished_at


def test_the_sentence_has_numbers_and_the_broken_assumptions(world: World) -> None:
    approval = approve(world)
    baseline_of(world, suite())
    event = changed_event(world)
    assert re.match(r"Since between \w{3} .* UTC, ", event.sentence)
    assert re.search(r"\d+ % longer", event.sentence)
    assert re.search(r"“Accuracy” fell by \d+ points on Claims triage", event.sentence)
    assert f"of approval {approval} no longer holds." in event.sentence
    broken = event.broken_assumptions.get()
    assert broken.assumption.code == "A1"
    assert broken.value_now == 0
    assert broken.value_before is not None
    assert broken.value_before > 0.8


def test_a_style_that_answers_have_or_have_not_is_told_as_a_share_of_them(world: World) -> None:
    revision = suite(metrics=(ACCURACY,))
    features = ("opens_with_letter", "ends_with_bracket", "chars")
    baseline_of(world, revision, features=features)
    for seed in range(3):
        compared(run_of(world.version, revision, seed=seed, changed=True, features=features))
    event = open_or_extend_change_event(comparison=Comparison.objects.latest("created_at"))
    assert event is not None
    opening = MetricResult.objects.filter(metric_key="style.opens_with_letter").latest("pk")
    assert opening.unit == "points"
    assert "“Opens with a letter” rose from 0 % to 100 % on Claims triage" in event.sentence


def test_an_assumption_about_another_suite_does_not_break(world: World) -> None:
    approve(world)
    baseline_of(world, suite("claims-json"))
    assert not changed_event(world, "claims-json").broken_assumptions.exists()


def test_two_suites_that_changed_are_one_event(world: World) -> None:
    approve(world)
    for slug in ("claims-triage", "claims-style"):
        baseline_of(world, suite(slug))
    first = changed_event(world, "claims-triage")
    second = changed_event(world, "claims-style")
    assert first.pk == second.pk
    assert second.comparisons.count() == 2
    assert {b.assumption.code for b in second.broken_assumptions.all()} == {"A1", "A2"}
    topics = Outbox.objects.filter(topic__startswith="change.").order_by("id")
    assert list(topics.values_list("topic", flat=True)) == ["change.opened", "change.extended"]


def test_the_same_comparison_twice_is_told_once(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), changed=True))
    first = open_or_extend_change_event(comparison=comparison)
    again = open_or_extend_change_event(comparison=comparison)
    assert first is not None
    assert again == first
    assert again.row_version == first.row_version
    assert Outbox.objects.filter(topic__startswith="change.").count() == 1


def test_a_comparison_with_a_retired_baseline_opens_nothing(world: World) -> None:
    baseline_of(world, suite())
    comparison = compared(run_of(world.version, suite(), changed=True))
    baseline_of(world, suite(), seed=5)
    comparison.baseline.refresh_from_db()
    assert open_or_extend_change_event(comparison=comparison) is None
    assert not ChangeEvent.objects.exists()


@pytest.mark.parametrize(("watches", "current"), [("restart", 1), ("end", 0), ("keep", 1)])
def test_closing_an_event_restarts_ends_or_keeps_the_watches(
    world: World, watches: str, current: int
) -> None:
    old = baseline_of(world, suite())
    event = changed_event(world)
    close_change_event(
        actor=world.lead, change_event=event, reason="A false alarm.", watches=watches
    )
    found = list(world.version.baselines.filter(retired_at__isnull=True))
    assert len(found) == current
    event.refresh_from_db()
    assert event.state == ChangeEvent.State.CLOSED
    if watches == "restart":
        assert found[0].pk != old.pk
        assert all(w.log_e == 0 and w.looks == 0 for w in found[0].watches.all())
