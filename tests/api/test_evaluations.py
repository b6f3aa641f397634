"""Suites, schedules, runs and answers through the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.accounts.models import Role, RoleAssignment, Team
from apps.evaluations import services
from apps.evaluations.models import Run, Sample, Suite, SuiteRevision
from tests.api.conftest import Api, is_problem
from tests.api.story import SUITE, Story, import_suite
from tests.world import World, person

pytestmark = pytest.mark.django_db
YAML = "application/yaml"


def run_body(world: World, revision: SuiteRevision, **changes: Any) -> dict[str, Any]:
    return {"model_version": str(world.version.pk), "suite_revision": str(revision.pk)} | changes


# ----------------------------------------------------------------------------------- suites


def test_a_suite_is_imported_from_json_yaml_and_a_file_once(owner: Api) -> None:
    first = owner.raw("suites/import", json.dumps(SUITE))
    assert first.status_code == 201, first.json()
    assert first.json()["created"] is True
    assert first.json()["revision"]["case_count"] == 2
    again = owner.raw("suites/import", yaml.safe_dump(SUITE), YAML)
    assert (again.status_code, again.json()["created"]) == (200, False)
    upload = {"file": SimpleUploadedFile("suite.yaml", yaml.safe_dump(SUITE).encode())}
    by_file = owner.client.post("/api/v1/suites/import", upload, format="multipart")
    assert by_file.json()["revision"]["id"] == first.json()["revision"]["id"]
    assert SuiteRevision.objects.count() == 1


def test_a_suite_with_its_cases_in_a_second_file_is_imported(owner: Api) -> None:
    head = {k: v for k, v in SUITE.items() if k != "cases"}
    lines = "\n".join(json.dumps(c) for c in SUITE["cases"])
    upload = {
        "file": SimpleUploadedFile("suite.yaml", yaml.safe_dump(head).encode()),
        "cases": SimpleUploadedFile("cases.jsonl", lines.encode()),
    }
    response = owner.client.post("/api/v1/suites/import", upload, format="multipart")
    assert response.json()["revision"]["case_count"] == 2, response.json()


def test_a_multipart_import_is_replayed_by_its_key(owner: Api) -> None:
    def send() -> Any:
        return owner.client.post(
            "/api/v1/suites/import",
            {"file": SimpleUploadedFile("suite.yaml", yaml.safe_dump(SUITE).encode())},
            format="multipart",
            headers={"Idempotency-Key": "k-1"},
        )

    assert send().json()["created"] is True
    again = send()
    assert (again.json()["created"], again["Idempotent-Replayed"]) == (True, "true")


def test_a_suite_that_is_exported_imports_as_the_same_content(owner: Api, world: World) -> None:
    revision = import_suite(world)
    exported = owner.get(f"suites/{revision.suite_id}/export")
    assert exported["Content-Type"].startswith(YAML)
    assert "attachment" in exported["Content-Disposition"]
    same = owner.get(f"suite-revisions/{revision.pk}/export")
    assert same.content == exported.content
    again = owner.raw("suites/import", exported.content, YAML)
    assert (again.status_code, again.json()["created"]) == (200, False)


def test_checking_a_suite_stores_nothing(owner: Api) -> None:
    checked = owner.raw("suites/validate", json.dumps(SUITE))
    assert checked.status_code == 200, checked.json()
    assert (checked.json()["cases"], checked.json()["metrics"]) == (2, ["accuracy"])
    assert not Suite.objects.exists()


def test_every_problem_of_a_suite_is_named_with_its_line(owner: Api) -> None:
    bad = SUITE | {"surprise": 1, "metrics": [SUITE["metrics"][0] | {"direction": "up"}]}
    response = owner.raw("suites/import", yaml.safe_dump(bad, sort_keys=False), YAML)
    body = is_problem(response, 400, "invalid_suite")
    assert {e["field"] for e in body["errors"]} >= {"surprise", "metrics[0].direction"}
    assert all(e["line"] > 0 for e in body["errors"])
    assert not Suite.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"",
        b"a: &a [x]\nb: [*a, *a]",
        b"slug: [",
        b'{"slug": NaN}',
        b"- a list",
    ],
)
def test_a_file_that_is_no_suite_is_refused(owner: Api, content: bytes) -> None:
    for kind in (YAML, "application/json"):
        is_problem(owner.raw("suites/import", content, kind), 400)
    assert not Suite.objects.exists()


def test_a_duplicate_case_id_is_refused(owner: Api) -> None:
    bad = SUITE | {"cases": [SUITE["cases"][0], SUITE["cases"][0]]}
    body = is_problem(owner.raw("suites/import", json.dumps(bad)), 400, "invalid_suite")
    assert "c1" in body["detail"]


def test_a_suite_that_is_too_large_is_refused(owner: Api) -> None:
    huge = b"# " + b"x" * (13 * 1024 * 1024)
    is_problem(owner.raw("suites/import", huge, YAML), 413, "body_too_large")
    upload = {"file": SimpleUploadedFile("suite.yaml", huge)}
    response = owner.client.post("/api/v1/suites/import", upload, format="multipart")
    is_problem(response, 413, "body_too_large")


def test_an_unknown_part_of_a_form_is_named(owner: Api) -> None:
    upload = {"file": SimpleUploadedFile("suite.yaml", b"x"), "extra": "1"}
    response = owner.client.post("/api/v1/suites/import", upload, format="multipart")
    is_problem(response, 400, field="extra")


def test_an_auditor_cannot_import_a_suite(auditor: Api) -> None:
    is_problem(auditor.raw("suites/import", json.dumps(SUITE)), 403, "not_allowed")


def test_cases_of_a_revision_are_listed_in_order(auditor: Api, world: World) -> None:
    revision = import_suite(world)
    rows = auditor.get(f"suite-revisions/{revision.pk}/cases").json()["results"]
    assert [r["case_id"] for r in rows] == ["c1", "c2"]


# -------------------------------------------------------------------------------- schedules


def test_a_schedule_is_made_and_switched_off(owner: Api, world: World) -> None:
    revision = import_suite(world)
    made = owner.post("schedules", run_body(world, revision, interval_seconds=3600))
    assert made.status_code == 201, made.json()
    path = f"schedules/{made.json()['id']}"
    off = owner.patch(path, {"enabled": False}, **{"If-Match": made["ETag"]})
    assert off.json()["enabled"] is False, off.json()
    is_problem(owner.patch(path, {"enabled": True}, **{"If-Match": made["ETag"]}), 412)


def test_a_schedule_needs_exactly_one_rhythm_and_a_known_zone(owner: Api, world: World) -> None:
    revision = import_suite(world)
    is_problem(owner.post("schedules", run_body(world, revision)), 400)
    both = run_body(world, revision, interval_seconds=3600, cron="0 1 * * *")
    is_problem(owner.post("schedules", both), 400)
    wrong = run_body(world, revision, cron="0 1 * * *", timezone="Mars/Olympus")
    is_problem(owner.post("schedules", wrong), 400, field="timezone")


# ------------------------------------------------------------------------------------- runs


def test_a_run_is_started_paused_resumed_and_cancelled(owner: Api, world: World) -> None:
    revision = import_suite(world)
    made = owner.post("runs", run_body(world, revision, replicates=2))
    assert made.status_code == 201, made.json()
    assert (made.json()["state"], made.json()["total_slots"]) == ("queued", 4)
    path = f"runs/{made.json()['id']}"
    assert owner.post(f"{path}/pause").json()["state"] == "paused"
    assert owner.post(f"{path}/resume").json()["state"] == "queued"
    is_problem(owner.post(f"{path}/cancel"), 400, field="reason")
    cancelled = owner.post(f"{path}/cancel", {"reason": "Wrong suite."})
    assert cancelled.json()["state"] == "cancelled"
    is_problem(owner.post(f"{path}/resume"), 409)
    is_problem(owner.post(f"{path}/retry-failed"), 409)


def test_an_act_on_a_stale_run_is_refused(owner: Api, world: World) -> None:
    made = owner.post("runs", run_body(world, import_suite(world)))
    path = f"runs/{made.json()['id']}"
    owner.post(f"{path}/pause")
    is_problem(owner.post(f"{path}/resume", **{"If-Match": made["ETag"]}), 412, "stale")


def test_a_run_is_started_once_for_one_key(owner: Api, world: World) -> None:
    body = run_body(world, import_suite(world))
    first = owner.post("runs", body, **{"Idempotency-Key": "k-1"})
    again = owner.post("runs", body, **{"Idempotency-Key": "k-1"})
    assert first.json()["id"] == again.json()["id"]
    assert Run.objects.count() == 1


def test_a_number_of_replicates_beyond_reason_is_refused(owner: Api, world: World) -> None:
    revision = import_suite(world)
    for replicates in (0, 101, -1, 10**30, "two"):
        response = owner.post("runs", run_body(world, revision, replicates=replicates))
        is_problem(response, 400, field="replicates")


def test_an_auditor_cannot_start_or_steer_a_run(auditor: Api, world: World) -> None:
    revision = import_suite(world)
    is_problem(auditor.post("runs", run_body(world, revision)), 403, "not_allowed")
    run = services.start_run(
        actor=world.owner, model_version=world.version, suite_revision=revision
    )
    is_problem(auditor.post(f"runs/{run.pk}/pause"), 403, "not_allowed")


def test_progress_answers_and_scores_of_a_run_are_read(auditor: Api, story: Story) -> None:
    path = f"runs/{story.after.pk}"
    progress = auditor.get(f"{path}/progress").json()
    assert (progress["done"], progress["total"], progress["answered"]) == (2, 2, 2)
    samples = auditor.get(f"{path}/samples").json()["results"]
    assert {s["case"]["name"] for s in samples} == {"c1", "c2"}
    only = auditor.get(f"{path}/samples", case_id="c1").json()["results"]
    assert len(only) == 1
    scores = auditor.get(f"{path}/scores", sample=only[0]["id"]).json()["results"]
    assert [(s["metric_key"], s["value"]) for s in scores] == [("accuracy", 0.0)]


def test_one_answer_is_shown_with_its_request_and_response(auditor: Api, story: Story) -> None:
    sample = Sample.objects.filter(run=story.before).first()
    assert sample is not None
    body = auditor.get(f"runs/{story.before.pk}/samples/{sample.id}").json()
    assert body["request"]["model"] == "assistant-instant"
    assert body["response"]["choices"][0]["message"]["content"] == "property"


def test_an_answer_is_not_found_under_another_run(auditor: Api, story: Story) -> None:
    sample = Sample.objects.filter(run=story.before).first()
    assert sample is not None
    is_problem(auditor.get(f"runs/{story.after.pk}/samples/{sample.id}"), 404)


def test_answers_are_paged(auditor: Api, story: Story) -> None:
    first = auditor.get(f"runs/{story.after.pk}/samples", page_size="1").json()
    second = auditor.client.get(first["next"]).json()
    assert second["next"] is None
    assert len({r["id"] for r in first["results"] + second["results"]}) == 2


def test_runs_of_another_team_do_not_exist(story: Story) -> None:
    team = Team.objects.create(name="Payments")
    stranger = person("Tina", "Team")
    RoleAssignment.objects.create(user=stranger, role=Role.MODEL_OWNER, team=team)
    tina = Api(stranger)
    assert tina.get("runs").json()["results"] == []
    for path in ("", "/progress", "/samples", "/scores"):
        is_problem(tina.get(f"runs/{story.after.pk}{path}"), 404)
    is_problem(tina.post(f"runs/{story.after.pk}/pause"), 404)
    for path in ("schedules", "observed-identities", "baselines", "comparisons"):
        assert tina.get(path).json()["results"] == [], path
