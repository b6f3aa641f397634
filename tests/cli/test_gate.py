"""`govtrack gate`: the exit status is the answer."""

from __future__ import annotations

import json

from apps.audit.services import SYSTEM
from apps.registry.services import hold_approval
from tests.cli.conftest import Cli
from tests.world import World, approve

ASKED = ("gate", "claims-triage", "assistant-instant")


def test_an_approved_version_is_allowed(cli: Cli, world: World) -> None:
    approve(world)
    result = cli(*ASKED)
    assert result.exit_code == 0
    assert result.stdout.startswith("allow: ")


def test_an_approval_with_conditions_is_let_through(cli: Cli, world: World) -> None:
    approve(world, conditions="A person reads every answer.")
    result = cli(*ASKED, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["answer"] == "conditional"


def test_a_version_on_hold_is_3(cli: Cli, world: World) -> None:
    hold_approval(actor=SYSTEM, approval=approve(world), reason="The model changed.")
    assert cli(*ASKED).exit_code == 3


def test_brackets_in_a_reason_are_printed_as_they_are(cli: Cli, world: World) -> None:
    approve(world, conditions="Only for claims [/bold] below [1000].")
    result = cli(*ASKED)
    assert result.exit_code == 0
    assert "[/bold] below [1000]" in result.stdout


def test_a_version_without_approval_is_4(cli: Cli, world: World) -> None:
    assert cli(*ASKED).exit_code == 4


def test_an_unknown_use_case_is_1_and_named(cli: Cli, world: World) -> None:
    result = cli("gate", "nothing[/red]", "assistant-instant")
    assert result.exit_code == 1
    assert "there is none called nothing[/red]" in result.stderr


def test_an_unknown_version_is_1_and_the_known_ones_are_named(cli: Cli, world: World) -> None:
    result = cli("gate", "claims-triage", "gpt-nothing")
    assert result.exit_code == 1
    assert "Known: assistant-instant" in result.stderr


def test_without_a_token_a_remote_gate_is_not_asked(cli: Cli) -> None:
    result = cli(*ASKED, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "GOVTRACK_TOKEN is empty" in result.stderr


def test_a_remote_gate_that_does_not_answer_is_1(cli: Cli) -> None:
    result = cli(*ASKED, "--url", "http://127.0.0.1:9", env={"GOVTRACK_TOKEN": "gvt_x"})
    assert result.exit_code == 1
    assert "could not be asked" in result.stderr
    assert "gvt_x" not in result.output
