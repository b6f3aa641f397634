"""The story of `live_product`: probes on the unchanged model, a switch, the alarm, the event."""

from __future__ import annotations

import datetime as dt
import math
import time
from typing import Any

from celery import current_app
from rich.console import Console

from apps.core import clock
from apps.drift import probing
from apps.drift.models import ChangeEvent, Comparison, Probe, ProbeKind, ProbePhase, ProbeRound
from apps.drift.probing_tasks import WORK
from apps.evaluations.models import Run, RunState, Schedule
from apps.evaluations.services import create_schedule
from govtrack.demo import provider
from govtrack.demo.scenario import RERUN_SECONDS, Scenario, Setting

QUIET_ROUNDS = 8
ROUND_SECONDS = 6
FAR = dt.timedelta(days=1)


class Story(Scenario):
    """The demo's people, provider, suites and approval; then probes instead of waiting for a
    scheduled rerun."""

    def __init__(self, setting: Setting, console: Console, *, kind: str) -> None:
        super().__init__(setting, console)
        self.kind = kind

    def play(self) -> dict[str, Any]:
        with self.phase("register", "1. Register provider, version, use case, suites"):
            self.register()
            # The approval would begin all probes at the pace of a real day; these are quicker.
            self.probes = probing.start_probes(
                actor=self.world.people["owner"],
                model_version=self.world.version,
                kinds=[ProbeKind.IDENTITY, ProbeKind.LOGPROB],
                interval_seconds=ROUND_SECONDS,
                collect_seconds=2,
                days_wanted=0.0,
            )
            # Their stakes are dealt together with those of the suites: none looks before.
            self.switch_probes(on=False)
        with self.phase("baseline", "2. Baselines of the suites; approval"):
            self.baseline()
        with self.phase("quiet", "3. Reruns and probes of the unchanged model, side by side"):
            self.quiet_hours()
        with self.phase("change", f"4. The provider switches to {self.kind}. Nobody is told"):
            self.switch()
        with self.phase("detect", "5. The next round of the probe"):
            self.alarm()
        with self.phase("suites", "6. The suites that the alarm started"):
            self.suites()
        return self.result()

    def quiet_hours(self) -> None:
        self.switch_probes(on=True)
        for place, revision in enumerate(self.revisions):
            schedule = create_schedule(
                actor=self.world.people["owner"],
                model_version=self.world.version,
                suite_revision=revision,
                interval_seconds=2 * RERUN_SECONDS[place],
                on_alarm=True,
            )
            first = clock.now() + dt.timedelta(seconds=place * 8)
            Schedule.objects.filter(pk=schedule.pk).update(next_due_at=first)
        self.until(self.watching, 420, "the probe's baseline")
        # From here on only an alarm starts a suite.
        Schedule.objects.update(next_due_at=clock.now() + FAR)
        self.until(lambda: not Run.objects.exclude(state=RunState.COMPLETE).exists(), 240, "reruns")
        self.until(lambda: self.rounds("watching") >= QUIET_ROUNDS, 420, "unchanged rounds")
        probe = self.probe()
        self.say(
            f"{self.rounds('reference') + self.rounds('calibration')} rounds of baseline, "
            f"{self.rounds('watching')} unchanged rounds, log e {probe.log_e:.1f}"
        )
        self.seen["unchanged_rounds"] = self.rounds("watching")
        self.seen["quiet_verdicts"] = list(
            Comparison.objects.order_by("created_at").values_list("verdict", flat=True)
        )
        self.expect("no change event while unchanged", not ChangeEvent.objects.exists())

    def switch(self) -> None:
        provider.refresh(self.setting.data_dir, self.kind)
        self.switched = clock.now()

    def alarm(self) -> None:
        self.until(lambda: ChangeEvent.objects.exists(), 240, "the alarm")
        event = ChangeEvent.objects.get()
        after = ProbeRound.objects.filter(
            probe=self.probe(), phase="watching", started_at__gt=self.switched
        ).order_by("number")
        found = event.probe_evidence.order_by("created_at").first()
        self.say(event.sentence)
        self.seen["rounds_to_alarm"] = (
            None if found is None else after.filter(number__lte=found.round.number).count()
        )
        self.seen["seconds_to_alarm"] = round((event.created_at - self.switched).total_seconds(), 1)
        self.seen["log10_e"] = round(self.probe().max_log_e / math.log(10), 1)
        self.expect("the probe opened the event", found is not None)
        self.expect("the first round after the switch found it", self.seen["rounds_to_alarm"] == 1)

    def suites(self) -> None:
        def urgent() -> list[Run]:
            return list(Run.objects.filter(urgency=Run.Urgency.URGENT))

        self.until(lambda: len(urgent()) >= len(self.revisions), 60, "urgent runs")
        self.until(
            lambda: all(r.state == RunState.COMPLETE for r in urgent()), 300, "their answers"
        )
        self.until(
            lambda: Comparison.objects.filter(run__in=urgent()).count() >= len(self.revisions),
            120,
            "their verdicts",
        )
        time.sleep(3)  # the event is completed and the ticket opened in the steps after them
        event = ChangeEvent.objects.get()
        self.say(event.sentence)
        self.seen.update(
            sentence=event.sentence,
            verdict=event.verdict,
            urgent_runs=len(urgent()),
            suite_verdicts=list(
                Comparison.objects.filter(run__in=urgent()).values_list("verdict", flat=True)
            ),
            gate_after=self.gate(),
        )
        self.expect("every suite was started at once", len(urgent()) >= len(self.revisions))
        self.expect("one change event", ChangeEvent.objects.count() == 1)
        # Kept data is looked at later, when this provider is gone: nothing may be due then.
        self.switch_probes(on=False)

    def switch_probes(self, *, on: bool) -> None:
        for probe in self.probes:
            probing.set_enabled(actor=self.world.people["owner"], probe=_fresh(probe), enabled=on)

    def watching(self) -> bool:
        # The beat wakes the probes every 15 seconds; a baseline in minutes needs more.
        current_app.send_task(WORK, expires=5.0, retry=False, ignore_result=True)
        return self.probe().phase == ProbePhase.WATCHING

    def probe(self) -> Probe:
        return Probe.objects.get(kind=ProbeKind.LOGPROB, retired_at__isnull=True)

    def rounds(self, phase: str) -> int:
        return ProbeRound.objects.filter(probe=self.probe(), phase=phase).count()


def _fresh(probe: Probe) -> Probe:
    return Probe.objects.select_related("model_version").get(pk=probe.pk)
