"""`govtrack recompute FILE` needs the file and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apps.drift.recomputing import document
from apps.drift.services import open_or_extend_change_event
from tests.cli.conftest import Cli
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.world import World


def test_the_file_of_a_change_gives_its_numbers_again(
    cli: Cli, world: World, tmp_path: Path
) -> None:
    baseline_of(world, suite())
    event = open_or_extend_change_event(
        comparison=compared(run_of(world.version, suite(), seed=4, changed=True))
    )
    assert event is not None
    told = document(event)
    file = tmp_path / "C-1.json"
    file.write_text(json.dumps(told))
    result = cli("recompute", file)
    assert result.exit_code == 0, result.stderr
    assert "recorded numbers of 1 looks come out again" in result.stdout

    told["baselines"][0]["looks"][0]["recorded"]["log_e"] += 1
    file.write_text(json.dumps(told))
    result = cli("recompute", file)
    assert result.exit_code == 1
    assert "look 1: combined log e-value: recorded" in result.stderr


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "x"}', "[" * 100_000])
def test_a_file_of_another_kind_is_refused(cli: Cli, tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    result = cli("recompute", file)
    assert result.exit_code == 1
    assert "other.json" in result.stderr.replace("\n", "")
    assert cli("recompute", tmp_path / "missing.json").exit_code == 1
