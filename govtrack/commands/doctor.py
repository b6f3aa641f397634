"""`govtrack doctor`: is everything there, and what to do if not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.markup import escape

from govtrack import stack
from govtrack.commands.common import DataDir, out
from govtrack.embedded import running_stack

Finding = tuple[str, bool, str]


def doctor(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Check database, broker, workers, beat, clock, history and endpoints."""
    try:
        stack.use_running(data_dir)
    except RuntimeError as error:
        _show(("stack", False, str(error)))
        raise typer.Exit(1) from None
    ok = True
    for check in (_stack, _database, _migrations, _broker, _workers, _beat, _clock, _audit):
        ok = _show(_safely(check, data_dir)) and ok
    if ok:
        for finding in _endpoints():
            ok = _show(finding) and ok
    raise typer.Exit(0 if ok else 1)


def _show(finding: Finding) -> bool:
    name, ok, said = finding
    mark = "[green]✓[/green]" if ok else "[red]✕[/red]"
    out.print(f"{mark} {name:<11} {escape(said)}", markup=True, soft_wrap=True)
    return ok


def _safely(check: Callable[[Path], Finding], data_dir: Path) -> Finding:
    try:
        return check(data_dir)
    except Exception as error:
        return check.__name__.strip("_"), False, f"{type(error).__name__}: {error}"


def _stack(data_dir: Path) -> Finding:
    info = running_stack(data_dir)
    if info is None:
        return "stack", True, "your own servers (DATABASE_URL, REDIS_URL)"
    return "stack", True, f"embedded, process {info.pid}, since {info.since:%Y-%m-%d %H:%M:%S}"


def _database(_: Path) -> Finding:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
    if int(version.split(".")[0]) < 15:
        return "database", False, f"PostgreSQL {version} is too old. Use 15 or newer."
    return "database", True, f"PostgreSQL {version}"


def _migrations(_: Path) -> Finding:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    todo = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if todo:
        return "migrations", False, f"{len(todo)} to apply. Run `python manage.py migrate`."
    return "migrations", True, "all applied"


def _broker(_: Path) -> Finding:
    from govtrack.celery import app

    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        return "broker", True, connection.transport.driver_type


def _workers(_: Path) -> Finding:
    from govtrack.celery import app

    replies = app.control.inspect(timeout=2.0).ping() or {}
    if not replies:
        return "workers", False, "none answers. Start `celery -A govtrack worker`, see its log."
    return "workers", True, ", ".join(sorted(replies))


def _beat(_: Path) -> Finding:
    from django.conf import settings

    from apps.core import heartbeat

    age = heartbeat.age_seconds()
    if age is None or age > max(30.0, settings.TICK_SECONDS * 10):
        said = "never ticked" if age is None else f"last ticked {age:.0f} s ago"
        return "beat", False, f"{said}. Start `celery -A govtrack beat`, see its log."
    return "beat", True, f"last tick {age:.1f} s ago"


def _clock(_: Path) -> Finding:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        skew = float(cursor.fetchone()[0]) - time.time()
    if abs(skew) > 2:
        return "clock", False, f"{skew:+.1f} s from the database's. Synchronise both (NTP)."
    return "clock", True, f"{skew * 1000:+.0f} ms from the database's"


def _audit(_: Path) -> Finding:
    from apps.audit.services import verify

    result = verify()
    return "history", result.ok, result.sentence()


def _endpoints() -> Iterator[Finding]:
    import asyncio

    import httpx

    from apps.core.errors import GovTrackError
    from apps.core.outbound import async_client
    from apps.registry import credentials
    from apps.registry.models import Endpoint

    async def ask(url: str, secret: str, private: bool) -> int:
        async with async_client(allow_private=private, timeout=10, max_bytes=2**20) as client:
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            return (await client.get(f"{url.rstrip('/')}/models", headers=headers)).status_code

    rows = list(Endpoint.objects.filter(active=True).select_related("provider"))
    if not rows:
        yield "endpoints", True, "none registered yet"
    for endpoint in rows:
        try:
            secret = credentials.resolve(endpoint)
            status = asyncio.run(ask(endpoint.base_url, secret, endpoint.allow_private_address))
        except (GovTrackError, httpx.HTTPError, OSError) as error:
            yield "endpoint", False, f"{endpoint}: {error or type(error).__name__}"
            continue
        if status in (401, 403):
            yield "endpoint", False, f"{endpoint}: answers {status}. Check its credential."
        elif status >= 500:
            yield "endpoint", False, f"{endpoint}: answers {status}. Ask its provider."
        else:
            yield "endpoint", True, f"{endpoint}: answers"
