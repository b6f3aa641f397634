"""What production reports: once, without content, and found within minutes."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from apps.core import clock
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.core.models import Outbox
from apps.drift import observations
from apps.drift.models import IdentityFinding, ObservedTraffic, Probe
from tests.world import World

pytestmark = pytest.mark.django_db


def seen(world: World, **fields: Any) -> dict[str, Any]:
    return {
        "model_version": world.version.pk,
        "observed_at": clock.now(),
        "returned_model": "assistant-instant",
        "system_fingerprint": "fp_1",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "latency_ms": 100.0,
        **fields,
    }


def take(world: World, *items: dict[str, Any], batch: str = "") -> observations.Taken:
    return observations.take(
        actor=world.owner, batch_id=batch or uuid.uuid4().hex, observations=items
    )


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = [dt.datetime(2026, 11, 2, 8, 0, tzinfo=dt.UTC)]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    def move(minutes: float = 1.0) -> None:
        now[0] += dt.timedelta(minutes=minutes)

    return move


def test_a_batch_is_counted_once_however_often_it_is_sent(world):
    items = [seen(world), seen(world, system_fingerprint="fp_2", error=True)]
    assert take(world, *items, batch="b1") == observations.Taken(2, 0, False)
    assert take(world, *items, batch="b1") == observations.Taken(2, 0, True)
    rows = {r.system_fingerprint: r for r in ObservedTraffic.objects.all()}
    assert (rows["fp_1"].requests, rows["fp_1"].prompt_tokens) == (1, 10)
    assert (rows["fp_2"].requests, rows["fp_2"].errors) == (1, 1)
    with pytest.raises(Conflict, match="batch id"):
        take(world, seen(world), batch="b1")


def test_traffic_is_matched_by_address_and_name_and_strangers_are_counted(world):
    named = seen(world, base_url=world.endpoint.base_url + "/", requested_name="assistant-instant")
    del named["model_version"]
    other = {**named, "requested_name": "somebody-elses"}
    assert take(world, named, other) == observations.Taken(1, 1, False)
    assert ObservedTraffic.objects.get().model_version == world.version


def test_a_fingerprint_never_seen_is_found_and_alarms_within_minutes(world, minute):
    for i in range(60):
        take(world, seen(world, system_fingerprint=f"fp_{i % 3}"))
        minute()
    assert IdentityFinding.objects.count() == 0
    switched = clock.now()
    minutes = 0
    while not Probe.objects.get().alarmed_at and minutes < 30:
        take(world, seen(world, system_fingerprint="fp_new"))
        minute()
        minutes += 1
    finding = IdentityFinding.objects.get()
    assert (finding.value, finding.telling) == ("fp_new", True)
    assert finding.seen_at == switched
    assert Outbox.objects.filter(topic="identity.changed").count() == 1
    assert minutes <= 20


def test_a_known_rotation_never_alarms(world, minute):
    for i in range(200):
        take(world, seen(world, system_fingerprint=f"fp_{(i * 7) % 4}"))
        minute()
    probe = Probe.objects.get()
    assert probe.max_log_e < 1
    assert IdentityFinding.objects.filter(telling=True).count() == 0


def test_fingerprints_that_are_new_each_time_are_routine(world, minute):
    for i in range(100):
        take(world, seen(world, system_fingerprint=f"fp_{i}"))
        minute()
    probe = Probe.objects.get()
    assert probe.alarmed_at is None
    assert not IdentityFinding.objects.filter(telling=True).exists()


def test_a_hundred_batches_in_a_minute_are_one_look(world, minute):
    for _ in range(20):
        take(world, seen(world))
    assert Probe.objects.get().rounds == 1
    assert ObservedTraffic.objects.get().requests == 20


def test_what_is_too_old_or_too_much_is_refused(world):
    old = seen(world, observed_at=clock.now() - dt.timedelta(days=3))
    with pytest.raises(InvalidInput, match="older than"):
        take(world, old)
    with pytest.raises(InvalidInput, match="1 to 1000"):
        take(world, *[seen(world)] * 1001)
    with pytest.raises(InvalidInput):
        take(world)


def test_an_auditor_reports_nothing(world):
    with pytest.raises(NotAllowed):
        observations.take(actor=world.auditor, batch_id="x", observations=[seen(world)])
