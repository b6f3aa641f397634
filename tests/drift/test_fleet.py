"""Many versions: who is flagged at a false discovery rate of 5 %."""

from __future__ import annotations

import dataclasses
import math

from apps.drift import evidence
from apps.drift.fleet import flagged
from apps.registry.models import ModelVersion
from tests.drift.story import baseline_of, compared, run_of, suite
from tests.fixtures.pages import page, signed_in
from tests.world import World


def look(version: ModelVersion, *e_values: float) -> None:
    """Looks of one source that holds 0.9 of the version's capital."""
    source = evidence.attach(model_version=version, kind=evidence.Kind.SUITE, key="suite")
    for n, e in enumerate(e_values):
        evidence.advance(source=source, log_e=math.log(e), ref=str(n))
        source.refresh_from_db()


def test_what_flags_one_of_one_is_not_enough_among_many(world: World) -> None:
    look(world.version, 30.0)
    everything = ModelVersion.objects.all()
    assert [v for v, _ in flagged(everything).versions] == [world.version]
    for n in range(5):
        look(world.another_version(f"other-{n}"), 1.0)
    fleet = flagged(everything)
    assert (fleet.versions, fleet.versions_tested) == ([], 6)
    assert fleet.sentence.startswith("None of 6 watched versions")


def test_an_alarm_counts_as_strong_as_it_was_when_raised(world: World) -> None:
    look(world.version, 500.0, 0.5)
    for n in range(5):
        look(world.another_version(f"other-{n}"), 90.0, 0.5)
    fleet = flagged(ModelVersion.objects.all())
    assert [v for v, _ in fleet.versions] == [world.version]
    assert math.exp(fleet.versions[0][1]) > 400


def test_the_changed_metric_of_the_changed_version_is_named_on_page_and_api(world: World) -> None:
    other = dataclasses.replace(world, version=world.another_version("assistant-b"))
    for w in (world, other):
        baseline_of(w, suite())
        compared(run_of(w.version, suite(), seed=2))
    for seed in (3, 4, 5):
        compared(run_of(world.version, suite(), seed=seed, changed=True))
        compared(run_of(other.version, suite(), seed=seed))
    client = signed_in(world.lead)
    told = client.get("/api/v1/fleet").json()
    assert [v["name"] for v in told["versions"]] == [world.version.label]
    assert {(m["model_version"], m["suite"]) for m in told["metrics"]} == {
        (str(world.version.pk), "claims-triage")
    }
    assert "accuracy" in {m["metric_key"] for m in told["metrics"]}
    assert told["sentence"].startswith("1 of 2 watched versions is flagged")
    assert "1 of 2 watched versions is flagged" in page(client, "/")


def test_who_may_see_nothing_is_told_nothing(world: World) -> None:
    look(world.version, 500.0)
    assert signed_in(world.outsider).get("/api/v1/fleet").status_code == 403
