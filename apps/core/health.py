"""Is the process alive, can it serve, and its numbers for Prometheus (not for everybody)."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView

log = structlog.get_logger(__name__)
REDIS_TIMEOUT_SECONDS = 2.0
# The migration graph is read from disk: once it was seen complete, this process need not look
# again (code and schema of a running process do not move apart).
_migrated: dict[str, bool] = {}


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else, so that a broken database restarts no worker."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when a request could be served in full, else 503 and which part is missing."""
    checks = {"database": _database(), "redis": _redis()}
    checks["migrations"] = (
        _migrations() if checks["database"] == "ok" else "not checked: no database"
    )
    ready = all(said == "ok" for said in checks.values())
    if not ready:
        log.warning("not_ready", **checks)
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "checks": checks},
        status=200 if ready else 503,
    )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for the bearer of GOVTRACK_METRICS_TOKEN or an administrator's session."""
    if _bears_metrics_token(request) or _is_administrator(request):
        return ExportToDjangoView(request)  # type: ignore[no-any-return]
    return JsonResponse(
        {
            "status": 401,
            "title": "Not for everybody",
            "detail": "Send the token of GOVTRACK_METRICS_TOKEN as `Authorization: Bearer …`, "
            "or sign in as an administrator.",
            "code": "not_authenticated",
        },
        status=401,
        headers={"WWW-Authenticate": 'Bearer realm="GovTrack metrics"'},
        content_type="application/problem+json",
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        # The message may hold host and user name: to the log, not to whoever asks.
        log.warning("database_unreachable", error=str(error))
        return "unreachable: check DATABASE_URL and that PostgreSQL runs"
    return "ok"


def _redis() -> str:
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        log.warning("redis_unreachable", error=str(error))
        return "unreachable: check REDIS_URL and that Valkey or Redis runs"
    finally:
        client.close()
    return "ok"


def _migrations() -> str:
    if _migrated.get("default"):
        return "ok"
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        return f"{len(waiting)} not applied: run `python manage.py migrate`"
    _migrated["default"] = True
    return "ok"


def _bears_metrics_token(request: HttpRequest) -> bool:
    expected = settings.GOVTRACK.get("METRICS_TOKEN") or ""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not expected or scheme.lower() != "bearer":
        return False
    return compare_digest(given.strip().encode(), expected.encode())


def _is_administrator(request: HttpRequest) -> bool:
    # By attribute, since this app may not import accounts.
    user: Any = getattr(request, "user", None)
    if not (user and user.is_authenticated and user.is_active):
        return False
    held = user.role_assignments.filter(role="administrator", team__isnull=True)
    return bool(held.exists())
