"""The page of a version's probes and control arms."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.core import clock
from apps.drift import control_arms, probing
from apps.drift.models import ChangeEvent, ControlArm, EvidenceSource, Probe, ProbeRound
from tests.web.acts import Person, first_line, words
from tests.world import World, approve

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr("apps.drift.probes_acts.wake", lambda: calls.append(1))
    return calls


def begun(world: World, *kinds: str, phase: str = "watching", **fields: Any) -> list[Probe]:
    made = probing.start_probes(actor=world.owner, model_version=world.version, kinds=kinds)
    for probe in made:
        for name, value in {"phase": phase, **fields}.items():
            setattr(probe, name, value)
        probe.save()
    return made


def asked(probe: Probe, number: int, *, hours_ago: float, **fields: Any) -> ProbeRound:
    at = clock.now() - dt.timedelta(hours=hours_ago)
    values: dict[str, Any] = {
        "probe": probe,
        "number": number,
        "due_at": at,
        "phase": "calibration",
        "asked": 20,
        "answered": 20,
        "tokens": 193,
        "latency_ms": 40.0 + number,
        "at_once": (1, 2, 4)[number % 3],
        "log_e": 0.0,
        "max_log_e": 0.0,
        "started_at": at,
        "finished_at": at,
    }
    return ProbeRound.objects.create(**values | fields)


def at(world: World, rest: str = "") -> str:
    return f"/versions/{world.version.pk}/probes/{rest}"


def test_without_probes_the_page_says_what_to_do_first(world: World) -> None:
    owner = Person(world.owner)
    response = owner.client.get(at(world))
    assert "is not probed: only reruns of suites would notice a change" in first_line(response)
    assert "No probe looks at this version" in words(response)
    assert "Turn probes on" in words(response)
    assert "Turn probes on" not in Person(world.auditor).get(at(world))
    Person(world.outsider).get(at(world), status=404)

    owner.post(at(world, "start/"))
    assert {p.kind for p in Probe.objects.all()} == {"identity", "logprob"}
    assert "Two probes of" in first_line(owner.client.get(at(world)))
    Person(world.auditor).post(at(world, "start/"), status=403, kind="border")


def test_a_probe_shows_what_its_baseline_covers_and_what_it_costs(world: World) -> None:
    [probe] = begun(world, "logprob", phase="collecting", tokens=965, note="Baseline too narrow.")
    Probe.objects.filter(pk=probe.pk).update(created_at=clock.now() - dt.timedelta(days=5))
    for n in range(1, 6):
        asked(probe, n, hours_ago=6 * n)
    text = Person(world.auditor).get(at(world))
    assert "One probe of assistant-instant is still recording a baseline" in text
    assert "5 of 26 rounds over 1 day of 7 days" in text
    assert "By hour (UTC): 00–06 h" in text
    assert "1 at once 1 · 2 at once 2 · 4 at once 2" in text
    assert "Median latency of a round 41 … 45 ms" in text
    assert "193 a day of late" in text
    assert "Baseline too narrow." in text
    assert "Ask a round now" not in text  # an auditor reads


def test_an_alarm_is_said_first_and_the_line_is_the_probes_own(world: World) -> None:
    [probe] = begun(world, "logprob", alarmed_at=clock.now(), log_e=8.0, max_log_e=8.0)
    asked(probe, 1, hours_ago=1, phase="watching", log_e=8.0, max_log_e=8.0)
    EvidenceSource.objects.update(weight=0.2)
    response = Person(world.auditor).client.get(at(world))
    assert (
        first_line(response)
        == "The probe for log-probabilities says that assistant-instant changed."
    )
    # (100 - 0.8) / 0.2: what alone carries the version's e-value over 100.
    assert "alone it raises the alarm at 496" in words(response)
    assert "over the alarm line 496" in words(response)


def test_border_inputs_say_how_many_are_still_undecided(world: World) -> None:
    [probe] = begun(world, "border")
    probe.state = {"prompts": ["a", "b", "c"]}
    probe.save()
    for n, answer in enumerate(("x", "y", "x"), start=1):
        asked(probe, n, hours_ago=n, phase="watching", answers={"a": answer, "b": "z", "c": "z"})
    text = Person(world.auditor).get(at(world))
    assert "1 of 3 were answered in more than one way in the last 3 rounds" in text


def test_a_round_is_asked_now_with_a_reason_on_record(world: World, woken: list[int]) -> None:
    [probe] = begun(world, "logprob")
    Probe.objects.update(next_due_at=clock.now() + dt.timedelta(days=1))
    url = at(world, f"{probe.pk}/now/")
    Person(world.auditor).post(url, status=403, reason="A hunch.")
    owner = Person(world.owner)
    owner.post(url, reason=" ")
    assert "A reason is needed." in owner.get(at(world))
    probe.refresh_from_db()
    assert probe.next_due_at
    assert probe.next_due_at > clock.now()

    owner.post(url, reason="A customer says so.")
    probe.refresh_from_db()
    assert probe.next_due_at
    assert probe.next_due_at <= clock.now()
    entry = AuditEvent.objects.get(action="drift.probe_asked_now")
    assert "A customer says so." in entry.summary
    assert "Ask a round now?" in owner.get(at(world))


def test_a_paused_probe_asks_nothing_until_it_is_resumed(world: World) -> None:
    [probe] = begun(world, "logprob")
    owner = Person(world.owner)
    owner.post(at(world, f"{probe.pk}/pause/"), read=probe.row_version)
    assert "paused" in owner.get(at(world))
    assert "no probe is both possible and turned on" in owner.get(at(world))
    owner.post(at(world, f"{probe.pk}/now/"), reason="Now.")
    assert "This probe is paused. Resume it first." in owner.get(at(world))
    owner.post(at(world, f"{probe.pk}/resume/"), status=412, read=1)
    owner.post(at(world, f"{probe.pk}/resume/"))
    probe.refresh_from_db()
    assert probe.enabled
    owner.post(at(world, f"{probe.pk}/explode/"), status=404)


def test_a_baseline_recorded_again_ends_the_old_probe_and_keeps_it_readable(
    world: World,
) -> None:
    [probe] = begun(world, "logprob", rounds=40, alarmed_at=clock.now(), max_log_e=7.0)
    url = at(world, f"{probe.pk}/again/")
    Person(world.validator).post(url, status=403, reason="x")
    owner = Person(world.owner)
    owner.post(url, reason="The endpoint moved to another region.")
    fresh = Probe.objects.get(retired_at__isnull=True)
    assert (fresh.kind, fresh.phase, fresh.rounds) == ("logprob", "collecting", 0)
    # What the old one staked is over; the new one has a stake of its own.
    assert EvidenceSource.objects.get(key=str(probe.pk)).closed_at
    assert EvidenceSource.objects.get(key=str(fresh.pk)).closed_at is None
    text = owner.get(at(world))
    assert "1 earlier probe" in text
    assert (
        "moved to another region"
        in AuditEvent.objects.get(action="drift.probe_recorded_again").summary
    )
    owner.post(url, reason="Again.")
    assert "This probe has ended" in owner.get(at(world))


def test_what_the_budget_cannot_see_follows_what_is_turned_on(world: World) -> None:
    def said() -> str:
        text = Person(world.auditor).get(at(world))
        return text[text.index("What this budget cannot see With") : text.index("Control arms A")]

    unseen, seen = said().split("kinds of change that it does see")
    assert (
        "A hidden system prompt, weights or caches of fewer bits, an edited layer not seen"
        in unseen
    )
    assert "No probe looks at the numbers, and no suite is rerun." in unseen

    [_border] = begun(world, "border")
    unseen, seen = said().split("kinds of change that it does see")
    assert "A key-value cache at eight bits (q8_0) not seen" in unseen
    assert "A key-value cache at four bits (q4_0) late, or in part" in unseen
    assert "A hidden system prompt seen" in seen

    begun(world, "logprob")
    unseen, seen = said().split("kinds of change that it does see")
    assert "q8_0" not in unseen
    assert "A key-value cache at eight bits (q8_0) seen" in seen
    assert "A retraining so small" in unseen
    # This version asks at temperature 0: nothing is drawn.
    assert "Another temperature, top-p or penalty not seen" in unseen
    assert "asks at temperature 0" in unseen


def test_an_assumption_that_no_rerun_could_see_break_is_named(world: World) -> None:
    approval = approve(world)
    text = Person(world.auditor).get(at(world))
    assert f"A break of {approval} A1: Sorts claims correctly" in text
    assert "has no baseline of this version" in text


def test_a_control_is_added_seen_and_taken_off(world: World) -> None:
    pinned = world.another_version()
    owner = Person(world.owner)
    assert "None yet: when something changes here" in owner.get(at(world))
    url = f"/versions/{world.version.pk}/controls/"
    Person(world.auditor).post(f"{url}add/", status=403, control=str(pinned.pk))
    owner.post(f"{url}add/", control="nonsense")
    assert "Choose the version that is to be the control." in owner.get(at(world))
    owner.post(f"{url}add/", control=str(pinned.pk))
    text = owner.get(at(world))
    assert "cannot speak yet" in text
    assert "both need a baseline and reruns on the same suite revision" in text
    arm = ControlArm.objects.get()
    owner.post(f"{url}{arm.pk}/remove/")
    assert not ControlArm.objects.exists()


@pytest.mark.parametrize(
    ("together", "verdict"),
    [(True, "moved too: it is us"), (False, "stood still: it is the vendor")],
)
def test_a_control_says_whether_it_is_us(world: World, together: bool, verdict: str) -> None:
    from tests.drift.test_control_arms import change

    pinned = world.another_version()
    control_arms.add_control(actor=world.owner, model_version=world.version, control_version=pinned)
    event: ChangeEvent = change(world, pinned, control_moves=together)
    text = Person(world.auditor).get(at(world))
    assert verdict in text
    assert f"on {event}" in text


def test_a_version_links_to_its_probes(world: World) -> None:
    response = Person(world.auditor).client.get(f"/versions/{world.version.pk}/")
    assert at(world) in response.content.decode()
    assert f"{at(world)}#blind" in response.content.decode()


def test_an_installation_without_probes_says_so(world: World, settings: Any) -> None:
    settings.GOVTRACK = {**settings.GOVTRACK, "PROBES": False}
    [probe] = begun(world, "logprob")
    owner = Person(world.owner)
    assert "Probes are switched off on this installation." in owner.get(at(world))
    owner.post(at(world, f"{probe.pk}/now/"), reason="Now.")
    assert "so no round would be asked" in owner.get(at(world))
