"""Where a rerun could not tell, more answers are asked for: once, within policy and budget."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.models import Outbox
from apps.drift.models import Comparison, TopUp
from apps.drift.topups import DAY, TopUpRule, top_up
from apps.evaluations.budgets import set_budget
from apps.evaluations.models import Run, RunState
from apps.evaluations.suitefile import MetricSpec
from apps.registry.services import update_endpoint
from apps.tickets import policy
from govtrack.pipeline import drain_once
from tests.drift.story import CASES, baseline_of, compared, run_of, suite
from tests.world import World, approve

# With twenty cases and ten baseline answers each, the first look wants 944 more answers.
LOOSE = MetricSpec("accuracy", "Accuracy", "has_motor", "higher", 0.2, bounds=(0.0, 1.0))
RULE = TopUpRule(tier=2, runs=3, replicates=20, calls_a_month=5000)


@pytest.fixture
def watched(world: World) -> World:
    """Approved, with a baseline, and a policy that allows enough to settle a first look."""
    approve(world)
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=10)
    publish(world)
    return world


def publish(world: World, **changes: Any) -> None:
    document = copy.deepcopy(policy.DEFAULT)
    for rule in document["top_ups"].values():
        rule |= {"runs": 3, "replicates": 20, **changes}
    policy.publish(actor=world.lead, document=document, reason="For the tests.")


def rerun(world: World, *, seed: int = 2, **fields: Any) -> Run:
    """A scheduled rerun as a worker leaves it, and what the pipeline makes of it."""
    run = run_of(world.version, suite(metrics=(LOOSE,)), seed=seed, **fields)
    finish(run)
    return run


def finish(run: Run) -> None:
    Outbox.put("run.finished", run.pk, run_id=str(run.pk))
    drain_once()
    assert not Outbox.objects.filter(attempts__gt=0).exists()


def answered(run: Run) -> None:
    """The top-up run ends, as far as these tests need it: it is under way no more."""
    Run.objects.filter(pk=run.pk).update(state=RunState.FAILED)


def inconclusive(world: World, **fields: Any) -> Comparison:
    comparison = compared(run_of(world.version, suite(metrics=(LOOSE,)), seed=2, **fields))
    assert comparison.verdict == "inconclusive"
    return comparison


def test_an_inconclusive_rerun_asks_for_the_answers_it_needs_in_a_run_of_its_own(
    watched: World,
) -> None:
    run = rerun(watched)
    row = TopUp.objects.get()
    more = row.run
    assert more is not None
    assert row.comparison.run == run
    assert (more.model_version_id, more.suite_revision_id) == (
        run.model_version_id,
        run.suite_revision_id,
    )
    assert (more.purpose, more.state, more.urgency) == ("top_up", "queued", Run.Urgency.NORMAL)
    assert more.trigger_key == f"top-up:{row.comparison_id}"
    assert more.reason == row.reason
    assert "Top-up of look 1, which was inconclusive: about 944 more answers" in more.reason
    assert more.total_slots == 20 * CASES  # the whole suite, as often as the policy allows
    assert AuditEvent.objects.filter(action="drift.top_up_requested").count() == 1
    assert AuditEvent.objects.filter(action="evaluations.run_topped_up").count() == 1


def test_the_word_delivered_twice_asks_once(watched: World) -> None:
    rerun(watched)
    Outbox.objects.update(done_at=None)
    drain_once()
    assert not Outbox.objects.filter(attempts__gt=0).exists()
    assert TopUp.objects.count() == 1
    assert Run.objects.filter(purpose="top_up").count() == 1


def test_its_answers_are_compared_like_any_other_and_may_settle_it(watched: World) -> None:
    first = rerun(watched)
    asked = TopUp.objects.get().run
    assert asked is not None
    answered(asked)
    more = run_of(watched.version, suite(metrics=(LOOSE,)), seed=3, purpose="top_up", replicates=20)
    finish(more)
    comparison = more.comparisons.get()
    assert comparison.look == first.comparisons.get().look + 1
    assert comparison.metrics.get(metric_key="outcome.error").verdict == "equivalent"


def test_a_verdict_that_says_something_asks_for_nothing(watched: World) -> None:
    rerun(watched, changed=True)
    assert Comparison.objects.get().verdict == "changed_material"
    assert not TopUp.objects.exists()


def test_a_policy_that_allows_none_for_the_tier_asks_for_nothing(watched: World) -> None:
    publish(watched, runs=0)
    rerun(watched)
    assert Comparison.objects.get().verdict == "inconclusive"
    assert not TopUp.objects.exists()


def test_a_version_that_nothing_rests_on_asks_for_nothing(world: World) -> None:
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=10)
    publish(world)
    rerun(world)
    assert not TopUp.objects.exists()


def test_a_policy_from_before_there_were_top_ups_allows_none(watched: World) -> None:
    document = copy.deepcopy(policy.DEFAULT)
    del document["top_ups"]
    policy.ControlPolicy.objects.create(number=9, document=document, reason="Of last year.")
    assert policy.top_up_rule(watched.version) is None


def test_what_a_person_asked_for_is_not_topped_up(watched: World) -> None:
    rerun(watched, purpose="manual")
    assert Comparison.objects.get().verdict == "inconclusive"
    assert not TopUp.objects.exists()


# Caps and budgets: none, and the reason is written down


def declined(comparison: Comparison, rule: TopUpRule = RULE) -> str:
    row = top_up(comparison=comparison, rule=rule)
    assert row is not None
    assert row.run is None
    assert AuditEvent.objects.filter(action="drift.top_up_declined", summary=row.reason).exists()
    return row.reason


def test_a_used_up_streak_asks_no_more_until_something_was_settled(watched: World) -> None:
    one = TopUpRule(tier=1, runs=1, replicates=48, calls_a_month=5000)
    first = top_up(comparison=inconclusive(watched), rule=one)
    assert first is not None
    assert first.run is not None
    answered(first.run)
    reason = declined(inconclusive(watched), one)
    assert reason == (
        "No top-up: 1 were made since it was last settled, as many as the policy allows for tier 1."
    )


def test_a_day_s_cap_holds_over_streaks(watched: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = TopUpRule(tier=1, runs=1, replicates=48, calls_a_month=5000)
    first = top_up(comparison=inconclusive(watched), rule=one)
    assert first is not None
    assert first.run is not None
    answered(first.run)
    settled = compared(run_of(watched.version, suite(metrics=(LOOSE,)), seed=3))
    with transaction.atomic():
        _overwrite(settled, verdict="equivalent")
    later = inconclusive(watched)
    assert "in the last 24 hours" in declined(later, one)
    tomorrow = clock.now() + DAY
    monkeypatch.setattr("apps.drift.topups.clock.now", lambda: tomorrow)
    after = top_up(comparison=inconclusive(watched), rule=one)
    assert after is not None
    assert after.run is not None


def _overwrite(comparison: Comparison, *, verdict: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE drift_comparison SET verdict = %s WHERE id = %s", [verdict, comparison.pk]
        )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def test_more_than_the_policy_could_ever_give_is_not_begun(watched: World) -> None:
    small = TopUpRule(tier=2, runs=2, replicates=5, calls_a_month=5000)
    assert "about 944 more answers are needed, and what the policy allows for tier 2 is 200" in (
        declined(inconclusive(watched), small)
    )


def test_a_month_s_calls_are_the_most(watched: World) -> None:
    few = TopUpRule(tier=2, runs=3, replicates=20, calls_a_month=45)
    first = top_up(comparison=inconclusive(watched), rule=few)
    assert first is not None
    assert first.run is not None
    assert first.run.total_slots == 2 * CASES  # as many answers to a case as are left
    answered(first.run)
    assert "5 of this month's 45 calls" in declined(inconclusive(watched), few)


def test_a_budget_that_would_be_passed_allows_none_or_fewer(watched: World) -> None:
    comparison = inconclusive(watched)
    set_budget(actor=SYSTEM, model_version=watched.version, max_tokens=1)
    reason = declined(comparison)
    assert reason.startswith("No top-up: it would not fit the budget. The monthly budget of")
    assert not Run.objects.filter(purpose="top_up").exists()


def test_where_a_part_fits_the_budget_a_part_is_asked_for(watched: World) -> None:
    comparison = inconclusive(watched)
    set_budget(actor=SYSTEM, model_version=watched.version, max_tokens=8_000)
    row = top_up(comparison=comparison, rule=RULE)
    assert row is not None
    assert row.run is not None
    assert 1 <= row.run.replicates < 20


def test_an_endpoint_that_is_off_is_the_reason(watched: World) -> None:
    update_endpoint(actor=watched.admin, endpoint=watched.endpoint, row_version=None, active=False)
    rerun(watched)
    row = TopUp.objects.get()
    assert "The endpoint 'loopback' is switched off." in row.reason
    assert (row.run, Run.objects.filter(purpose="top_up").count()) == (None, 0)


def test_answers_that_are_on_their_way_come_first(watched: World) -> None:
    run_of(watched.version, suite(metrics=(LOOSE,)), state=RunState.RUNNING)
    assert "another run of this suite is under way" in declined(inconclusive(watched))


def test_a_later_look_is_the_one_to_settle(watched: World) -> None:
    first, _ = inconclusive(watched), inconclusive(watched)
    assert "a later rerun has been compared" in declined(first)


def test_what_no_answer_could_settle_costs_nothing(world: World) -> None:
    baseline_of(world, suite(metrics=(LOOSE,)), replicates=1)
    assert "no number of further answers would settle it" in declined(inconclusive(world))


def test_what_was_decided_stays_as_it_was(watched: World) -> None:
    rerun(watched)
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        TopUp.objects.update(reason="Because.")
