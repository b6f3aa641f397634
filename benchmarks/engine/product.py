"""GovTrack as `govtrack up` runs it: embedded PostgreSQL (durable: fsync and synchronous commit are
on) and Valkey, two Celery processes for runs, one for the rest, beat; the pages where asked for."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from benchmarks.engine.control import ROOT, Provider, Variant, prompt
from benchmarks.engine.processes import cpu_of, family, peak_mb, reset_peak

POLL_SECONDS = 0.01


class Unfinished(RuntimeError):
    """A run did not end within the time that there was for it."""


class Product:
    def __init__(self, *, workers: int = 2, profile: bool = False, pages: int = 0) -> None:
        """`pages`: the port of the web process; 0 starts none."""
        self.workers = workers
        self.profile = profile
        self.pages = pages

    def __enter__(self) -> Self:
        from govtrack import stack
        from govtrack.embedded import EmbeddedStack
        from govtrack.supervisor import spawn_guarded

        self.folder = Path(tempfile.mkdtemp(prefix="govtrack-bench-"))
        self.servers = EmbeddedStack(self.folder)
        self.servers.start()
        env = stack.environment(
            self.folder,
            database_url=self.servers.database_url,
            redis_url=self.servers.redis_url,
        )
        env["DATABASE_URL"] = self.servers.database_url
        env["REDIS_URL"] = self.servers.redis_url
        env["GOVTRACK_LOG_LEVEL"] = "WARNING"
        self.env = env
        stack.migrate(env)
        os.environ.update(env)
        import django

        django.setup()
        import govtrack.celery  # noqa: F401

        self.children: dict[str, Any] = {}
        commands = stack.celery_commands(env, workers=self.workers)
        if self.pages:
            commands = {"web": stack.web_command(self.pages), **commands}
        for name, argv in commands.items():
            log = (self.folder / f"{name}.log").open("wb")
            self.children[name] = spawn_guarded(
                argv, output=log, env={**env, "GOVTRACK_PROCESS": f"govtrack-{name}"}, cwd=ROOT
            )
        self._wait_for_workers()
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            for log in self.folder.glob("*.log"):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}\n")
        self.stop_workers()
        self.servers.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_for_workers(self) -> None:
        from govtrack.celery import app

        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            answers = app.control.inspect(timeout=2).ping() or {}
            if len(answers) >= 2 and len(self.runner_pids()) >= self.workers:
                return
        raise RuntimeError("the Celery workers did not start")

    def runner_pids(self) -> list[int]:
        """The processes that make the calls, without their parents."""
        found = [p for p in family(self.children["runner"].pid) if "celery" in p.command]
        parents = {p.parent for p in found}
        return [p.pid for p in found if p.pid not in parents]

    def administrator(self) -> str:
        """The e-mail address of somebody who may import suites."""
        from apps.accounts.models import User
        from apps.accounts.services import create_user
        from apps.audit.services import SYSTEM

        email = "bench@example.com"
        if not User.objects.filter(email=email).exists():
            create_user(
                actor=SYSTEM, email=email, display_name="Benchmark", roles=["administrator"]
            )
        return email

    def make_version(self, provider: Provider, concurrency: int, **endpoint: Any) -> Any:
        from tests.fixtures.evaluations import make_version

        return make_version(
            provider.url,
            requested_name="bench",
            endpoint_max_concurrency=concurrency,
            endpoint_timeout_seconds=60,
            **endpoint,
        )

    def make_revision(self, cases: int) -> Any:
        from apps.audit.services import SYSTEM
        from apps.evaluations import services
        from apps.evaluations.suitefile import Case, Prompt
        from apps.evaluations.suitefile.types import Message
        from tests.fixtures.evaluations import make_suite

        suite = make_suite(
            1,
            slug=f"bench-{cases}",
            prompt=Prompt(
                (Message("user", "Claim {{id}}: which department? Answer with one word."),)
            ),
        )
        suite = replace(
            suite,
            cases=tuple(
                Case(id=prompt(i), vars={"id": prompt(i)}, expect="motor") for i in range(cases)
            ),
        )
        return services.import_suite(actor=SYSTEM, suite=suite)[0]

    def measure(
        self,
        provider: Provider,
        variant: Variant,
        cases: int,
        *,
        runs: int = 1,
        patience: float | None = None,
    ) -> dict[str, float]:
        """`runs` at once, each at an endpoint of its own with the variant's concurrency."""
        from apps.audit.services import SYSTEM
        from apps.evaluations import services
        from apps.evaluations.models import Run

        versions = [self.make_version(provider, variant.concurrency) for _ in range(runs)]
        revision = self.make_revision(cases)
        provider.prepare(variant)
        pids = self.runner_pids()
        for pid in pids:
            reset_peak(pid)
        cpu = cpu_of(self.children["runner"].pid)
        database, written = self._database_cpu(), self._transactions()
        started = time.monotonic()
        asked = [
            services.start_run(actor=SYSTEM, model_version=version, suite_revision=revision)
            for version in versions
        ]
        for run in asked:
            usual = 60 + 5 * variant.ideal(cases) + runs * cases / 40
            left = usual if patience is None else patience + started - time.monotonic()
            try:
                self.wait(run.pk, patience=left)
            except Unfinished as error:
                raise Unfinished(f"{error}; {self._so_far(asked, pids)}") from None
        wall = time.monotonic() - started
        time.sleep(0.2)  # the processes' clocks are read when they are idle again
        stats = provider.stats()
        for run in Run.objects.filter(pk__in=[run.pk for run in asked]):
            self.check(run, cases, stats)
        return {
            "wall": wall,
            "span": stats["last"] - stats["first"],
            "first": stats["first"] - started,
            "cpu": cpu_of(self.children["runner"].pid) - cpu,
            "database_cpu": self._database_cpu() - database,
            "transactions": self._transactions() - written,
            "mb": max(peak_mb(pid) for pid in pids),
            "repeated": stats["calls"] - runs * cases if not variant.faults else stats["repeated"],
            "peak": stats["peak"],
        }

    def stop_workers(self) -> None:
        """The servers go on."""
        from govtrack.supervisor import stop_guarded

        for name in list(self.children)[::-1]:
            stop_guarded(self.children.pop(name), 5.0)

    def _database_cpu(self) -> float:
        return cpu_of(self.servers._servers["postgres"].pid)

    def _so_far(self, runs: list[Any], pids: list[int]) -> str:
        from apps.evaluations.models import Sample

        month = runs[0].month
        stored = Sample.objects.filter(month=month, run__in=[run.pk for run in runs]).count()
        return f"{stored:,} answers stored, at most {max(map(peak_mb, pids)):.0f} MB a worker"

    def _transactions(self) -> int:
        """Transactions so far that wrote something: each is a commit to the disk."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            return int(cursor.fetchone()[0])

    def wait(self, run_id: Any, *, patience: float) -> None:
        from apps.evaluations.lifecycle import FINISHED
        from apps.evaluations.models import Run

        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            state = Run.objects.values_list("state", flat=True).get(pk=run_id)
            if state in FINISHED:
                return
            time.sleep(POLL_SECONDS)
        raise Unfinished(f"the run is still not done after {patience:.0f} s")

    def check(self, run: Any, cases: int, stats: dict[str, Any]) -> None:
        """What a figure is worth: every slot has one stored, scored answer, and the run knows."""
        from apps.evaluations.models import Sample, Score

        samples = Sample.objects.filter(month=run.month, run=run, status="answered").count()
        scores = Score.objects.filter(month=run.month, run=run).count()
        found = (run.state, run.totals.get("answered"), samples, scores, stats["answered"])
        if found != ("complete", cases, cases, 2 * cases, cases):
            raise RuntimeError(f"the run is not what it should be: {found}, {run.state_reason}")
