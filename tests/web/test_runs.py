from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from apps.drift.models import Baseline
from apps.evaluations import finishing, services
from apps.evaluations.models import Run, RunState, Sample, Spending, SuiteRevision
from apps.evaluations.suitefile import MetricSpec
from tests.api.story import Story, answered_run, import_suite, tell
from tests.fixtures.evaluations import make_revision
from tests.tickets.story import finished_run
from tests.web.acts import Person, first_line, words
from tests.world import World


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def revision(world: World) -> SuiteRevision:
    return import_suite(world)


@pytest.fixture
def queued(world: World, revision: SuiteRevision) -> Run:
    return services.start_run(
        actor=world.owner, model_version=world.version, suite_revision=revision
    )


@pytest.fixture
def done(world: World, revision: SuiteRevision) -> Run:
    return answered_run(world, revision, "property", 1.0)


def answer(run: Run, text: str, **fields: Any) -> Sample:
    """One stored answer of a run that is on its way."""
    return Sample.objects.create(
        **{
            "month": run.month,
            "run": run,
            "case": run.suite_revision.cases.order_by("position")[0],
            "replicate": 0,
            "status": "answered",
            "text": text,
            "request_digest": b"\x00" * 32,
            "prompt_tokens": 40,
            "completion_tokens": 2,
            **fields,
        }
    )


def running(run: Run) -> Run:
    finishing.begin([run.pk])
    run.refresh_from_db()
    return run


def test_the_list_answers_what_is_running(world: World, queued: Run, done: Run) -> None:
    response = Person(world.owner).client.get("/runs/")
    assert first_line(response) == "One run is on the way; one ended in the last 24 hours."
    assert "2 runs" in words(response)


def test_an_empty_list_leads_on_to_the_first_run(world: World) -> None:
    assert "Start a run" in Person(world.owner).get("/runs/")


def test_who_may_not_start_a_run_is_not_led_there(world: World) -> None:
    auditor = Person(world.auditor)
    assert "Start a run" not in auditor.get("/runs/")
    auditor.get("/runs/new/", status=403)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"state": "unfinished"}, 1),
        ({"state": "complete"}, 1),
        ({"purpose": "manual"}, 1),
        ({"suite": "claims-triage"}, 2),
        ({"q": "TRIAGE"}, 2),
        ({"q": "no such"}, 0),
        ({"version": "nonsense", "state": "x", "page": "-3", "sort": "-nonsense"}, 2),
        ({"version": str(uuid.uuid4())}, 0),
    ],
)
def test_the_list_is_filtered_by_its_address(
    world: World, queued: Run, done: Run, query: dict[str, Any], count: int
) -> None:
    assert f" {count} run{'' if count == 1 else 's'} " in Person(world.owner).get("/runs/", **query)


def test_the_list_costs_the_same_however_long_it_is(
    world: World, revision: SuiteRevision, django_assert_max_num_queries: Any
) -> None:
    for _ in range(60):
        services.start_run(actor=world.owner, model_version=world.version, suite_revision=revision)
    owner = Person(world.owner)
    with django_assert_max_num_queries(22):
        text = owner.get("/runs/", sort="version")
    assert "1 to 50 of 60" in text
    assert "51 to 60 of 60" in owner.get("/runs/", page="2")


def test_a_run_is_started_from_the_form(world: World, revision: SuiteRevision) -> None:
    owner = Person(world.owner)
    html = owner.client.get(f"/runs/new/?version={world.version.pk}&suite=claims-triage").content
    assert html.count(b" selected>") == 2
    response = owner.post(
        "/runs/new/",
        version=str(world.version.pk),
        suite=str(revision.pk),
        purpose="baseline",
        replicates="3",
    )
    run = Run.objects.get()
    assert response["Location"] == f"/runs/{run.pk}/"
    assert (run.purpose, run.replicates, run.total_slots) == ("baseline", 3, 6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"replicates": "0"}, "Ensure this value is greater than or equal to 1."),
        ({"replicates": "many"}, "Enter a whole number."),
        ({"purpose": "scheduled"}, "Select a valid choice."),
        ({"version": ""}, "This field is required."),
        ({"suite": "nonsense"}, "is not a valid UUID"),
        ({"version": str(uuid.uuid4())}, "Select a valid choice."),
    ],
)
def test_a_bad_request_for_a_run_is_explained_and_nothing_starts(
    world: World, revision: SuiteRevision, change: dict[str, str], sentence: str
) -> None:
    good = {
        "version": str(world.version.pk),
        "suite": str(revision.pk),
        "purpose": "manual",
        "replicates": "1",
    }
    response = Person(world.owner).post("/runs/new/", status=400, **good | change)
    assert sentence in words(response)
    assert not Run.objects.exists()


def test_an_endpoint_that_is_switched_off_is_named_at_the_version(
    world: World, revision: SuiteRevision
) -> None:
    world.endpoint.active = False
    world.endpoint.save_versioned("active")
    response = Person(world.owner).post(
        "/runs/new/",
        status=400,
        version=str(world.version.pk),
        suite=str(revision.pk),
        purpose="manual",
        replicates="1",
    )
    assert "is switched off" in words(response)


def test_a_run_on_its_way_says_how_far_it_is(world: World, queued: Run) -> None:
    answer(running(queued), "property")
    owner = Person(world.owner)
    response = owner.client.get(f"/runs/{queued.pk}/")
    assert (
        first_line(response) == "assistant-instant on Claims triage is on its way: 1 of 2 answers "
        "are in."
    )
    html = response.content.decode()
    assert 'hx-trigger="every 1s"' in html
    assert 'aria-live="polite"' in html
    text = words(response)
    assert "42 tokens" in text
    assert "c1" in text


def test_the_fragment_tells_of_errors_by_kind_and_of_the_newest_answers(
    world: World, queued: Run
) -> None:
    run = running(queued)
    answer(run, "", status="error", error_kind="timeout", error_message="No answer in 60 s.")
    owner = Person(world.owner)
    response = owner.client.get(f"/runs/{run.pk}/progress/", headers={"HX-Request": "true"})
    text = words(response)
    assert "timed out 1" in text
    assert "No answer in 60 s." in text
    assert "HX-Refresh" not in response.headers
    assert "no-store" in response["Cache-Control"]
    said = owner.client.get(f"/runs/{run.pk}/progress/?said=running-50")
    assert 'role="status"' not in said.content.decode()


def test_the_fragment_reloads_the_page_at_the_end(world: World, done: Run) -> None:
    response = Person(world.owner).client.get(f"/runs/{done.pk}/progress/")
    assert response["HX-Refresh"] == "true"


def test_a_complete_run_shows_metrics_and_every_answer(world: World, done: Run) -> None:
    text = Person(world.owner).get(f"/runs/{done.pk}/")
    assert "All 2 answers are in: assistant-instant on Claims triage can serve" in text
    assert 'expects "health"' in text
    assert "2 answers" in text


def test_answers_are_searched_and_the_wrong_ones_found(world: World) -> None:
    graded = MetricSpec("accuracy", "Accuracy", "has_motor", "higher", 0.05, bounds=(0, 1))
    revision = make_revision(4, metrics=(graded,))
    found = finished_run(world.version, revision, right=False, ago=dt.timedelta(hours=1))
    owner = Person(world.owner)
    assert "4 answers" in owner.get(f"/runs/{found.pk}/", failed="1")
    assert "1 answer " in owner.get(f"/runs/{found.pk}/", q="c2")
    assert "No answer fits." in owner.get(f"/runs/{found.pk}/", q="nothing like it")


def test_a_failed_run_says_why_and_can_be_retried(world: World, queued: Run) -> None:
    finishing.fail(queued.pk, reason="The endpoint answered 401: its credential is not accepted.")
    owner = Person(world.owner)
    assert "its credential is not accepted" in owner.get(f"/runs/{queued.pk}/")
    owner.post(f"/runs/{queued.pk}/retry/")
    queued.refresh_from_db()
    assert queued.state == RunState.QUEUED


def test_the_errors_to_retry_are_chosen_by_class(world: World, queued: Run) -> None:
    run = running(queued)
    for case, kind in zip(run.suite_revision.cases.all(), ("rate_limited", "cut"), strict=True):
        answer(run, "", case=case, status="error", error_kind=kind)
    run.shards.update(done=True)
    finishing.complete_if_done(run.pk)
    owner = Person(world.owner)
    text = owner.get(f"/runs/{run.pk}/")
    assert "Too many requests (one slot)" in text
    assert "Answer cut off (one slot)" in text
    response = owner.post(f"/runs/{run.pk}/retry/", status=400, by_class="1")
    assert "Name at least one class of error." in words(response)

    owner.post(f"/runs/{run.pk}/retry/", by_class="1", error_kinds=["cut"])
    run.refresh_from_db()
    assert (run.state, run.total_slots) == (RunState.QUEUED, 3)
    assert "(cut); left as they are: 1 of other classes." in owner.get(f"/runs/{run.pk}/")


def test_one_class_of_error_leaves_nothing_to_choose(world: World, queued: Run) -> None:
    run = running(queued)
    for case in run.suite_revision.cases.all():
        answer(run, "", case=case, status="error", error_kind="cut")
    run.shards.update(done=True)
    finishing.complete_if_done(run.pk)
    owner = Person(world.owner)
    text = owner.get(f"/runs/{run.pk}/")
    assert "Retry what failed" in text
    assert "Ask once more where there was an error?" not in text
    owner.post(f"/runs/{run.pk}/retry/")
    run.refresh_from_db()
    assert run.total_slots == 4


def test_a_run_is_paused_resumed_and_cancelled(world: World, queued: Run) -> None:
    owner = Person(world.owner)
    for act, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        owner.post(f"/runs/{queued.pk}/{act}/", reason="We try another endpoint.")
        queued.refresh_from_db()
        assert queued.state == state
    assert "We try another endpoint." in owner.get(f"/runs/{queued.pk}/")
    response = owner.post(f"/runs/{queued.pk}/pause/", status=409)
    assert "This run is cancelled" in words(response)
    owner.post(f"/runs/{queued.pk}/explode/", status=404)


def test_answers_become_the_baseline(world: World, done: Run) -> None:
    owner = Person(world.owner)
    assert "Use as baseline" in owner.get(f"/runs/{done.pk}/")
    owner.post(f"/runs/{done.pk}/baseline/")
    assert list(Baseline.objects.get().runs.all()) == [done]
    assert "These answers are a baseline" in owner.get(f"/runs/{done.pk}/")


def test_a_run_that_is_not_complete_cannot_be_the_baseline(world: World, queued: Run) -> None:
    response = Person(world.owner).post(f"/runs/{queued.pk}/baseline/", status=400)
    assert "is queued, not complete." in words(response)
    assert not Baseline.objects.exists()


def test_an_auditor_reads_a_run_and_steers_nothing(world: World, queued: Run, done: Run) -> None:
    auditor = Person(world.auditor)
    html = auditor.client.get(f"/runs/{queued.pk}/").content.decode()
    assert "/pause/" not in html
    assert "/cancel/" not in html
    for act in ("pause", "cancel"):
        auditor.post(f"/runs/{queued.pk}/{act}/", status=403, reason="Because.")
    auditor.post(f"/runs/{done.pk}/baseline/", status=403)
    queued.refresh_from_db()
    assert queued.state == RunState.QUEUED
    assert not Baseline.objects.exists()


def test_an_outsider_finds_no_run(world: World, queued: Run) -> None:
    outsider = Person(world.outsider)
    outsider.get(f"/runs/{queued.pk}/", status=404)
    outsider.get(f"/runs/{queued.pk}/progress/", status=404)
    outsider.post(f"/runs/{queued.pk}/cancel/", status=404)
    assert "Nothing has been run yet" in outsider.get("/runs/")


def test_an_answer_with_markup_stays_text(world: World, queued: Run) -> None:
    answer(running(queued), "<img src=x onerror=alert(1)>")
    html = Person(world.owner).client.get(f"/runs/{queued.pk}/").content.decode()
    assert "<img src=x" not in html


def test_a_compared_run_leads_to_its_verdict(world: World) -> None:
    story: Story = tell(world)
    text = Person(world.owner).get(f"/runs/{story.after.pk}/")
    assert "against the baseline assistant-instant on Claims triage is changed (material)" in text
    assert "Look 1 against the baseline" in text


# Budgets, urgency, more replicates


def form(world: World, revision: SuiteRevision, **changes: str) -> dict[str, str]:
    return {
        "version": str(world.version.pk),
        "suite": str(revision.pk),
        "purpose": "manual",
        "replicates": "2",
    } | changes


def test_a_run_is_estimated_before_anything_is_started(
    world: World, revision: SuiteRevision
) -> None:
    asked = form(world, revision, estimate="1", max_tokens="3")
    response = Person(world.owner).client.post("/runs/new/", asked)
    text = words(response)
    assert "About 4 calls" in text
    assert "A rough count" in text
    assert "The run's own budget has 3 tokens left. The run would stop there" in text
    assert 'value="3"' in response.content.decode()
    assert not Run.objects.exists()


def test_a_run_starts_with_its_own_budget_and_urgency(
    world: World, revision: SuiteRevision
) -> None:
    asked = form(world, revision, max_tokens="900", urgent="on", reason="A hunch.")
    Person(world.owner).client.post("/runs/new/", asked)
    run = Run.objects.get()
    assert (run.max_tokens, run.urgency, run.reason) == (900, Run.Urgency.URGENT, "A hunch.")
    text = Person(world.owner).get(f"/runs/{run.pk}/")
    assert "The run's own budget 0 of 900 tokens" in text
    assert "urgent: before all other work" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_tokens": "0"}, "greater than or equal to 1"),
        ({"max_cost": "2", "currency": ""}, "needs its currency"),
        ({"max_cost": "2", "currency": "usd"}, "no price of it is valid now"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_named_at_its_field(
    world: World, revision: SuiteRevision, changes: dict[str, str], said: str
) -> None:
    response = Person(world.owner).client.post("/runs/new/", form(world, revision, **changes))
    assert said in words(response)
    assert not Run.objects.exists()


def test_a_partial_run_says_what_ended_it_and_can_go_on(world: World, queued: Run) -> None:
    run = running(queued)
    answer(run, "property")
    finishing.stop_for_budget(run.pk, reason="The run's own budget is used up.")
    owner = Person(world.owner)
    assert "has used up a budget: its last calls are coming in" in owner.get(f"/runs/{run.pk}/")
    finishing.end_stopped()
    text = owner.get(f"/runs/{run.pk}/")
    assert "is partial: a budget ended it with 1 of 2 answers." in text
    assert "A partial run proves nothing" in text
    owner.post(f"/runs/{run.pk}/budget/", max_tokens="5000")
    run.refresh_from_db()
    assert run.max_tokens == 5000
    assert "greater than or equal" in words(
        owner.post(f"/runs/{run.pk}/budget/", status=400, max_tokens="0")
    )
    owner.post(f"/runs/{run.pk}/retry/")
    run.refresh_from_db()
    assert run.state == RunState.QUEUED


def test_more_replicates_are_taken_on_the_page(world: World, done: Run) -> None:
    owner = Person(world.owner)
    assert "More replicates" in owner.get(f"/runs/{done.pk}/")
    owner.post(f"/runs/{done.pk}/extend/", replicates="2")
    done.refresh_from_db()
    assert (done.state, done.replicates, done.total_slots) == (RunState.QUEUED, 3, 6)
    response = owner.post(f"/runs/{done.pk}/extend/", status=400, replicates="many")
    assert "Replicates must lie between" in words(response)


def test_a_sealed_run_offers_no_more_replicates_and_says_why(world: World) -> None:
    story: Story = tell(world)
    services.seal_run(run=story.after, because="A comparison rests on the answers it has.")
    text = Person(world.owner).get(f"/runs/{story.after.pk}/")
    assert "More replicates" not in text
    assert "A comparison rests on the answers it has. None is added." in text


def test_money_is_shown_beside_tokens(world: World, queued: Run) -> None:
    run = running(queued)
    answer(run, "property")
    Spending.objects.create(
        run=run,
        model_version=run.model_version,
        month=run.month,
        currency="USD",
        cost="0.0123",
        tokens=42,
        samples=1,
    )
    assert "0.0123 USD, 42 tokens" in Person(world.owner).get(f"/runs/{run.pk}/")
