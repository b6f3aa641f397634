"""The story of the demo, in order. Each step says what it saw; `expect` collects what must hold."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Sum
from rich.console import Console
from rich.table import Table

from apps.audit.services import sequence, verify
from apps.core import clock
from apps.drift.models import ChangeEvent, Comparison, Verdict
from apps.drift.services import create_baseline
from apps.evaluations.models import Run, RunState, Sample, Schedule, SuiteRevision
from apps.evaluations.selectors import progress
from apps.evaluations.services import create_schedule, import_suite, start_run
from apps.evaluations.suitefile import load_suite_dir
from apps.registry import gate
from apps.registry.services import approve_approval, request_approval, validate_approval
from apps.tickets.models import Ticket, TicketState
from govtrack.demo import decision, world

SUITES = ("claims-routing", "claims-style", "claims-json")
BASELINE_RUNS = 3
QUIET_RERUNS = 4  # over all suites, each at least once
# Intervals of the schedules, in the order of SUITES: what two cores answer in time.
RERUN_SECONDS = (24, 30, 60)


class StoryBroke(RuntimeError):
    """A step did not end as it must; the message says which, and where to look."""


@dataclass(frozen=True)
class Setting:
    web: str
    base_url: str
    model: str
    api_key_env: str
    own_model: bool
    data_dir: Path
    decide: bool


@dataclass
class Scenario:
    setting: Setting
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    expectations: dict[str, bool] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def play(self) -> dict[str, Any]:
        with self.phase("register", "1. Register provider, endpoint, version, use case, suites"):
            self.register()
        with self.phase("baseline", f"2. Baseline of {BASELINE_RUNS} runs a suite, and approval"):
            self.baseline()
        with self.phase("quiet", "3. Scheduled reruns of the unchanged model"):
            self.quiet()
        if not self.setting.own_model:
            with self.phase("change", "4. The provider refreshes the model. Nobody is told"):
                self.refresh()
            with self.phase("detect", "5. The next scheduled rerun"):
                self.detect()
            if self.setting.decide:
                with self.phase("decide", "6. A person decides in the page, a second confirms"):
                    self.decide()
        with self.phase("audit", "The history"):
            self.history()
        self.farewell()
        return self.result()

    # 1
    def register(self) -> None:
        s = self.setting
        self.world = world.build(
            base_url=s.base_url, model=s.model, api_key_env=s.api_key_env, own_model=s.own_model
        )
        self.revisions: list[SuiteRevision] = []
        for slug in SUITES:
            suite = load_suite_dir(Path(settings.EVALS_DIR) / slug)
            revision, _ = import_suite(actor=self.world.people["owner"], suite=suite)
            self.revisions.append(revision)
            self.say(f"suite {slug}: {revision.case_count} cases, {revision.content_hash[:19]}…")
        cases = sum(r.case_count for r in self.revisions)
        self.expect("30 or more cases", cases >= 30)
        # The approvers sign in now, as they would in the morning: before anything changes.
        if s.decide:
            self.lead = decision.Browser(s.web, self.world, "lead")
            self.validator = decision.Browser(s.web, self.world, "validator")
            self.lead.sign_in()
            self.validator.sign_in()

    # 2
    def baseline(self) -> None:
        owner, version = self.world.people["owner"], self.world.version
        runs: list[Run] = []
        # Several runs, not one with replicates: each has its own hour and load, as later reruns do.
        for _ in range(BASELINE_RUNS):
            for revision in self.revisions:
                # One after the other: the cases of a suite share a prefix that the server caches.
                run = start_run(
                    actor=owner, model_version=version, suite_revision=revision, purpose="baseline"
                )
                self.follow([run])
                runs.append(run)
        self.seen["baseline_runs"] = [str(r.pk) for r in runs]
        for revision in self.revisions:
            create_baseline(
                actor=owner,
                model_version=version,
                suite_revision=revision,
                runs=[run for run in runs if run.suite_revision_id == revision.pk],
            )
        approval = request_approval(
            actor=owner,
            use_case=self.world.use_case,
            model_version=version,
            rationale="Routing, style and extraction were measured on the baseline.",
            assumptions=_assumptions(runs),
        )
        approval = validate_approval(actor=self.world.people["validator"], approval=approval)
        approval = approve_approval(actor=self.world.people["lead"], approval=approval)
        self.approval = approval
        for assumption in approval.assumptions.order_by("code"):
            self.say(f"{assumption.code}: {assumption.sentence}")
        self.say(f"approval {approval}: requested by Olga, validated by Viktor, approved by Greta")
        self.seen["gate_before"] = self.gate()
        self.expect("gate allows after approval", self.seen["gate_before"] == "allow")

    # 3
    def quiet(self) -> None:
        for place, revision in enumerate(self.revisions):
            schedule = create_schedule(
                actor=self.world.people["owner"],
                model_version=self.world.version,
                suite_revision=revision,
                interval_seconds=RERUN_SECONDS[place],
            )
            # Spread over the interval, as jitter would: two cores serve this model.
            first = clock.now() + dt.timedelta(seconds=place * RERUN_SECONDS[0] / len(SUITES))
            Schedule.objects.filter(pk=schedule.pk).update(next_due_at=first)
        self.until(self.quiet_enough, 240, "the scheduled reruns")
        for c in Comparison.objects.select_related("baseline__suite_revision__suite").order_by(
            "created_at"
        ):
            self.say(f"{c.baseline.suite_revision}: {c.reason}")
        self.seen["quiet_verdicts"] = list(
            Comparison.objects.order_by("created_at").values_list("verdict", flat=True)
        )
        self.expect("no change event while unchanged", not ChangeEvent.objects.exists())
        self.expect("no ticket while unchanged", not Ticket.objects.exists())
        self.expect("gate still allows", self.gate() == "allow")

    def quiet_enough(self) -> bool:
        suites = Comparison.objects.values_list("baseline__suite_revision", flat=True)
        return len(suites) >= QUIET_RERUNS and len(set(suites)) == len(self.revisions)

    # 4
    def refresh(self) -> None:
        from govtrack.demo import provider

        provider.refresh(self.setting.data_dir)
        self.say(
            "same name, same address; quantised KV cache, hidden system prefix, repetition penalty"
        )

    # 5
    def detect(self) -> None:
        self.until(
            lambda: Ticket.objects.exists() and self.gate() == "hold",
            300,
            "the reassessment ticket",
        )
        event = ChangeEvent.objects.get()
        # The other suites are in flight: let them add what they saw before the story goes on.
        with contextlib.suppress(StoryBroke):
            self.until(lambda: event.comparisons.count() >= 2, 20, "the other suites")
        event.refresh_from_db()
        ticket = Ticket.objects.get()
        found = event.comparisons.order_by("created_at").first()
        assert found is not None
        self.say(event.sentence)
        self.table(event)
        self.say(
            f"{ticket}: severity {ticket.severity}, due {ticket.due_at:%a %d %b %H:%M} UTC, "
            f"{event.broken_assumptions.count()} broken assumption(s), gate: {self.gate()}"
        )
        self.seen.update(
            change_event=str(event),
            sentence=event.sentence,
            window=[event.window_start.isoformat(), event.window_end.isoformat()],
            verdict=event.verdict,
            log_e=round(found.log_e, 2),
            e_value=f"{min(2.718281828459045**found.log_e, 1e300):.3g}",
            alarm_line=round(1 / found.alpha),
            found_by_run=str(found.run_id),
            ticket=str(ticket),
            severity=ticket.severity,
            broken_assumptions=sorted(
                event.broken_assumptions.values_list("assumption__code", flat=True)
            ),
            gate_after=self.gate(),
            controls=sorted(ticket.control_actions.values_list("kind", flat=True)),
        )
        self.expect("exactly one change event", ChangeEvent.objects.count() == 1)
        self.expect("the change is silent", event.kind == ChangeEvent.Kind.SILENT)
        self.expect("the change is material", event.verdict == Verdict.CHANGED_MATERIAL)
        self.expect("exactly one ticket", Ticket.objects.count() == 1)
        self.expect("an assumption broke", event.broken_assumptions.exists())
        self.expect("answers shown side by side", found.pairs.exists())
        self.expect("gate holds", self.gate() == "hold")
        self.expect(
            "approvers must sign in afresh",
            ticket.control_actions.filter(kind="require_reauth").exists(),
        )

    # 6
    def decide(self) -> None:
        ticket = Ticket.objects.get()
        self.expect("an older session may not decide", self.lead.is_asked_to_sign_in(ticket))
        self.lead.reauthenticate()
        self.lead.propose_suspension(ticket)
        self.say("Greta signed in afresh and proposed: suspend")
        self.expect("the proposer cannot confirm", not self.lead.can_confirm(ticket))
        self.validator.reauthenticate()
        self.validator.confirm(ticket)
        ticket.refresh_from_db()
        self.seen["gate_decided"] = self.gate()
        self.say(f"Viktor confirmed; gate: {self.seen['gate_decided']}")
        self.expect("the ticket is decided", ticket.state == TicketState.DECIDED)
        self.expect("gate follows the decision", self.seen["gate_decided"] == "deny")
        auditor = decision.Browser(self.setting.web, self.world, "auditor")
        auditor.sign_in()
        story = auditor.history()
        words = ("approved", "Change C-", "RT-", "suspend")
        self.expect("the auditor sees the story", all(w.lower() in story.lower() for w in words))

    def history(self) -> None:
        while sequence():
            pass
        result = verify()
        self.say(result.sentence())
        self.seen["audit"] = {"verified": result.ok, "entries": result.entries, "root": result.root}
        self.expect("the history verifies", result.ok)

    # helpers
    @contextlib.contextmanager
    def phase(self, key: str, title: str) -> Iterator[None]:
        self.console.print(f"\n[bold]{title}[/bold]")
        began = time.monotonic()
        yield
        self.seconds[key] = round(time.monotonic() - began, 1)

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False, soft_wrap=True)

    def expect(self, what: str, held: bool) -> None:
        self.expectations[what] = bool(held)
        if not held:
            self.console.print(f"  [red]✕ expected: {what}[/red]")

    def gate(self) -> str:
        answer = gate.check(use_case=self.world.use_case, model_version=self.world.version)
        return str(answer.answer)

    def until(self, met: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        with self.console.status(f"  waiting for {what} …") as status:
            while not met():
                if time.monotonic() > deadline:
                    raise StoryBroke(
                        f"{what}: did not come within {seconds:.0f} s. Logs: "
                        f"{self.setting.data_dir / 'logs'}"
                    )
                running = Run.objects.filter(state=RunState.RUNNING).order_by("created_at").first()
                if running:
                    now = progress(running)
                    status.update(f"  {running.suite_revision}: {now.done}/{now.total} answers …")
                failed = Run.objects.filter(state=RunState.FAILED).first()
                if failed:
                    raise StoryBroke(f"Run {failed.pk} failed: {failed.state_reason}")
                time.sleep(0.4)

    def follow(self, runs: list[Run]) -> None:
        ids = [r.pk for r in runs]
        self.until(
            lambda: not Run.objects.filter(pk__in=ids).exclude(state=RunState.COMPLETE).exists(),
            240,
            "the baseline runs",
        )
        for run in runs:
            run.refresh_from_db()
            took = (run.finished_at - run.started_at).total_seconds()  # type: ignore[operator]
            self.say(f"{run.suite_revision}: {run.total_slots} answers in {took:.0f} s")

    def table(self, event: ChangeEvent) -> None:
        from apps.drift.selectors import newest_results

        table = Table("Metric", "Suite", "Baseline", "Now", "Effect", "Interval", "Verdict")
        for row in newest_results(event)[:8]:
            if row.effect is None:
                continue
            scale = 100 if row.unit == "points" else 1
            table.add_row(
                row.label,
                row.comparison.baseline.suite_revision.suite.slug,
                *(f"{(v or 0) * scale:.1f}" for v in (row.baseline_mean, row.current_mean)),
                f"{row.effect * scale:+.1f} {row.unit}",
                f"{(row.low or 0) * scale:+.1f} … {(row.high or 0) * scale:+.1f}",
                row.get_verdict_display(),
            )
        self.console.print(table)

    def farewell(self) -> None:
        if self.setting.decide:
            return
        self.console.print(f"\n[bold green]Open {self.setting.web}/[/bold green] and sign in as:")
        for key, person in self.world.people.items():
            self.say(f"{person.name:<18} {person.email:<28} {self.world.passwords[key]}")
        if Ticket.objects.exists():
            ticket = Ticket.objects.get()
            self.say(
                f"Propose a decision as Greta on {self.setting.web}/tickets/{ticket.number}/ , "
                "confirm it as Viktor; the gate follows."
            )
        self.console.print("Ctrl-C stops everything; the demo's data is thrown away.")

    def result(self) -> dict[str, Any]:
        tokens = Sample.objects.aggregate(p=Sum("prompt_tokens"), c=Sum("completion_tokens"))
        return {
            "ok": all(self.expectations.values()),
            "expectations": self.expectations,
            **self.seen,
            "runs": [
                str(pk) for pk in Run.objects.order_by("created_at").values_list("pk", flat=True)
            ],
            "samples": Sample.objects.count(),
            "tokens": {"prompt": tokens["p"] or 0, "completion": tokens["c"] or 0},
            "seconds": self.seconds,
        }


def _assumptions(runs: list[Run]) -> list[dict[str, Any]]:
    """Three sentences with thresholds a little below what the baseline showed."""

    def mean(suite: str, key: str) -> float:
        own = [r.totals.get("metrics") or {} for r in runs if r.suite_revision.suite.slug == suite]
        return sum(float(metrics.get(key) or 0.0) for metrics in own) / len(own)

    def floor(suite: str, key: str, slack: float) -> float:
        return round(max(0.0, mean(suite, key) - slack), 2)

    routing, style, extraction = SUITES
    length = mean(style, "chars")
    accuracy, valid = floor(routing, "accuracy", 0.1), floor(extraction, "valid", 0.15)
    limit = round(length * 1.4)
    return [
        {
            "code": "A1",
            "sentence": f"Claims are routed to the right desk in at least {accuracy:.0%} of cases.",
            "suite_slug": routing,
            "metric_key": "accuracy",
            "comparator": "gte",
            "threshold": accuracy,
            "tolerance": 0.0,
            "criticality": "high",
        },
        {
            "code": "A2",
            "sentence": f"First replies are short: at most {limit} characters on average.",
            "suite_slug": style,
            "metric_key": "chars",
            "comparator": "lte",
            "threshold": limit,
            "tolerance": 0.0,
            "criticality": "medium",
        },
        {
            "code": "A3",
            "sentence": f"Extracted claims are valid JSON in at least {valid:.0%} of cases.",
            "suite_slug": extraction,
            "metric_key": "valid",
            "comparator": "gte",
            "threshold": valid,
            "tolerance": 0.0,
            "criticality": "high",
        },
    ]
