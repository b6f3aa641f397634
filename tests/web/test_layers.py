"""What the cheap layers found stands beside what the suites found."""

from __future__ import annotations

import datetime as dt

import pytest

from apps.core import clock
from apps.drift.models import (
    ChangeEvent,
    IdentityFinding,
    Probe,
    ProbeEvidence,
    ProbeRound,
)
from tests.web.acts import Person, first_line, words
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def probe(world: World) -> Probe:
    """Twelve rounds; the last two are over the alarm line."""
    now = clock.now()
    probe = Probe.objects.create(
        model_version=world.version,
        kind="logprob",
        phase="watching",
        interval_seconds=3600,
        collect_seconds=3600,
        days_wanted=1,
        rounds_wanted=3,
        alpha=0.01,
        log_e=6.0,
        max_log_e=6.0,
        rounds=12,
        tokens=4321,
        alarmed_at=now - dt.timedelta(hours=2),
    )
    for n in range(1, 13):
        at = now - dt.timedelta(hours=13 - n)
        ProbeRound.objects.create(
            probe=probe,
            number=n,
            due_at=at,
            phase="watching",
            asked=20,
            answered=20,
            log_e=6.0 if n > 10 else -0.1,
            max_log_e=6.0 if n > 10 else 0.0,
            started_at=at,
            finished_at=at,
        )
    return probe


def found(world: World, probe: Probe) -> ChangeEvent:
    now = clock.now()
    event = ChangeEvent.objects.create(
        number=1,
        model_version=world.version,
        verdict="changed_immaterial",
        window_start=now - dt.timedelta(hours=3),
        window_end=now - dt.timedelta(hours=1),
        sentence="Since 10:00 UTC, first tokens differ; the suites have not answered yet.",
    )
    ProbeEvidence.objects.create(
        change_event=event,
        round=probe.rounds_done.get(number=11),
        sentence="First tokens differ.",
    )
    return event


def finding(world: World, probe: Probe, *, telling: bool) -> IdentityFinding:
    return IdentityFinding.objects.create(
        model_version=world.version,
        probe=probe,
        facet="system_fingerprint",
        value=f"fp_{telling}",
        value_hash=str(telling),
        known=["fp_old"],
        surprise=0.01,
        telling=telling,
        seen_at=clock.now() - dt.timedelta(hours=2),
    )


def test_a_change_known_from_a_probe_alone_says_so(world: World, probe: Probe) -> None:
    found(world, probe)
    finding(world, probe, telling=True)
    response = Person(world.auditor).client.get("/changes/1/")
    assert first_line(response).startswith("Since 10:00 UTC, first tokens differ")
    text = words(response)
    assert "No suite has answered since" in text
    assert "First tokens differ." in text
    assert "over the alarm line 100 since" in text
    assert "at most 1 % over the whole life of this probe" in text
    assert "A new system fingerprint: “fp_True” (known so far: “fp_old”)" in text
    assert "new and telling" in text


def test_the_version_shows_its_probes_and_what_its_endpoint_says(
    world: World, probe: Probe
) -> None:
    finding(world, probe, telling=False)
    text = Person(world.auditor).get(f"/versions/{world.version.pk}/")
    assert "One-token log-probabilities alarm · 12 rounds" in text
    assert "probe, one-token log-probabilities" in text
    assert "endpoint says" in text
    text = Person(world.auditor).get(f"/versions/{world.version.pk}/", tab="identity")
    assert "new, routine here" in text
    assert "Nothing observed yet" not in text
