"""Prices, budgets, estimates, urgent and extended runs, and when a schedule is due: by the API."""

from __future__ import annotations

from typing import Any

import pytest

from apps.evaluations import budgets, services
from apps.evaluations.models import Budget, Price, Run, RunState, Schedule
from tests.api.conftest import Api, is_problem
from tests.api.story import Story, import_suite
from tests.world import World

pytestmark = pytest.mark.django_db
A_PRICE = {
    "provider": "local-labs",
    "model_name": "assistant-instant",
    "currency": "USD",
    "prompt_per_million": "0.50",
    "completion_per_million": "1.5",
    "valid_from": "2026-01-01T00:00:00Z",
    "source": "price page",
}


@pytest.fixture
def planned(world: World) -> Schedule:
    return services.create_schedule(
        actor=world.owner,
        model_version=world.version,
        suite_revision=import_suite(world),
        calendar="weekdays at 02:00",
    )


def test_prices_are_recorded_listed_and_withdrawn(lead: Api, auditor: Api) -> None:
    made = lead.post("prices/import", {"prices": [A_PRICE]})
    assert (made.status_code, made.json()) == (201, {"recorded": 1, "known": 0})
    assert lead.post("prices/import", {"prices": [A_PRICE]}).json()["known"] == 1
    (row,) = auditor.get("prices", model_name="assistant-instant", withdrawn="false").json()[
        "results"
    ]
    assert (row["completion_per_million"], row["source"]) == ("1.500000", "price page")

    withdrawn = lead.post(f"prices/{row['id']}/withdraw", {"reason": "Of another year."})

    assert withdrawn.json()["withdrawn_reason"] == "Of another year."
    is_problem(lead.post(f"prices/{row['id']}/withdraw", {"reason": "Again."}), 409)


def test_a_csv_is_recorded_and_its_wrong_rows_are_named(lead: Api) -> None:
    head = "provider,model_name,currency,prompt_per_million,completion_per_million,valid_from\n"
    good = head + "local-labs,*,EUR,0,0,2026-01-01\n"
    assert lead.post("prices/import", {"file": good}).json()["recorded"] == 1
    bad = lead.post("prices/import", {"file": head + "local-labs,*,EUR,free,0,2026-02-01\n"})
    body = is_problem(bad, 400)
    assert "Row 2, prompt_per_million" in body["detail"]
    is_problem(lead.post("prices/import", {"file": good, "prices": []}), 400, field="prices")
    assert Price.objects.count() == 1


def test_who_may_not_record_prices_or_set_budgets_is_told(owner: Api, auditor: Api) -> None:
    for api in (owner, auditor):
        is_problem(api.post("prices/import", {"prices": [A_PRICE]}), 403, "not_allowed")
        is_problem(api.post("budgets", {"max_tokens": 5}), 403, "not_allowed")
    assert not Price.objects.exists()
    assert not Budget.objects.exists()


def test_a_budget_is_set_shown_with_its_use_and_changed(lead: Api, world: World) -> None:
    made = lead.post("budgets", {"model_version": str(world.version.pk), "max_tokens": 1000})
    assert made.status_code == 201, made.json()
    body = made.json()
    assert body["name"] == "The monthly budget of assistant-instant"
    assert (body["used_tokens"], body["reached"]) == (0, "")

    path = f"budgets/{body['id']}"
    changed = lead.patch(path, {"max_tokens": 5, "enabled": False}, **{"If-Match": made["ETag"]})
    assert (changed.json()["max_tokens"], changed.json()["enabled"]) == (5, False)
    is_problem(lead.patch(path, {"max_tokens": 6}, **{"If-Match": made["ETag"]}), 412, "stale")
    is_problem(lead.post("budgets", {"max_cost": "5"}), 400, field="currency")


def test_a_run_is_estimated_and_refused_where_a_budget_is_used_up(owner: Api, world: World) -> None:
    body = {
        "model_version": str(world.version.pk),
        "suite_revision": str(import_suite(world).pk),
        "replicates": 3,
    }
    found = owner.post("runs/estimate", body).json()
    assert found["calls"] == 6
    assert "rough" in found["basis"]
    assert found["cost"] is None
    budgets.set_budget(actor=world.lead, model_version=world.version, max_tokens=1)
    assert owner.post("runs/estimate", body).json()["exceeds"] == [
        "The monthly budget of assistant-instant has 1 tokens left."
    ]
    Budget.objects.all().delete()
    run = owner.post("runs", body | {"urgency": 2, "max_tokens": 50, "reason": "A hunch."}).json()
    assert (run["urgency"], run["max_tokens"], run["reason"]) == (2, 50, "A hunch.")
    assert run["code_version"].startswith("0.")
    raised = owner.post(f"runs/{run['id']}/budget", {"max_tokens": 90})
    assert raised.json()["max_tokens"] == 90
    no_price = owner.post("runs", body | {"max_cost": "1", "currency": "USD"})
    is_problem(no_price, 400, field="max_cost")


def test_a_run_is_extended_until_something_rests_on_it(owner: Api, story: Story) -> None:
    body = {
        "model_version": str(story.world.version.pk),
        "suite_revision": str(story.revision.pk),
    }
    run = owner.post("runs", body).json()

    more = owner.post(f"runs/{run['id']}/extend", {"replicates": 2})

    assert (more.json()["replicates"], more.json()["total_slots"]) == (3, 6)
    is_problem(owner.post(f"runs/{run['id']}/extend", {"replicates": 0}), 400, field="replicates")
    services.seal_run(run=story.after, because="A comparison rests on the answers it has.")
    sealed = owner.post(f"runs/{story.after.pk}/extend", {"replicates": 1})
    assert "rests on the answers" in is_problem(sealed, 409)["detail"]


def test_a_run_s_record_holds_all_that_is_needed_to_repeat_it(
    auditor: Api, story: Story, world: World
) -> None:
    record = auditor.get(f"runs/{story.after.pk}/record").json()

    assert record["format"] == "govtrack.run/1"
    assert record["suite"]["content_hash"] == story.revision.content_hash
    assert record["model_version"]["config_hash"] == world.version.config_hash
    assert record["model_version"]["parameters"]["seed"] == 7
    assert record["endpoint"]["base_url"].startswith("http")
    assert sum(seen["answers"] for seen in record["observed"]) == record["run"]["stored"] > 0
    assert set(record["code"]) == {"govtrack", "client"}
    assert "credential" not in str(record)


def test_progress_says_what_was_spent(auditor: Api, story: Story) -> None:
    found = auditor.get(f"runs/{story.after.pk}/progress").json()
    assert (found["spent"], found["unpriced"]) == ({}, 0)


@pytest.mark.parametrize(
    ("due", "first"),
    [
        ({"calendar": "first monday of the month at 02:00"}, "T02:00:00"),
        ({"cron": "30 3 * * *", "timezone": "Europe/Berlin"}, "T03:30:00+0"),
        ({"interval_seconds": 3600, "blackouts": ["mon-fri 08:00-18:00"]}, "T"),
    ],
)
def test_the_next_five_runs_are_shown_before_anything_is_saved(
    auditor: Api, due: dict[str, Any], first: str
) -> None:
    answer = auditor.post("schedules/preview", due)
    times = answer.json()["next_runs"]
    assert len(times) == 5
    assert first in times[0]
    assert not Schedule.objects.exists()


def test_a_rule_that_means_nothing_is_named(auditor: Api) -> None:
    answer = auditor.post("schedules/preview", {"calendar": "now and then"})
    assert "weekdays at 02:00" in str(is_problem(answer, 400, field="calendar"))
    is_problem(auditor.post("schedules/preview", {"blackouts": ["x"]}), 400)


def test_a_schedule_shows_its_rule_and_its_next_runs(auditor: Api, planned: Schedule) -> None:
    row = auditor.get(f"schedules/{planned.pk}").json()
    assert (row["calendar"], row["cron"]) == ("weekdays at 02:00", "0 2 * * 1-5")
    assert len(row["next_runs"]) == 5
    assert all("T02:00:00+00:00" in moment for moment in row["next_runs"])


def test_a_schedule_is_made_with_words_jitter_windows_and_limits(owner: Api, world: World) -> None:
    body = {
        "model_version": str(world.version.pk),
        "suite_revision": str(import_suite(world).pk),
        "calendar": "mondays at 03:00",
        "timezone": "Europe/Zurich",
        "jitter_seconds": 600,
        "blackouts": ["2026-12-24..2026-12-27"],
        "max_tokens": 5000,
        "on_alarm": False,
    }
    made = owner.post("schedules", body)
    assert made.status_code == 201, made.json()
    assert made.json()["blackouts"] == ["2026-12-24..2026-12-27"]

    etag = {"If-Match": made["ETag"]}
    path = f"schedules/{made.json()['id']}"
    changed = owner.patch(path, {"calendar": "", "cron": "0 4 * * *"}, **etag)
    assert (changed.json()["calendar"], changed.json()["cron"]) == ("", "0 4 * * *")


def test_a_schedule_is_triggered_by_who_may_start_runs(
    owner: Api, auditor: Api, planned: Schedule
) -> None:
    path = f"schedules/{planned.pk}/trigger"
    is_problem(auditor.post(path, {"reason": "x"}), 403)
    is_problem(owner.post(path), 400, field="reason")

    made = owner.post(path, {"reason": "The probe alarmed."})

    assert made.status_code == 201, made.json()
    run = Run.objects.get(pk=made.json()["id"])
    assert (run.urgency, run.state) == (Run.Urgency.URGENT, RunState.QUEUED)


def test_a_cadence_is_proposed_by_risk(owner: Api, story: Story) -> None:
    body = {"model_version": str(story.world.version.pk)}
    found = owner.post("schedules/propose", body).json()
    assert (found["tier"], found["calendar"]) == (1, "every day at 02:00")
