"""`createadmin`, `token`, `audit` and `doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from apps.access.models import ApiToken
from apps.accounts.models import User
from apps.audit.models import AuditLeaf
from apps.audit.services import sequence
from tests.cli.conftest import Cli
from tests.world import PASSWORD, World, person

ADA = ("createadmin", "--email", "ada@northwind.example", "--name", "Ada Admin")


def test_the_first_administrator_is_made_at_the_terminal(cli: Cli, db: None) -> None:
    result = cli(*ADA, input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert User.objects.get().check_password(PASSWORD)


def test_a_second_one_is_not_made_so(cli: Cli, world: World) -> None:
    result = cli(*ADA, env={"GOVTRACK_ADMIN_PASSWORD": PASSWORD})
    assert result.exit_code == 1
    assert "An administrator exists already" in result.stderr
    assert not User.objects.filter(email="ada@northwind.example").exists()


def test_a_poor_password_is_refused_by_name(cli: Cli, db: None) -> None:
    result = cli(*ADA, env={"GOVTRACK_ADMIN_PASSWORD": "short"})
    assert result.exit_code == 1
    assert "password" in result.stderr
    assert not User.objects.exists()


def test_only_the_secret_of_a_token_is_on_standard_output(cli: Cli, world: World) -> None:
    result = cli("token", "create", "ci-claims", "--scope", "gate")
    assert result.exit_code == 0, result.output
    token = ApiToken.objects.get()
    assert len(result.stdout.split()) == 1
    assert token.prefix in result.stdout
    assert result.stdout.strip() not in result.stderr
    assert token.prefix in result.stderr


def test_a_token_with_an_unknown_scope_is_refused_by_name(cli: Cli, world: World) -> None:
    result = cli("token", "create", "ci-claims", "--scope", "everything")
    assert result.exit_code == 1
    assert "scopes: " in result.stderr
    assert result.stdout == ""
    assert not ApiToken.objects.exists()


def test_a_token_of_nobody_is_refused(cli: Cli, world: World) -> None:
    result = cli("token", "create", "x", "--scope", "gate", "--as", "nobody@northwind.example")
    assert result.exit_code == 1
    assert "nobody@northwind.example" in result.stderr


def test_with_two_administrators_the_command_asks_who_acts(cli: Cli, world: World) -> None:
    person("Adam", "Admin", "administrator")
    result = cli("token", "create", "x", "--scope", "gate")
    assert result.exit_code == 1
    assert "--as" in result.stderr


def test_a_token_is_revoked_by_its_prefix(cli: Cli, world: World) -> None:
    cli("token", "create", "ci-claims", "--scope", "gate")
    token = ApiToken.objects.get()
    assert token.prefix in cli("token", "list").stdout
    assert cli("token", "revoke", token.prefix).exit_code == 0
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_an_unknown_prefix_revokes_nothing(cli: Cli, world: World) -> None:
    result = cli("token", "revoke", "nothing")
    assert result.exit_code == 1
    assert "no token begins so" in result.stderr


def test_an_intact_history_is_verified_with_its_root(cli: Cli, world: World) -> None:
    sequence()
    result = cli("audit", "verify")
    assert result.exit_code == 0
    assert f"{AuditLeaf.objects.count()} entries" in result.stdout
    assert "root " in result.stdout


def test_a_history_that_was_tampered_with_names_the_entry(cli: Cli, world: World) -> None:
    sequence()
    leaf = AuditLeaf.objects.get(seq=2)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE audit_auditevent SET summary = 'Nothing happened.' WHERE id = %s",
            [leaf.event_id],
        )
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")
    result = cli("audit", "verify")
    assert result.exit_code == 1
    assert f"entry 2 ({leaf.event_id})" in result.stderr


def test_tail_prints_the_newest_entries_last(cli: Cli, world: World) -> None:
    result = cli("audit", "tail", "-n", "2")
    assert result.exit_code == 0
    assert "Claims triage" in result.stdout


@pytest.mark.parametrize(
    "command", [("doctor",), ("audit", "verify"), ("token", "list"), ("suite", "export", "x")]
)
def test_without_a_stack_a_command_says_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")
    result = cli(*command, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "Start it with `govtrack up`" in result.output
