"""Baselines, comparisons, changes, notices, tickets, decisions and the policy."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.accounts.models import Role, RoleAssignment, Team
from apps.core import clock
from apps.registry.models import Approval
from apps.tickets.models import ControlAction, Decision, Ticket
from tests.api.conftest import Api, is_problem
from tests.api.story import Story, answered_run, import_suite
from tests.world import World, person

pytestmark = pytest.mark.django_db
RETIRE = {"outcome": "retire", "rationale": "It no longer answers as it was approved to."}


# ------------------------------------------------------------------------ what was measured


def test_a_baseline_is_set_from_the_newest_baseline_run(owner: Api, world: World) -> None:
    revision = import_suite(world)
    run = answered_run(world, revision, "property", 1.0)
    body = {"model_version": str(world.version.pk), "suite_revision": str(revision.pk)}
    made = owner.post("baselines", body)
    assert made.status_code == 201, made.json()
    assert made.json()["runs"] == [str(run.pk)]
    current = owner.get("baselines", current="true").json()["results"]
    assert [b["id"] for b in current] == [made.json()["id"]]
    watches = owner.get(f"baselines/{made.json()['id']}/watches").json()["results"]
    assert "accuracy" in {w["metric_key"] for w in watches}


def test_a_baseline_without_a_run_is_refused(owner: Api, world: World) -> None:
    body = {"model_version": str(world.version.pk), "suite_revision": str(import_suite(world).pk)}
    is_problem(owner.post("baselines", body), 400, field="runs")


def test_an_auditor_cannot_set_a_baseline(auditor: Api, world: World) -> None:
    body = {"model_version": str(world.version.pk), "suite_revision": str(import_suite(world).pk)}
    is_problem(auditor.post("baselines", body), 403, "not_allowed")


def test_a_change_is_read_with_all_that_shows_it(auditor: Api, story: Story) -> None:
    rows = auditor.get("change-events", state="open").json()["results"]
    assert [(r["name"], r["broken_assumptions"]) for r in rows] == [("C-1", 1)]
    path = f"change-events/{story.change.pk}"
    assert auditor.get(f"{path}/recompute").json()["format"] == "govtrack.recompute/1"
    metrics = auditor.get(f"{path}/metrics").json()["results"]
    assert [(m["metric_key"], m["effect"], m["low"]) for m in metrics] == [("accuracy", -1.0, None)]
    pairs = auditor.get(f"{path}/pairs").json()["results"]
    assert pairs[0]["current_text"] == "Sure! It is property."
    broken = auditor.get(f"{path}/broken-assumptions").json()["results"]
    assert (broken[0]["assumption"]["name"], broken[0]["use_case"]["name"]) == (
        "A1",
        "Claims triage",
    )
    comparisons = auditor.get(f"{path}/comparisons").json()["results"]
    assert comparisons[0]["id"] == str(story.comparison.pk)


def test_changes_are_found_by_version_and_use_case(auditor: Api, story: Story) -> None:
    def found(**query: str) -> int:
        return len(auditor.get("change-events", **query).json()["results"])

    assert found(version=str(story.world.version.pk)) == 1
    assert found(use_case=str(story.world.use_case.pk)) == 1
    assert found(use_case=str(story.world.version.pk)) == 0
    assert found(since=(clock.now() + dt.timedelta(days=1)).isoformat()) == 0


def test_a_change_cannot_be_written(lead: Api, story: Story) -> None:
    is_problem(lead.patch(f"change-events/{story.change.pk}", {"state": "closed"}), 405)
    is_problem(lead.post("change-events", {}), 405)


# ----------------------------------------------------------------------------------- notices


def test_a_notice_is_recorded(owner: Api, world: World) -> None:
    now = clock.now()
    body = {
        "provider": str(world.provider.pk),
        "title": "assistant-instant gets a refresh",
        "model_names": ["assistant-instant"],
        "announced_at": now.isoformat(),
        "effective_at": (now + dt.timedelta(days=14)).isoformat(),
    }
    made = owner.post("notices", body)
    assert made.status_code == 201, made.json()
    assert made.json()["recorded_by_name"] == "Olga Owner"
    is_problem(owner.post("notices", body | {"url": "javascript:alert(1)"}), 400, field="url")
    is_problem(owner.post("notices", body | {"announced_at": "soon"}), 400, field="announced_at")


def test_an_auditor_cannot_record_a_notice(auditor: Api, world: World) -> None:
    now = clock.now().isoformat()
    body = {
        "provider": str(world.provider.pk),
        "title": "x",
        "model_names": ["x"],
        "announced_at": now,
        "effective_at": now,
    }
    is_problem(auditor.post("notices", body), 403, "not_allowed")


# ----------------------------------------------------------------------------------- tickets


def test_tickets_are_found_by_state_severity_and_use_case(auditor: Api, story: Story) -> None:
    def found(**query: str) -> int:
        return len(auditor.get("tickets", **query).json()["results"])

    assert found(state="open", severity="critical", undecided="true") == 1
    assert found(use_case=str(story.world.use_case.pk)) == 1
    assert found(severity="low") == 0
    assert found(due_before=clock.now().isoformat()) == 0


def test_a_ticket_is_commented_and_assigned(lead: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}"
    assert lead.post(f"{path}/comments", {"text": "On it."}).status_code == 201
    texts = [c["text"] for c in lead.get(f"{path}/comments").json()["results"]]
    assert texts == ["Looking at it.", "On it."]
    tag = {"If-Match": lead.get(path)["ETag"]}
    email = story.world.validator.email
    assigned = lead.post(f"{path}/assign", {"assignee": email}, **tag)
    assert assigned.json()["assignee"]["name"] == "Viktor Validator", assigned.json()
    is_problem(lead.post(f"{path}/assign", {"assignee": None}, **tag), 412, "stale")
    nobody = lead.post(f"{path}/assign", {"assignee": None})
    assert nobody.json()["assignee"] is None


def test_an_auditor_can_neither_comment_nor_decide(auditor: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}"
    is_problem(auditor.post(f"{path}/comments", {"text": "Hm."}), 403, "not_allowed")
    is_problem(auditor.post(f"{path}/decisions", RETIRE), 403, "not_allowed")
    assert not Decision.objects.exists()


def test_a_decision_takes_two_people(owner: Api, lead: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}"
    made = owner.post(f"{path}/decisions", RETIRE)
    assert made.status_code == 201, made.json()
    decision = f"decisions/{made.json()['id']}"
    is_problem(owner.post(f"{decision}/confirm"), 403)
    confirmed = lead.post(f"{decision}/confirm", **{"If-Match": made["ETag"]})
    assert confirmed.json()["state"] == "confirmed", confirmed.json()
    assert lead.get(path).json()["state"] == "decided"
    assert Approval.objects.get(pk=story.approval.pk).state == "revoked"


def test_the_proposer_cannot_confirm_even_with_the_role(lead: Api, story: Story) -> None:
    made = lead.post(f"tickets/{story.ticket.pk}/decisions", RETIRE)
    is_problem(lead.post(f"decisions/{made.json()['id']}/confirm"), 403)
    assert Ticket.objects.get().state == "proposed"


def test_a_decision_is_sent_back_or_withdrawn(owner: Api, lead: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}/decisions"
    first = owner.post(path, RETIRE).json()["id"]
    is_problem(lead.post(f"decisions/{first}/send-back"), 400, field="reason")
    sent = lead.post(f"decisions/{first}/send-back", {"reason": "Say why not suspend."})
    assert sent.json()["state"] == "rejected"
    second = owner.post(path, RETIRE).json()["id"]
    assert owner.post(f"decisions/{second}/withdraw").json()["state"] == "withdrawn"
    is_problem(lead.post(f"decisions/{second}/confirm"), 409)


def test_a_second_proposal_is_refused_while_one_stands(owner: Api, lead: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}/decisions"
    assert owner.post(path, RETIRE).status_code == 201
    is_problem(lead.post(path, RETIRE), 409)


def test_a_proposal_on_a_stale_ticket_is_refused(owner: Api, lead: Api, story: Story) -> None:
    path = f"tickets/{story.ticket.pk}"
    read = owner.get(path)["ETag"]
    lead.post(f"{path}/assign", {"assignee": None})
    is_problem(owner.post(f"{path}/decisions", RETIRE, **{"If-Match": read}), 412, "stale")


def test_an_assumption_change_with_an_unknown_key_is_named(owner: Api, story: Story) -> None:
    body = {
        "outcome": "reapprove",
        "rationale": "The process tolerates it.",
        "assumption_changes": [{"code": "A1", "treshold": 0.7}],
    }
    response = owner.post(f"tickets/{story.ticket.pk}/decisions", body)
    is_problem(response, 400, field="assumption_changes[0].treshold")


def test_what_the_policy_did_is_reversed_by_a_named_person_once(
    lead: Api, owner: Api, story: Story
) -> None:
    done = ControlAction.objects.get()
    lead.post(f"approvals/{story.approval.pk}/hold", {"reason": "The policy."})
    path = f"control-actions/{done.pk}/reverse"
    is_problem(owner.post(path, {"reason": "I want to."}), 403)
    reversed_ = lead.post(path, {"reason": "A false alarm."})
    assert reversed_.json()["reversed_by"]["name"] == "Greta Lead", reversed_.json()
    assert Approval.objects.get(pk=story.approval.pk).state == "approved"
    is_problem(lead.post(path, {"reason": "Again."}), 409)
    assert lead.get("control-actions", standing="true").json()["results"] == []


def test_tickets_of_another_team_do_not_exist(story: Story) -> None:
    team = Team.objects.create(name="Payments")
    stranger = person("Tina", "Team")
    RoleAssignment.objects.create(user=stranger, role=Role.GOVERNANCE_LEAD, team=team)
    tina = Api(stranger)
    for path in ("tickets", "change-events", "control-actions", "decisions", "approvals"):
        assert tina.get(path).json()["results"] == [], path
    ticket = f"tickets/{story.ticket.pk}"
    for path in (ticket, f"{ticket}/comments", f"{ticket}/decisions", f"{ticket}/control-actions"):
        is_problem(tina.get(path), 404)
    is_problem(tina.post(f"{ticket}/comments", {"text": "Hello."}), 404)
    is_problem(tina.post(f"{ticket}/decisions", RETIRE), 404)
    for part in ("", "/metrics", "/pairs", "/broken-assumptions", "/comparisons"):
        is_problem(tina.get(f"change-events/{story.change.pk}{part}"), 404)


# ------------------------------------------------------------------------------------ policy


def test_a_policy_is_taken_changed_and_published(lead: Api) -> None:
    now = lead.get("policies/current").json()
    document: dict[str, Any] = now["document"]
    document["actions"]["critical"]["due_hours"] = 12
    made = lead.post("policies", {"document": document, "reason": "Faster."})
    assert made.status_code == 201, made.json()
    assert made.json()["number"] == now["number"] + 1
    assert lead.get("policies/current").json()["id"] == made.json()["id"]


def test_a_broken_policy_is_refused_with_every_fault(lead: Api) -> None:
    document = lead.get("policies/current").json()["document"]
    document["actions"]["critical"]["due_hours"] = -1
    document["severity"]["material"]["high"]["1"] = "apocalyptic"
    response = lead.post("policies", {"document": document, "reason": "x" * 5})
    assert len(is_problem(response, 400)["errors"]) >= 2


def test_an_owner_cannot_publish_a_policy(owner: Api) -> None:
    document = owner.get("policies/current").json()["document"]
    response = owner.post("policies", {"document": document, "reason": "Mine."})
    is_problem(response, 403, "not_allowed")
