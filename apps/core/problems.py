"""RFC 9457 problem details for every error the API gives."""

from __future__ import annotations

import json
from typing import Any

import structlog
from django.conf import settings
from django.core import exceptions as django_exceptions
from django.core.signals import got_request_exception
from django.db import IntegrityError
from django.db.utils import DataError
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import GovTrackError

log = structlog.get_logger(__name__)
CONTENT_TYPE = "application/problem+json"
REMEDIES: dict[type[Exception], str] = {
    exceptions.NotAuthenticated: (
        "You are not signed in. Send a token as `Authorization: Bearer <token>`, or sign in."
    ),
    exceptions.NotFound: "There is nothing here, or nothing that you may see.",
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details. `errors` names each input at fault.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable, for machines."},
        "request_id": {"type": "string", "description": "Find it in the logs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "remedy": {"type": "string"},
                    "code": {"type": "string"},
                },
                "additionalProperties": True,
            },
        },
    },
    "example": {
        "type": "urn:govtrack:problem:stale",
        "title": "Stale",
        "status": 412,
        "detail": "Somebody else changed this since you read it. GET it again, look at what "
        "changed, then send your change with the new ETag.",
        "code": "stale",
        "errors": [{"field": "If-Match", "message": "Somebody else changed this."}],
    },
}


def document_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular hook: every operation may answer with a problem."""
    result["components"].setdefault("schemas", {})["Problem"] = SCHEMA
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault(
                "default", {"description": "What went wrong and what to do.", "content": content}
            )
    return result


@csrf_exempt
def unknown_route(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """Everything below /api/ that no route serves."""
    body = {
        "type": "urn:govtrack:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": f"There is no {request.path} in this API. See /api/v1/docs for what there is; "
        "addresses have no slash at the end.",
        "code": "not_found",
    }
    return HttpResponse(json.dumps(body), status=404, content_type=CONTENT_TYPE)


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
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def _flatten(detail: Any, field: str = "") -> list[dict[str, Any]]:
    if isinstance(detail, dict):
        rows: list[dict[str, Any]] = []
        for key, value in detail.items():
            if isinstance(key, int):  # the position in a list
                rows += _flatten(value, f"{field}[{key}]")
                continue
            name = "" if key == "non_field_errors" else str(key)
            rows += _flatten(value, ".".join(p for p in (field, name) if p))
        return rows
    if isinstance(detail, list):
        if detail and all(isinstance(d, dict | list) for d in detail):
            return [r for i, d in enumerate(detail) for r in _flatten(d, f"{field}[{i}]")]
        return [r for d in detail for r in _flatten(d, field)]
    return [{"field": field, "message": str(detail), "code": getattr(detail, "code", "invalid")}]


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: whatever a view raises leaves as a problem."""
    response = _answer(error, context)
    request_id = getattr(getattr(context.get("request"), "_request", None), "request_id", "")
    if request_id:
        response.data["request_id"] = request_id
    return response


def _answer(error: Exception, context: dict[str, Any]) -> Response:
    if isinstance(error, GovTrackError):
        return _of_ours(error)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, django_exceptions.PermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, django_exceptions.ValidationError):
        error = exceptions.ValidationError(getattr(error, "error_dict", None) or error.messages)
    if isinstance(error, exceptions.ValidationError):
        errors = _flatten(error.detail)
        first = errors[0] if errors else {"field": "", "message": "invalid"}
        detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        return problem(400, "Invalid input", detail, code="invalid", errors=errors)
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error)
    if isinstance(error, django_exceptions.RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 1024
        detail = f"The request body is larger than {limit:,} KiB. Send less in one request."
        return problem(413, "Request body too large", detail, code="body_too_large")
    if isinstance(error, django_exceptions.SuspiciousOperation):
        return problem(400, "Bad request", "The request cannot be read.", code="bad_request")
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
    return _unforeseen(error, context)


def _of_ours(error: GovTrackError) -> Response:
    errors = list(error.problems)
    if error.field and not errors:
        errors = [{"field": error.field, "message": error.message, "remedy": error.remedy}]
    wait = getattr(error, "retry_after", None)
    return problem(
        error.status,
        error.code.replace("_", " ").capitalize(),
        str(error),
        code=error.code,
        errors=errors,
        headers={"Retry-After": str(wait)} if wait else None,
    )


def _of_rest_framework(error: exceptions.APIException) -> Response:
    headers = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    detail = str(error.detail)
    if detail == str(error.default_detail):
        detail = REMEDIES.get(type(error), detail)
    return problem(
        error.status_code,
        str(error.default_detail).rstrip("."),
        detail,
        code=str(error.default_code),
        headers=headers,
    )


def _unforeseen(error: Exception, context: dict[str, Any]) -> Response:
    """A fault of ours. Django is told (its log, its test client, error trackers), the client
    gets nothing of the inside."""
    request = getattr(context.get("request"), "_request", None)
    got_request_exception.send(sender=exception_handler, request=request)
    log.error("unforeseen_error", exc_info=error)
    return problem(
        500,
        "Internal error",
        "Something failed on our side, and nothing was saved. Try again; if it stays, give "
        "the request id to whoever runs this installation.",
        code="internal_error",
    )
