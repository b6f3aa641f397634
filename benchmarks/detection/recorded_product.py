"""Recorded reality, end to end: the whole product on a change that really happened, unannounced.

    python -m benchmarks.detection.recorded_product [--data DIR] [--cases 200] [--keep --port 8000]

DIR holds `prime.jsonl.gz` and `happy_numbers.jsonl.gz` of LLMDrift (arXiv 2307.09009, Apache-2.0).
A local server answers each question as GPT-4 or GPT-3.5 answered it in March 2023 and, after a
switch that the product is not told of, as the same name answered in June. The product runs as
`govtrack up` starts it: embedded servers, pages, Celery workers, beat. The suites are imported from
the recordings, CASES questions spread over each file (0: all); each of the four versions is asked
once for its baseline, approved by two people, and rerun by a schedule. There is one recorded
answer a case, so a rerun before the switch repeats the baseline word for word: that no alarm comes
there shows that the plumbing is quiet, not the error rate (for that: `make bench-detection`).

A table on stdout, and on the last line one JSON object. --keep leaves the pages up until Ctrl-C.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.detection.recorded_provider import RecordedProvider

NAME = "recorded-product"
FILES = {"primes": "prime", "happy numbers": "happy_numbers"}
NAMES = {
    "GPT-4": ("gpt-4", {"March": "gpt-4-0314", "June": "gpt-4-0613"}),
    "GPT-3.5": (
        "gpt-3.5-turbo",
        {"March": "gpt-3.5-turbo-0301", "June": "gpt-3.5-turbo-0613"},
    ),
}
UNCHANGED = 3
INTERVAL = 30  # seconds between the reruns of one version; longer where there are many answers
ANSWERS_A_SECOND = 25  # room for two cores that do everything else as well
PATIENCE = 900
PACE = {"GOVTRACK_TICK_SECONDS": "0.5", "GOVTRACK_DB_CONN_MAX_AGE": "60"}
Lines = list[dict[str, Any]]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass
class Watched:
    """One version: a name, asked one file's questions."""

    family: str
    task: str
    lines: Lines
    began: float = 0.0
    version: Any = None
    use_case: Any = None
    revision: Any = None
    baseline_run: Any = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return len({line["id"] for line in self.lines})

    @property
    def label(self) -> str:
        return f"{self.family}, {self.task}"


def spread_cases(path: Path, count: int) -> Lines:
    """The lines of `count` questions spread evenly over the file (0: all), of every model: its
    first half asks about primes alone."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    ids = list(dict.fromkeys(line["id"] for line in lines))
    kept = {ids[i * len(ids) // count] for i in range(count)} if 0 < count < len(ids) else set(ids)
    return [line for line in lines if line["id"] in kept]


def answers(files: dict[str, Lines]) -> dict[str, dict[str, dict[str, str]]]:
    """name → month → question → answer."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, months in NAMES.values():
        found[name] = {
            month: {
                line["query"]: line["answer"] or ""
                for lines in files.values()
                for line in lines
                if line["model"] == model
            }
            for month, model in months.items()
        }
    return found


class Story:
    def __init__(self, files: dict[str, Lines], provider: RecordedProvider) -> None:
        self.provider = provider
        self.watched = [Watched(f, t, lines) for f in NAMES for t, lines in files.items()]
        self.switched: dt.datetime | None = None
        answers_a_round = sum(each.cases for each in self.watched)
        self.interval = max(INTERVAL, math.ceil(answers_a_round / ANSWERS_A_SECOND))

    def play(self) -> None:
        self.register()
        for each in self.watched:
            self.approve(each)
        self.plan()
        self.quiet()
        self.switch()
        for each in self.watched:
            self.found(each)

    def register(self) -> None:
        from apps.accounts.models import Role
        from apps.accounts.services import create_first_admin, create_user
        from apps.evaluations.imports import Head, Options
        from apps.evaluations.imports.converting import convert
        from apps.evaluations.services import import_suite
        from apps.registry import services as registry

        self.password = f"bench-{secrets.token_urlsafe(9)}"
        admin = create_first_admin(
            email="ada@bank.example", display_name="Ada Admin", password=self.password
        )
        roles = {
            "Olga Owner": Role.MODEL_OWNER,
            "Viktor Validator": Role.VALIDATOR,
            "Greta Lead": Role.GOVERNANCE_LEAD,
        }
        self.owner, self.validator, self.lead = (
            create_user(
                actor=admin,
                email=f"{name.split()[0].lower()}@bank.example",
                display_name=name,
                password=self.password,
                roles=[role],
            )
            for name, role in roles.items()
        )
        provider = registry.create_provider(actor=admin, slug="recorded", name="Recorded provider")
        endpoint = registry.create_endpoint(
            actor=admin,
            provider=provider,
            name="Chat completions",
            base_url=self.provider.url,
            max_concurrency=8,
            allow_private_address=True,
        )
        models = {
            family: registry.create_model(actor=admin, provider=provider, name=family)
            for family in NAMES
        }
        revisions: dict[str, Any] = {}
        for each in self.watched:
            if each.task not in revisions:
                body = "\n".join(json.dumps(line) for line in each.lines).encode()
                converted = convert(
                    "recordings",
                    gzip.compress(body, mtime=0),
                    filename=f"{FILES[each.task]}.jsonl.gz",
                    head=Head(
                        slug=FILES[each.task].replace("_", "-"),
                        name=each.task.capitalize(),
                        license="Apache-2.0",
                        source="LLMDrift (arXiv 2307.09009)",
                        personal_data=False,
                    ),
                    options=Options(),
                )
                revisions[each.task] = import_suite(
                    actor=self.owner, suite=converted.suite, origin=converted.origin
                )[0]
            each.revision = revisions[each.task]
            each.version = registry.create_version(
                actor=self.owner,
                model=models[each.family],
                endpoint=endpoint,
                label=f"{each.family} for {each.task}",
                requested_name=NAMES[each.family][0],
                pin_kind="alias",
                parameters={k: each.lines[0][k] for k in ("temperature", "max_tokens")},
                owner=self.owner,
            )
            each.use_case = registry.create_use_case(
                actor=self.owner,
                slug=each.label.lower().translate(str.maketrans(" .", "--", ",")),
                name=each.label,
                risk_tier=1,
                model_role="recommends",
                owner=self.owner,
            )

    def approve(self, each: Watched) -> None:
        """A baseline of one answer a case, and an approval by two people that rests on it."""
        from apps.drift.services import create_baseline
        from apps.evaluations.models import RunState
        from apps.evaluations.services import start_run
        from apps.registry import services as registry

        each.began = time.monotonic()
        run = start_run(
            actor=self.owner,
            model_version=each.version,
            suite_revision=each.revision,
            purpose="baseline",
        )
        self.until(lambda: _fresh(run).state == RunState.COMPLETE, f"{each.label}: baseline run")
        each.baseline_run = run
        create_baseline(
            actor=self.owner, model_version=each.version, suite_revision=each.revision, runs=[run]
        )
        accuracy = float(run.totals["metrics"]["accuracy"])
        length = float(run.totals["metrics"]["style.chars"])
        slug = each.revision.suite.slug
        approval = registry.request_approval(
            actor=self.owner,
            use_case=each.use_case,
            model_version=each.version,
            rationale="Accuracy and length of the answers were measured on the baseline.",
            assumptions=[
                {
                    "code": "A1",
                    "sentence": f"Answers are right in at least {accuracy - 0.1:.0%} of cases.",
                    "suite_slug": slug,
                    "metric_key": "accuracy",
                    "comparator": "gte",
                    "threshold": round(accuracy - 0.1, 2),
                    "tolerance": 0.0,
                    "criticality": "high",
                },
                {
                    "code": "A2",
                    "sentence": "The reasoning is shown: at least half the baseline's length, "
                    f"{length / 2:.0f} characters on average.",
                    "suite_slug": slug,
                    "metric_key": "style.chars",
                    "comparator": "gte",
                    "threshold": round(length / 2),
                    "tolerance": 0.0,
                    "criticality": "medium",
                },
            ],
        )
        approval = registry.validate_approval(actor=self.validator, approval=approval)
        registry.approve_approval(actor=self.lead, approval=approval)
        each.row = {
            "set": each.label,
            "cases": each.revision.case_count,
            "accuracy_march": round(accuracy, 4),
            "gate_before": self.gate(each),
        }
        say(f"{each.label}: baseline of {run.total_slots} answers, gate {self.gate(each)}")

    def plan(self) -> None:
        from apps.core import clock
        from apps.evaluations.models import Schedule
        from apps.evaluations.services import create_schedule

        for place, each in enumerate(self.watched):
            schedule = create_schedule(
                actor=self.owner,
                model_version=each.version,
                suite_revision=each.revision,
                interval_seconds=self.interval,
            )
            # Spread over the interval, as jitter would: two cores serve all of this.
            first = clock.now() + dt.timedelta(seconds=place * self.interval / len(self.watched))
            Schedule.objects.filter(pk=schedule.pk).update(next_due_at=first)

    def looks(self, each: Watched) -> list[Any]:
        from apps.drift.models import Comparison

        rows = Comparison.objects.filter(baseline__model_version=each.version)
        return list(rows.select_related("run").order_by("look"))

    def quiet(self) -> None:
        """Three reruns of each, and then a moment in which no run is under way."""
        from apps.drift.models import ChangeEvent

        self.until(
            lambda: all(len(self.looks(each)) >= UNCHANGED for each in self.watched),
            "the reruns before the switch",
        )
        if ChangeEvent.objects.exists():
            say("A change was found before the switch: a false alarm.")

    def switch(self) -> None:
        from apps.core import clock
        from apps.evaluations.models import Run, RunState, Schedule

        ended = (RunState.COMPLETE, RunState.FAILED, RunState.CANCELLED)

        def still() -> bool:
            soon = clock.now() + dt.timedelta(seconds=1.5)
            return not (
                Run.objects.exclude(state__in=ended).exists()
                or Schedule.objects.filter(next_due_at__lte=soon).exists()
            )

        self.until(still, "a moment between two reruns", pause=0.05)
        self.provider.switch("June")
        self.switched = clock.now()
        say(f"Switched to June at {self.switched:%H:%M:%S}; the name stays, nothing is said.")

    def found(self, each: Watched) -> None:
        from apps.drift.models import ChangeEvent
        from apps.tickets.models import Ticket

        assert self.switched is not None

        def after() -> list[Any]:
            return [c for c in self.looks(each) if c.run.created_at >= self.switched]

        def tickets() -> Any:
            return Ticket.objects.filter(change_event__model_version=each.version)

        def events() -> Any:
            return ChangeEvent.objects.filter(model_version=each.version)

        self.until(lambda: bool(after()), f"{each.label}: the first rerun after the switch")
        try:
            self.until(lambda: tickets().exists() and self.gate(each) == "hold", each.label, 60)
        except TimeoutError as error:
            say(str(error))
        minutes = (time.monotonic() - each.began) / 60
        before = [c for c in self.looks(each) if c.run.created_at < self.switched]
        first, event = after()[0], events().first()
        at_first = bool(event and event.comparisons.filter(pk=first.pk).exists())
        ticket = tickets().first()
        delay = (ticket.created_at - first.run.created_at).total_seconds() if ticket else None
        now = first.metrics.filter(metric_key="accuracy").first()
        each.row |= {
            "accuracy_june": round(now.current_mean, 4) if now else None,
            "unchanged_reruns": len(before),
            "unchanged_verdicts": [c.verdict for c in before],
            "first_verdict": first.verdict,
            "log_e": round(first.log_e, 2),
            "alarm_log_e": round(-math.log(first.alpha), 2),
            "found_in_first_rerun": at_first,
            "change_events": events().count(),
            "tickets": tickets().count(),
            "severity": ticket.severity if ticket else "",
            "broken": sorted(event.broken_assumptions.values_list("assumption__code", flat=True))
            if event
            else [],
            "gate_after": self.gate(each),
            "seconds_from_run_to_ticket": round(delay, 1) if delay is not None else None,
            "minutes": round(minutes, 1),
            "sentence": event.sentence if event else "",
        }

    def gate(self, each: Watched) -> str:
        from apps.registry import gate

        return str(gate.check(use_case=each.use_case, model_version=each.version).answer)

    def until(
        self, met: Callable[[], bool], what: str, seconds: float = PATIENCE, pause: float = 0.4
    ) -> None:
        from apps.evaluations.models import Run, RunState

        deadline = time.monotonic() + seconds
        while not met():
            failed = Run.objects.filter(state=RunState.FAILED).first()
            if failed:
                raise RuntimeError(f"Run {failed.pk} failed: {failed.state_reason}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: did not come within {seconds:.0f} s.")
            time.sleep(pause)


def _fresh(run: Any) -> Any:
    run.refresh_from_db()
    return run


def table(rows: list[dict[str, Any]]) -> None:
    head = ("set", "cases", "right, March → June", "unchanged reruns", "first rerun after",
            "e-value", "event", "ticket", "gate", "min")  # fmt: skip
    body = []
    for r in rows:
        words = sorted(set(r["unchanged_verdicts"]))
        june = "?" if r["accuracy_june"] is None else f"{r['accuracy_june']:.1%}"
        body.append(
            (
                r["set"],
                str(r["cases"]),
                f"{r['accuracy_march']:.1%} → {june}",
                f"{r['unchanged_reruns']}: {', '.join(words)}",
                r["first_verdict"] + ("" if r["found_in_first_rerun"] else " (no alarm)"),
                f"10^{r['log_e'] / math.log(10):.1f}",
                str(r["change_events"]),
                f"{r['tickets']} {r['severity']}",
                r["gate_after"],
                f"{r['minutes']:.1f}",
            )
        )
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    for row in (head, *body):
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    print("An e-value of 10^2 (α = 1 % over the version's life) is the alarm line of a version.")
    print("There is one recorded answer a case: a rerun before the switch repeats the baseline.")


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for name, test in {
        "no alarm before the switch": lambda r: (
            not any(v.startswith("changed") for v in r["unchanged_verdicts"])
        ),
        "found in the first scheduled rerun after the switch": lambda r: r["found_in_first_rerun"],
        "one change event": lambda r: r["change_events"] == 1,
        "one ticket": lambda r: r["tickets"] == 1,
        "gate: allow before, hold after": lambda r: (
            (r["gate_before"], r["gate_after"]) == ("allow", "hold")
        ),
    }.items():
        held = sum(bool(test(r)) for r in rows)
        made.append(
            {
                "name": name,
                "goal": f"{len(rows)} of {len(rows)}",
                "value": held,
                "met": held == len(rows),
            }
        )
    return made


def run(data: Path, *, cases: int, keep: bool, port: int) -> int:
    from govtrack import stack
    from govtrack.embedded import EmbeddedStack
    from govtrack.supervisor import Supervisor

    began = time.monotonic()
    # On servers of its own, always: it must never touch a real database.
    for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SECRET_KEY"):
        os.environ.pop(name, None)
    files = {task: spread_cases(data / f"{name}.jsonl.gz", cases) for task, name in FILES.items()}
    folder = Path(tempfile.mkdtemp(prefix="govtrack-recorded-"))
    try:
        with (
            RecordedProvider(answers(files)) as provider,
            EmbeddedStack(folder, ephemeral=True) as servers,
        ):
            env = stack.environment(
                folder, database_url=servers.database_url, redis_url=servers.redis_url
            )
            env.update(PACE)
            stack.migrate(env)
            with Supervisor(folder / "logs", say=say, ready_timeout=120) as supervisor:
                stack.add_product(supervisor, env=env, port=port or _free_port())
                supervisor.start_all()
                os.environ.update(env)
                stack.load_django()
                story = Story(files, provider)
                story.play()
                rows = [each.row for each in story.watched]
                table(rows)
                reached = goals(rows)
                for g in reached:
                    print(f"  {g['name']}: {g['value']} of {len(rows)}"
                          f" {'met' if g['met'] else 'MISSED'}")  # fmt: skip
                minutes = round((time.monotonic() - began) / 60, 1)
                results = {"sets": rows, "minutes": minutes, "served": dict(provider.served)}
                print(json.dumps({"benchmark": NAME, "results": results, "goals": reached}),
                      flush=True)  # fmt: skip
                if keep:
                    say(f"Pages on port {port} until Ctrl-C: greta@bank.example {story.password}")
                    supervisor.wait()
                return 0 if all(g["met"] for g in reached) else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.recorded_product")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/llmdrift"))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="leave the pages up until Ctrl-C")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    missing = [n for n in FILES.values() if not (asked.data / f"{n}.jsonl.gz").exists()]
    if missing:
        why = (
            f"The recordings are not there: no {missing[0]}.jsonl.gz in {asked.data}. "
            "They are LLMDrift's (arXiv 2307.09009); name their folder with DATA=."
        )
        print(why)
        print(json.dumps({"benchmark": NAME, "results": {"left_out": why}, "goals": []}))
        return
    try:
        sys.exit(run(asked.data, cases=asked.cases, keep=asked.keep, port=asked.port))
    except KeyboardInterrupt:
        say("Stopped.")


if __name__ == "__main__":
    main()
