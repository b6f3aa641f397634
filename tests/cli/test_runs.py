"""`govtrack run`, `price`, `budget` and `schedule`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apps.evaluations import services
from apps.evaluations.models import Budget, Price, Run, RunState, Schedule
from govtrack.commands import runs, watching
from tests.api.story import Story, import_suite, tell
from tests.cli.conftest import Cli
from tests.world import World

pytestmark = pytest.mark.django_db
CSV = (
    "provider,model_name,currency,prompt_per_million,completion_per_million,valid_from\n"
    "local-labs,*,USD,0.5,1.5,2026-01-01\n"
)


@pytest.fixture(autouse=True)
def _nothing_waits_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)


@pytest.fixture
def story(world: World) -> Story:
    return tell(world)


def started(cli: Cli, world: World, *options: str) -> Run:
    import_suite(world)
    result = cli("run", world.version.label, "claims-triage", "--no-wait", *options)
    assert result.exit_code == 0, result.output
    return Run.objects.latest("created_at")


def test_a_version_and_a_suite_are_enough_to_start_a_run(cli: Cli, world: World) -> None:
    run = started(cli, world, "--replicates", "2", "--urgent", "--max-tokens", "900")

    assert (run.replicates, run.urgency, run.max_tokens) == (2, Run.Urgency.URGENT, 900)


def test_the_estimate_is_said_before_the_run_is_started(cli: Cli, world: World) -> None:
    import_suite(world)
    said = cli("run", world.version.label, "claims-triage", "--no-wait", "--max-tokens", "1")

    assert "A rough count" in said.stdout
    assert "The run's own budget has 1 tokens left." in said.stdout
    as_json = cli("run", "estimate", world.version.label, "claims-triage", "--json")
    assert json.loads(as_json.stdout)["calls"] == 2


def test_a_run_is_paused_resumed_extended_and_cancelled_with_a_reason(
    cli: Cli, world: World
) -> None:
    run = started(cli, world)
    for words, state in (
        (("pause",), RunState.PAUSED),
        (("resume",), RunState.QUEUED),
        (("extend", "--replicates", "2"), RunState.QUEUED),
        (("cancel", "--reason", "A wrong suite."), RunState.CANCELLED),
    ):
        result = cli("run", words[0], str(run.pk)[-8:], *words[1:])
        assert result.exit_code == 0, result.output
        run.refresh_from_db()
        assert run.state == state
    assert (run.replicates, run.state_reason) == (3, "A wrong suite.")
    again = cli("run", "pause", run.pk)
    assert again.exit_code == 1
    assert "This run is cancelled" in again.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pause", "no-such-run"), "there is none"),
        (("cancel", "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"), "--reason: say why"),
        (("nobody", "claims-triage"), "there is none called"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    cli: Cli, world: World, words: tuple[str, ...], said: str
) -> None:
    result = cli("run", *words)
    assert result.exit_code == 1
    assert said in result.output


def test_a_run_s_record_is_printed_as_json_that_a_machine_reads(cli: Cli, story: Story) -> None:
    record = json.loads(cli("run", "show", story.after.pk, "--json").stdout)

    assert record["suite"]["content_hash"] == story.revision.content_hash
    text = cli("run", "show", story.after.pk).stdout
    assert story.revision.content_hash in text
    assert "Served as" in text


def test_a_finished_run_is_watched_to_its_end_at_once(cli: Cli, story: Story) -> None:
    assert "The run is complete." in cli("run", "watch", story.after.pk).stdout


def test_ctrl_c_leaves_a_run_running_unless_the_person_says_otherwise(
    cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(cli, world)

    def interrupted(run: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "watch", interrupted)
    left = cli("run", "watch", run.pk)
    assert (left.exit_code, "The run goes on; watch" in left.output) == (130, True)
    run.refresh_from_db()
    assert run.state == RunState.QUEUED

    monkeypatch.setattr(runs, "_is_terminal", lambda: True)
    paused = cli("run", "watch", run.pk, input="y\n")
    assert "The run is paused; go on with: govtrack run resume" in paused.output
    run.refresh_from_db()
    assert run.state == RunState.PAUSED


def test_prices_are_imported_and_listed(cli: Cli, world: World, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(CSV)
    assert "1 recorded, 0 known" in cli("price", "import", path).stdout
    assert "0 recorded, 1 known" in cli("price", "import", "-", input=CSV).stdout
    assert "0.5 1.5 USD from 2026-01-01" in cli("price", "list").stdout
    path.write_text(CSV.replace("0.5", "free"))
    wrong = cli("price", "import", path)
    assert wrong.exit_code == 1
    assert "'free' is not a number" in wrong.output
    assert Price.objects.count() == 1


def test_budgets_are_set_and_listed(cli: Cli, world: World) -> None:
    assert cli("budget", "set", "--max-tokens", "1000", "--provider", "local-labs").exit_code == 0
    assert cli("budget", "set", "--max-cost", "250 usd").exit_code == 0
    listed = cli("budget", "list").stdout
    assert "The monthly budget of Local Labs: 0 of 1,000 tokens" in listed
    assert "The monthly budget for everything: 0.0000 of 250.0000 USD" in listed
    assert "is no amount of money" in cli("budget", "set", "--max-cost", "lots").output
    assert Budget.objects.count() == 2


def test_a_schedule_is_previewed_planned_by_risk_and_triggered(cli: Cli, world: World) -> None:
    import_suite(world)
    shown = cli("schedule", "preview", "--rule", "first monday of the month at 02:00")
    assert shown.stdout.count("Mon ") == 5
    assert "is not a calendar rule" in cli("schedule", "preview", "--rule", "sometimes").output

    made = cli("schedule", "create", world.version.label, "claims-triage")
    assert made.exit_code == 0, made.output
    schedule = Schedule.objects.get()
    assert schedule.calendar == "mondays at 02:00"  # nothing rests on it yet
    assert "mondays at 02:00" in cli("schedule", "list").stdout

    assert cli("schedule", "trigger", schedule.pk, "--reason", "The probe.").exit_code == 0
    assert services.run_by_id(Run.objects.get().pk).urgency == Run.Urgency.URGENT
