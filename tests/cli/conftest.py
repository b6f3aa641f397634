from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from govtrack.cli import app
from tests.world import world

__all__ = ["world"]

Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in this process, on the database of the test."""
    for name in ("GOVTRACK_AS", "GOVTRACK_URL", "GOVTRACK_TOKEN", "GOVTRACK_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOVTRACK_LOG_LEVEL", "WARNING")

    def call(*args: object, **fields: Any) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in args], **fields)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception  # a person would have seen a traceback
        return result

    return call
