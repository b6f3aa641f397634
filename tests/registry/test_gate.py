"""May this use case call this version now?"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import OperationalError
from django.test.utils import CaptureQueriesContext

from apps.audit.services import SYSTEM
from apps.core import clock
from apps.registry import gate, services
from tests.world import World, approve


def ask(world: World) -> gate.GateAnswer:
    return gate.check(use_case=world.use_case, model_version=world.version)


def test_what_was_never_approved_is_denied(world: World) -> None:
    answer = ask(world)
    assert (answer.answer, answer.open, answer.approval) == ("deny", False, None)
    assert answer.reason == "assistant-instant was never approved for Claims triage."


def test_a_request_is_not_an_approval(world: World) -> None:
    world.request()
    assert ask(world).answer == "deny"
    assert "A-1 is requested but not approved yet" in ask(world).reason


def test_what_is_in_force_is_allowed(world: World) -> None:
    approval = approve(world)
    answer = ask(world)
    assert (answer.answer, answer.open, answer.approval) == ("allow", True, approval)
    assert answer.reason == "A-1 approves assistant-instant for Claims triage."


def test_conditions_are_told(world: World) -> None:
    approve(world, conditions="A person reads every letter.")
    answer = ask(world)
    assert (answer.answer, answer.open) == ("conditional", True)
    assert answer.conditions == "A person reads every letter."
    assert answer.conditions in answer.reason


def test_a_hold_says_why(world: World) -> None:
    services.hold_approval(actor=SYSTEM, approval=approve(world), reason="RT-1 is open.")
    answer = ask(world)
    assert (answer.answer, answer.open) == ("hold", False)
    assert answer.reason == "A-1 is on hold: RT-1 is open."


@pytest.mark.parametrize("verb", [services.suspend_approval, services.revoke_approval])
def test_what_was_ended_is_denied_with_the_reason(world: World, verb: Any) -> None:
    verb(actor=world.lead, approval=approve(world), reason="It answers without JSON.")
    answer = ask(world)
    assert answer.answer == "deny"
    assert "It answers without JSON." in answer.reason


def test_a_renewal_that_is_pending_leaves_the_old_one_in_force(world: World) -> None:
    old = approve(world)
    world.request()
    assert (ask(world).answer, ask(world).approval) == ("allow", old)


def test_the_clock_ends_an_approval_even_when_no_task_has_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = clock.now() + dt.timedelta(hours=1)
    approve(world, expires_at=ends)
    assert ask(world).answer == "allow"
    monkeypatch.setattr(clock, "now", lambda: ends)
    answer = ask(world)
    assert answer.answer == "deny"
    assert "A-1 expired on" in answer.reason


def test_a_hold_that_ran_out_is_denied_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = clock.now() + dt.timedelta(hours=1)
    approval = approve(world, expires_at=ends)
    services.hold_approval(actor=SYSTEM, approval=approval, reason="RT-1 is open.")
    monkeypatch.setattr(clock, "now", lambda: ends)
    assert ask(world).answer == "deny"


def test_another_version_or_use_is_another_question(world: World) -> None:
    approve(world)
    other = world.another_version()
    assert gate.check(use_case=world.use_case, model_version=other).answer == "deny"
    use_case = world.another_use_case("mail", risk_tier=3)
    assert gate.check(use_case=use_case, model_version=world.version).answer == "deny"


@pytest.mark.parametrize(("fails_open", "answer"), [(False, "deny"), (True, "allow")])
def test_what_cannot_be_decided_follows_the_use_case_s_policy_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, fails_open: bool, answer: str
) -> None:
    def down(*args: object) -> None:
        raise OperationalError("server closed the connection")

    approve(world)
    world.use_case.gate_fails_open = fails_open
    monkeypatch.setattr(gate, "_live", down)
    found = ask(world)
    assert (found.answer, found.decided) == (answer, False)
    assert "cannot decide" in found.reason
    assert ("fail open" if fails_open else "fail closed") in found.reason


def test_failing_open_is_not_for_what_can_be_decided(world: World) -> None:
    world.use_case.gate_fails_open = True
    assert ask(world).answer == "deny"


def test_it_costs_one_query_when_allowed_and_two_when_not(world: World) -> None:
    from django.db import connection

    with CaptureQueriesContext(
        connection,
    ) as queries:
        ask(world)
    assert len(queries) == 2
    approve(world)
    with CaptureQueriesContext(connection) as queries:
        ask(world)
    assert len(queries) == 1
