"""Probes against a real endpoint over HTTP: rounds exactly once, alarms, and what they set off."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.audit.services import SYSTEM
from apps.core import clock
from apps.core.errors import InvalidInput, NotAllowed
from apps.core.models import Outbox
from apps.drift import evidence, identity, probes_events, probing, probing_work
from apps.drift.models import ChangeEvent, IdentityFinding, Probe, ProbePhase, ProbeRound
from apps.drift.probes_prompts import PROBES, PROMPTS_REVISION
from apps.drift.stats.probes import ProbeWatch
from apps.evaluations.models import Run
from apps.registry.models import ModelVersion
from govtrack import pipeline
from tests.drift.story import ACCURACY, STYLE, baseline_of, compared, run_of, suite
from tests.fixtures.provider import Provider, Server
from tests.world import World, approve

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(models=["assistant-instant"], logprobs=True, jitter=0.02) as server:
        yield server


@pytest.fixture
def version(world: World, provider: Provider) -> ModelVersion:
    world.endpoint.base_url = provider.url
    world.endpoint.save(update_fields=["base_url"])
    return ModelVersion.objects.select_related("endpoint").get(pk=world.version.pk)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that is moved by hand."""
    now = [dt.datetime(2026, 11, 2, 8, 0, tzinfo=dt.UTC)]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    def move(**delta: float) -> None:
        now[0] += dt.timedelta(**delta)

    return move


def begin(version: ModelVersion, *kinds: str, rounds: int = 24) -> Probe:
    [probe] = probing.start_probes(
        actor=SYSTEM, model_version=version, kinds=kinds, collect_seconds=60, days_wanted=0
    )
    Probe.objects.filter(pk=probe.pk).update(rounds_wanted=rounds)
    return Probe.objects.get(pk=probe.pk)


def go(day: Any, probe: Probe, *, rounds: int) -> Probe:
    """Let so many rounds become due and be worked off."""
    for _ in range(rounds):
        [claimed] = probing.claim(owner="tests")
        assert probing_work.work_off(claimed) is not None
        day(days=2)
    return Probe.objects.get(pk=probe.pk)


def collected(day: Any, probe: Probe, provider: Provider, *, rounds: int) -> Probe:
    """So many rounds as if they had been asked: the provider's own answers, without the calls."""
    for _ in range(rounds):
        due_at = probe.next_due_at
        assert due_at is not None
        watch = probing_work._watch(probe, tokens=False)
        tops = {
            text: [
                (t["token"], round(t["logprob"], 5))
                for t in Server(provider.state).logprobs(text)["content"][0]["top_logprobs"]
            ]
            for text in PROBES
        }
        phase, look = watch.phase, watch.observe_round(f"round {probe.rounds + 1}", tops)
        probe.state = watch.to_state()
        probe.log_e, probe.max_log_e = watch.log_e, watch.max_log_e
        if watch.phase == "watching":
            probe.phase = ProbePhase.WATCHING
        probing.store_round(
            probe,
            due_at=due_at,
            phase=phase,
            asked=20,
            answered=20,
            tokens=140,
            latency_ms=1.0,
            answers=tops,
            ranks=dict(look.ranks),
            started_at=clock.now(),
        )
        day(days=2)
    return Probe.objects.get(pk=probe.pk)


class TestARound:
    def test_is_stored_once_with_what_was_answered(self, version, provider, day):
        probe = begin(version, "logprob")
        probe = go(day, probe, rounds=1)
        [row] = ProbeRound.objects.filter(probe=probe)
        assert (row.asked, row.answered, row.phase) == (20, 20, "reference")
        assert set(row.answers) == set(PROBES)
        assert len(row.answers[PROBES[0]]) == 20
        assert provider.stats()["last_body"]["max_tokens"] == 1
        assert provider.stats()["last_body"]["top_logprobs"] == 20
        assert row.tokens == probe.tokens > 0
        with pytest.raises(IntegrityError), transaction.atomic():
            ProbeRound.objects.filter(pk=row.pk).update(tokens=0)

    def test_is_leased_to_one_worker_and_comes_back_when_that_worker_dies(self, version, day):
        begin(version, "logprob")
        [first] = probing.claim(owner="a")
        assert probing.claim(owner="b") == []
        day(minutes=10)
        [second] = probing.claim(owner="b")
        assert second.due_at == first.due_at
        assert probing_work.work_off(second) is not None
        assert probing_work.work_off(first) is None  # the first worker wakes up too late
        assert ProbeRound.objects.count() == 1

    def test_keeps_its_problem_when_the_endpoint_fails(self, version, provider, day):
        probe = begin(version, "logprob")
        provider.fail("status", status=401)
        probe = go(day, probe, rounds=1)
        [row] = ProbeRound.objects.filter(probe=probe)
        assert (row.answered, row.phase) == (0, "failed")
        assert "credential" in row.problem
        assert probe.state == {}
        assert probe.next_due_at > row.due_at

    def test_asks_at_other_times_each_day(self, version, day):
        probe = begin(version, "logprob")
        times = [probing.next_due(probe, clock.now() + dt.timedelta(days=i), 400) for i in range(8)]
        assert len({t.time() for t in times}) == 8

    def test_spends_no_more_than_the_days_tokens(self, version, day, settings):
        settings.GOVTRACK = {**settings.GOVTRACK, "PROBE_TOKENS_A_DAY": 100}
        probe = begin(version, "logprob")
        probe.phase = ProbePhase.WATCHING
        assert probing.next_due(probe, clock.now(), 700) > clock.now() + dt.timedelta(days=7)


class TestTheWatch:
    def test_stays_quiet_while_only_load_moves(self, version, provider, day):
        probe = collected(day, begin(version, "logprob"), provider, rounds=120)
        assert probe.phase == ProbePhase.WATCHING
        assert probe.alarmed_at is None
        assert probe.log_e < 1.0

    def test_finds_another_model_in_the_first_round_after_it(self, version, provider, day):
        probe = collected(day, begin(version, "logprob"), provider, rounds=24)
        provider.set(shift=1.0)
        probe = go(day, probe, rounds=1)
        assert probe.alarmed_at is not None
        assert Outbox.objects.filter(topic="probe.alarmed").count() == 1

    def test_can_be_computed_again_from_its_rounds_to_the_last_bit(self, version, provider, day):
        probe = collected(day, begin(version, "logprob"), provider, rounds=23)
        probe = go(day, probe, rounds=3)
        watch = ProbeWatch(key=str(probe.pk), references=6, calibration=18)
        for row in probe.rounds_done.order_by("number"):
            watch.observe_round(f"round {row.number}", row.answers)
        assert {**watch.to_state(), "texts": PROMPTS_REVISION} == probe.state
        assert watch.log_e == probe.log_e

    def test_goes_on_collecting_until_its_baseline_covers_days_and_hours(self, version, day):
        probe = begin(version, "logprob", rounds=8)
        Probe.objects.filter(pk=probe.pk).update(days_wanted=17)
        probe = go(day, probe, rounds=8)
        assert probe.phase == ProbePhase.COLLECTING
        assert "too narrow" in probe.note
        assert "of 17 days" in probe.note
        assert "no round between" in probe.note  # each at eight in the morning
        for _ in range(3):
            day(hours=6)
            probe = go(day, probe, rounds=1)
        assert probe.phase == ProbePhase.WATCHING

    def test_says_that_nothing_moved_while_it_was_collected(self, version, provider, day):
        provider.set(jitter=0.0)
        probe = collected(day, begin(version, "logprob"), provider, rounds=23)
        probe = go(day, probe, rounds=1)
        assert "never under load" in probe.note


class TestWithoutLogprobs:
    def test_border_inputs_take_over(self, version, provider, day):
        provider.set(logprobs=False)
        probe = go(day, begin(version, "logprob"), rounds=1)
        assert probe.phase == ProbePhase.UNSUPPORTED
        assert Probe.objects.get(model_version=version, kind="border").enabled

    def test_prompts_are_screened_and_a_flip_is_found(self, version, provider, day):
        provider.set(logprobs=False, flip=0.4)
        probe = go(day, begin(version, "border", rounds=24), rounds=1)
        assert len(probe.state["chosen"]) > 5
        while not probe.state.get("kind"):
            probe = go(day, probe, rounds=1)
        assert len(probe.state["prompts"]) == 20
        provider.set(flip=0.0)
        while probe.phase == ProbePhase.COLLECTING:
            probe = go(day, probe, rounds=1)
        assert probe.alarmed_at is None
        provider.set(generation=2)
        probe = go(day, probe, rounds=2)
        assert probe.alarmed_at is not None


class TestIdentity:
    def test_a_fingerprint_never_seen_is_a_telling_finding_and_starts_the_suites(
        self, world, version, provider, day, monkeypatch
    ):
        monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
        probe = go(day, begin(version, "identity"), rounds=6)
        assert IdentityFinding.objects.count() == 0
        locked = Probe.objects.get(pk=probe.pk)
        for i in range(40):
            identity.observe(
                locked,
                round_key=f"earlier {i}",
                seen={"system_fingerprint": ["fp_1"]},
                at=clock.now(),
            )
        locked.save_versioned("state")
        begin(version, "logprob")
        provider.set(generation=7)
        for claimed in probing.claim(owner="tests", limit=2):
            probing_work.work_off(claimed)
        found = IdentityFinding.objects.get(facet="system_fingerprint")
        assert (found.value, found.known, found.telling) == ("fp_7", ["fp_1"], True)
        assert found.surprise <= 0.05
        assert Outbox.objects.filter(topic="identity.changed").count() == 1
        assert probe.alarmed_at is None

    def test_a_new_entry_in_the_list_of_models_is_found(self, version, provider, day):
        probe = go(day, begin(version, "identity"), rounds=1)
        [row] = probe.rounds_done.all()
        for i in range(300):
            identity.observe(probe, round_key=f"earlier {i}", seen=row.answers, at=clock.now())
        probe.save_versioned("state")
        provider.set(catalogue={"max_model_len": 4096})
        probe = go(day, probe, rounds=8)
        assert IdentityFinding.objects.get(facet="catalogue").telling
        assert probe.alarmed_at is not None

    def test_another_tokenizer_shows_in_the_counts_of_fixed_texts(self, version, provider, day):
        go(day, begin(version, "identity"), rounds=1)
        probing.start_probes(
            actor=SYSTEM, model_version=version, kinds=["logprob"], collect_seconds=60
        )
        for claimed in probing.claim(owner="tests", limit=2):
            probing_work.work_off(claimed)
        state = Probe.objects.get(kind="identity").state
        [kind] = state["facets"]["token_counts"]["kinds"]
        assert "2026-11/1: 6," in kind


class TestAnAlarm:
    @pytest.fixture
    def alarmed(self, world, version, provider, day, monkeypatch) -> ProbeRound:
        monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
        approve(world)
        # Large enough to show that nothing changed: a suite that cannot counts as material.
        wide = replace(ACCURACY, margin=0.3)
        self.revision = suite(cases=60, metrics=(wide, STYLE))
        baseline_of(world, self.revision, replicates=5)
        from apps.evaluations import services as evaluations

        evaluations.create_schedule(
            actor=world.owner,
            model_version=world.version,
            suite_revision=self.revision,
            interval_seconds=86_400,
        )
        probe = collected(day, begin(version, "logprob"), provider, rounds=24)
        provider.set(shift=1.0)
        go(day, probe, rounds=1)
        return ProbeRound.objects.filter(probe=probe).latest("number")

    def test_opens_a_change_event_and_starts_the_suites_at_once(self, world, alarmed):
        pipeline.drain_once()
        event = ChangeEvent.objects.get()
        assert event.verdict == "changed_immaterial"
        assert "log-probabilities of first tokens" in event.sentence
        assert event.window_start < event.window_end == alarmed.finished_at
        run = Run.objects.get(purpose="scheduled")
        assert run.urgency == Run.Urgency.URGENT
        assert "C-1" in run.reason
        assert probes_events.answer_alarm(round=alarmed) == event
        assert Run.objects.filter(purpose="scheduled").count() == 1

    def test_stays_immaterial_when_the_suites_are_equivalent(self, world, alarmed, day):
        pipeline.drain_once()
        day(hours=1)
        comparison = compared(run_of(world.version, self.revision, seed=2, replicates=5))
        assert comparison.log_e < 1
        pipeline.drain_once()
        event = ChangeEvent.objects.get()
        assert event.verdict == "changed_immaterial"
        assert "suites rerun since then see no change of their own" in event.sentence

    def test_becomes_material_when_a_suite_says_so(self, world, alarmed, day):
        pipeline.drain_once()
        for seed in range(3):
            day(hours=1)
            compared(run_of(world.version, self.revision, seed=seed, changed=True))
            pipeline.drain_once()
        event = ChangeEvent.objects.get()
        assert event.verdict == "changed_material"
        assert event.probe_evidence.count() == 1
        assert event.comparisons.exists()

    def test_after_a_decision_the_probes_begin_anew(self, world, alarmed, day):
        pipeline.drain_once()
        evidence.end_life(model_version=world.version, reason="Re-approved.")
        assert probing.renew() == 1
        fresh = Probe.objects.get(kind="logprob", retired_at__isnull=True)
        assert (fresh.phase, fresh.alarmed_at) == (ProbePhase.COLLECTING, None)
        assert probing.renew() == 0


def test_other_fixed_texts_begin_another_watch(version, provider, day):
    probe = go(day, begin(version, "logprob"), rounds=1)
    assert probing.renew() == 0
    Probe.objects.filter(pk=probe.pk).update(state={**probe.state, "texts": "2020-01/1"})
    assert probing.renew() == 1
    assert Probe.objects.get(kind="logprob", retired_at__isnull=True).pk != probe.pk


class TestTheVerbs:
    def test_approved_versions_are_probed_by_default(self, world, version):
        assert probing.ensure_probes() == 0
        approve(world)
        assert probing.ensure_probes() == 1
        kinds = set(Probe.objects.values_list("kind", flat=True))
        assert kinds == {"identity", "logprob"}  # the version asks at temperature 0
        assert probing.ensure_probes() == 0

    def test_beginning_twice_leaves_what_runs(self, world, version):
        first = probing.start_probes(actor=world.owner, model_version=version)
        assert probing.start_probes(actor=world.owner, model_version=version) == first

    def test_an_auditor_begins_nothing(self, world, version):
        with pytest.raises(NotAllowed):
            probing.start_probes(actor=world.auditor, model_version=version)

    def test_an_unknown_kind_is_named(self, world, version):
        with pytest.raises(InvalidInput, match="passive"):
            probing.start_probes(actor=world.owner, model_version=version, kinds=["passive"])

    def test_a_new_baseline_begins_new_watches_and_keeps_the_old_ones(self, world, version, day):
        old = go(day, begin(version, "logprob"), rounds=1)
        [fresh] = probing.restart_probes(actor=world.owner, model_version=version)
        old.refresh_from_db()
        assert old.retired_at is not None
        assert old.rounds_done.count() == 1
        assert (fresh.rounds, fresh.phase, fresh.state) == (0, ProbePhase.COLLECTING, {})
