"""`govtrack gate --url`: a pipeline on another machine asks by label, over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

from apps.access.services import create_token
from apps.core import clock
from tests.e2e.conftest import Stage


def ask(stage: Stage, version: str, secret: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "govtrack.cli", "gate", "claims-triage", version]
    return subprocess.run(
        [*argv, "--url", stage.url],
        env={"PATH": os.environ["PATH"], "GOVTRACK_TOKEN": secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_remote_gate_answers_by_label(stage: Stage) -> None:
    auditor = stage.story.world.auditor
    _, secret = create_token(
        actor=auditor,
        user=auditor,
        name="ci",
        scopes=["gate"],
        expires_at=clock.now() + timedelta(days=1),
    )
    asked = ask(stage, "assistant-instant", secret)
    assert (asked.returncode, asked.stdout[:5]) == (0, "allow"), asked.stdout + asked.stderr
    unknown = ask(stage, "gpt-nothing", secret)
    assert unknown.returncode == 1
    assert "no such use case or version" in unknown.stderr
    refused = ask(stage, "assistant-instant", "gvt_wrong")
    assert refused.returncode == 1
    assert "gvt_wrong" not in refused.stdout + refused.stderr
