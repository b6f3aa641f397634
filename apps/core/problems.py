"""RFC 9457 problem details for every error the API gives."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.utils import DataError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import GovTrackError

log = structlog.get_logger(__name__)


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    code: str,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:govtrack:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = errors
    return Response(body, status=status, headers=headers, content_type="application/problem+json")


def _flatten(detail: Any, field: str = "") -> list[dict[str, Any]]:
    if isinstance(detail, dict):
        rows: list[dict[str, Any]] = []
        for key, value in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            rows += _flatten(value, ".".join(p for p in (field, name) if p))
        return rows
    if isinstance(detail, list):
        if detail and all(isinstance(d, dict | list) for d in detail):
            return [r for i, d in enumerate(detail) for r in _flatten(d, f"{field}[{i}]")]
        return [r for d in detail for r in _flatten(d, field)]
    return [{"field": field, "message": str(detail), "code": getattr(detail, "code", "invalid")}]


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, GovTrackError):
        errors = list(error.problems)
        if error.field and not errors:
            errors = [{"field": error.field, "message": error.message, "remedy": error.remedy}]
        return problem(
            error.status,
            error.code.replace("_", " ").capitalize(),
            str(error),
            code=error.code,
            errors=errors,
        )
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.ValidationError):
        errors = _flatten(error.detail)
        first = errors[0] if errors else {"field": "", "message": "invalid"}
        detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        return problem(400, "Invalid input", detail, code="invalid", errors=errors)
    if isinstance(error, exceptions.APIException):
        headers = {}
        if header := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = header
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait) + 1)
        return problem(
            error.status_code,
            str(error.default_detail),
            str(error.detail),
            code=str(error.default_code),
            headers=headers,
        )
    if isinstance(error, IntegrityError):
        log.warning("integrity_error", error=str(error))
        return problem(
            409,
            "Conflict",
            "This would break a rule that the database keeps: something with the same name or "
            "identity exists already, or is still in use. Reload and check, then try again.",
            code="conflict",
        )
    if isinstance(error, DataError):
        return problem(
            400, "Invalid input", "A value is out of range or malformed.", code="invalid"
        )
    return None
