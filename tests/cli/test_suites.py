"""`govtrack suite`: good files, bad files, no files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from apps.drift.services import compare_run
from apps.evaluations.models import Run, SuiteRevision
from tests.cli.conftest import Cli
from tests.world import World

SHIPPED = Path(__file__).resolve().parents[2] / "evals"
GOOD = """\
schema: govtrack/suite@1
slug: claims
name: Claims
summary: Whether a claim goes to the right desk.
not_measured: Everything else.
license: Apache-2.0
source: written for the tests
personal_data: false
prompt:
  messages:
    - role: user
      content: "{{claim}} =>"
scorers:
  - {key: desk, type: exact}
metrics:
  - {key: accuracy, label: Right desk, scorer: desk, direction: higher, margin: 0.05}
cases:
  - {id: c-1, vars: {claim: A deer hit my car.}, expect: motor}
  - {id: c-2, vars: {claim: The dentist sent a bill.}, expect: health}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("path", sorted(p for p in SHIPPED.iterdir() if p.is_dir()), ids=str)
def test_the_suites_that_come_with_the_product_are_valid(cli: Cli, path: Path) -> None:
    result = cli("suite", "validate", path)
    assert result.exit_code == 0
    assert path.name in result.stdout


def test_validate_needs_no_database(cli: Cli, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")
    result = cli("suite", "validate", good)
    assert result.exit_code == 0
    assert re.search(r"claims: 2 cases, sha256:[0-9a-f]{64}", result.stdout)


def test_each_problem_is_on_a_line_with_its_place(cli: Cli, good: Path) -> None:
    good.write_text(
        GOOD.replace("direction: higher", "direction: upwards").replace(
            "personal_data: false\n", ""
        )
    )
    result = cli("suite", "validate", good)
    assert result.exit_code == 1
    *problems, last = [line for line in result.stderr.splitlines() if line]
    assert len(problems) == 2
    assert all(re.match(r"suite\.yaml:\d+:\d+: ", line) for line in problems)
    wrong = next(line for line in problems if "upwards" in line or "direction" in line)
    number = GOOD.splitlines().index(next(x for x in GOOD.splitlines() if "higher" in x))
    assert wrong.startswith(f"suite.yaml:{number}:")  # one line was taken out above it
    assert any("personal_data" in line for line in problems)
    assert "2 problem(s); nothing was imported" in last


def test_a_file_that_is_no_yaml_is_named_with_its_place(cli: Cli, good: Path) -> None:
    good.write_text("slug: [\n")
    result = cli("suite", "validate", good)
    assert result.exit_code == 1
    assert re.search(r"^suite\.yaml:\d+:\d+: ", result.stderr, re.M)


@pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe", b"[]", b"[/red]: ["])
def test_junk_is_refused_with_a_sentence(cli: Cli, good: Path, data: bytes) -> None:
    good.write_bytes(data)
    result = cli("suite", "validate", good)
    assert result.exit_code == 1
    assert "nothing was imported" in result.stderr


def test_a_missing_path_is_named(cli: Cli, tmp_path: Path) -> None:
    result = cli("suite", "validate", tmp_path / "[nowhere]")
    assert result.exit_code == 1
    assert "[nowhere]" in result.stderr
    assert "No such file" in result.stderr


def test_a_suite_is_imported_once_and_exported_as_it_was(
    cli: Cli, world: World, good: Path, tmp_path: Path
) -> None:
    assert "imported" in cli("suite", "import", good).stdout
    assert "already there" in cli("suite", "import", good).stdout
    revision = SuiteRevision.objects.get()
    copy = tmp_path / "copy.yaml"
    copy.write_bytes(cli("suite", "export", "claims").stdout_bytes)
    assert revision.content_hash in cli("suite", "validate", copy).stdout


def test_exporting_an_unknown_suite_ends_with_a_sentence(cli: Cli, world: World) -> None:
    result = cli("suite", "export", "nothing")
    assert result.exit_code == 1
    assert "there is no suite called nothing" in result.stderr


PROMPTFOO = """
prompts: ["Which desk? {{claim}}"]
tests:
  - vars: {claim: hail}
    assert: [{type: contains, value: motor}, {type: javascript, value: output.ok}]
"""
RECORDED = [
    {"model": m, "id": str(n), "query": f"Is {n} prime? [Yes] or [No]?", "reference": "yes",
     "answer": a, "answered_at": "07/02/2023, 21:28:40"}
    for n in (3, 5)
    for m, a in (("m-03", "[Yes]"), ("m-06", "[No]"))
]  # fmt: skip


def test_a_promptfoo_configuration_is_imported_with_a_list_of_what_stayed_behind(
    cli: Cli, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(PROMPTFOO)
    tried = cli("suite", "import", path, "--dry-run")
    assert "nothing was stored" in tried.stdout
    assert not SuiteRevision.objects.exists()
    result = cli(
        "suite", "import", path, "--slug", "desks", "--no-personal-data", "--reason", "From QA."
    )
    assert "carried over: 1 prompt" in result.stdout
    assert "left out: javascript: code from a file is never run here" in result.stdout
    revision = SuiteRevision.objects.get()
    assert (revision.suite.slug, revision.reason) == ("desks", "From QA.")
    assert revision.origin["format"] == "promptfoo"
    again = cli("suite", "export", "desks", "--format", "promptfoo")
    assert "icontains" not in again.stdout
    assert "contains-all" in again.stdout
    assert "left out: margins" in again.stderr


def test_recorded_answers_become_runs_of_a_version(cli: Cli, world: World, tmp_path: Path) -> None:
    path = tmp_path / "prime.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in RECORDED))
    label = world.version.label
    answers = ("--answers", f"m-03={label}", "--answers", f"m-06={label}")
    result = cli("suite", "import", path, *answers, "--as", world.owner.email)
    assert "These answers are the baseline" in result.stdout
    assert "accuracy 1.000" in result.stdout
    assert "accuracy 0.000" in result.stdout
    first, second = Run.objects.order_by("created_at")
    assert (first.purpose, second.purpose) == ("baseline", "manual")
    assert (first.state, first.totals["answered"]) == ("complete", 2)
    assert first.sealed
    compared = compare_run(run=second)
    assert compared is not None
    assert list(compared.baseline.runs.all()) == [first]
    wrong = cli("suite", "import", path, "--answers", f"m-99={label}")
    assert wrong.exit_code == 1
    assert "Known: m-03, m-06" in wrong.stderr
