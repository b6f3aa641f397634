"""`govtrack rescore`: stored answers scored again from the command line."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from apps.evaluations import rescoring
from apps.evaluations.models import Scoring
from tests.cli.conftest import Cli
from tests.evaluations.scoring.story import answered, revision
from tests.world import World


@pytest.fixture(autouse=True)
def _the_worker_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    monkeypatch.setattr("apps.evaluations.wake.scorers", lambda: None)
    real = Scoring.refresh_from_db

    def worked(self: Scoring, *given: Any, **more: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            rescoring.work()
        real(self, *given, **more)

    monkeypatch.setattr(Scoring, "refresh_from_db", worked)


def test_it_says_the_new_values_beside_the_first(cli: Cli, world: World) -> None:
    run = answered(revision(2), "a motor claim", "no idea", version=world.version)
    result = cli("rescore", run.pk, "--as", world.owner.email, "--reason", "Mended.")
    assert result.exit_code == 0, result.stderr
    assert "Scoring revision 2: 2 answers, by the suite's rules." in result.stdout
    assert "accuracy" in result.stdout
    assert Scoring.objects.get().reason == "Mended."


def test_a_run_that_is_not_there_and_options_that_exclude_each_other(
    cli: Cli, world: World
) -> None:
    assert "there is none" in cli("rescore", "nonsense", "--as", world.owner.email).stderr
    both = cli("rescore", "x", "--judge", "a", "--embedding")
    assert (both.exit_code, "or neither" in both.stderr) == (2, True)
