"""May this use case call this version now? As JSON, and as an auth sub-request of a proxy."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from apps.accounts.permissions import require, visible
from apps.core.api import Resource, example
from apps.core.errors import NotFound
from apps.core.problems import problem
from apps.registry import gate
from apps.registry.models import ModelVersion, UseCase
from apps.registry.serializers import GateAnswerRow

QUESTION = [
    OpenApiParameter("use_case", str, required=True, description="Slug of the use case."),
    OpenApiParameter(
        "version", OpenApiTypes.STR, required=True, description="Id of the version, or its label."
    ),
]
HOLD = {
    "answer": "hold",
    "reason": "A-3 is on hold: RT-1 (critical) is open.",
    "use_case": "claims-triage",
    "model_version": {"id": "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d", "name": "assistant-instant"},
    "approval": {"id": "0197f3a0-9c11-7d21-8a42-6a0cf1a2e3b4", "name": "A-3"},
    "conditions": "",
    "decided": True,
    "checked_at": "2026-01-05T09:12:44Z",
}


class GateResource(Resource):
    serializer_class = GateAnswerRow
    required_action = "gate.check"
    pagination_class = None

    @property
    def required_scope(self) -> str:
        return "gate"

    @extend_schema(
        summary="The gate's answer, with 200 whatever it is",
        parameters=QUESTION,
        responses=GateAnswerRow,
        filters=False,
        examples=[example("On hold", HOLD, response=True)],
    )
    def ask(self, request: Any) -> Response:
        use_case, version = self._question()
        found = gate.check(use_case=use_case, model_version=version)
        return Response(_row(found), headers={"Cache-Control": "no-store"})

    @extend_schema(
        summary="The gate as an auth sub-request: 204 go on, 403 stop",
        description="For nginx auth_request and the like. The answer and its reason are also in "
        "the headers X-GovTrack-Answer and X-GovTrack-Reason (percent-encoded). A use case or "
        "version that is unknown is a 403, too: only 204 lets a call through.",
        parameters=QUESTION,
        responses={
            204: OpenApiResponse(description="allow or conditional"),
            403: OpenApiResponse(description="hold or deny"),
        },
        filters=False,
    )
    def check(self, request: Any) -> Response:
        try:
            use_case, version = self._question()
        except NotFound as error:
            return _stop("deny", error.message)
        found = gate.check(use_case=use_case, model_version=version)
        if found.open:
            return Response(status=204, headers=_headers(found.answer, found.reason))
        return _stop(found.answer, found.reason)

    def _question(self) -> tuple[UseCase, ModelVersion]:
        """Raises ValidationError for what is missing, NotFound for what they may not see."""
        asked = self.request.query_params
        errors = {
            n: ["Give it once."] for n in ("use_case", "version") if len(asked.getlist(n)) != 1
        }
        errors |= {
            n[:120]: ["Unknown parameter."] for n in asked if n not in ("use_case", "version")
        }
        if errors:
            raise ValidationError(errors)
        user = self.request.user
        use_case = visible(user, UseCase.objects.filter(slug=asked["use_case"][:80])).first()
        versions = _versions_called(asked["version"])
        if len(versions) > 1:
            raise ValidationError(
                {"version": ["More than one version has this label: give the id instead."]}
            )
        version = versions[0] if versions else None
        if use_case is None or version is None:
            raise NotFound(
                "There is no such use case or version, or you may not see it.",
                field="use_case" if use_case is None else "version",
                remedy="Check the slug, and the version's id or label.",
            )
        require(user, "gate.check", use_case)
        return use_case, version


def _versions_called(name: str) -> list[ModelVersion]:
    if "\x00" in name:  # PostgreSQL's text cannot hold it
        return []
    try:
        return list(ModelVersion.objects.filter(pk=uuid.UUID(name)))
    except ValueError:
        return list(ModelVersion.objects.filter(label=name[:200])[:2])


def _row(found: gate.GateAnswer) -> Any:
    return GateAnswerRow(
        {
            "answer": str(found.answer),
            "reason": found.reason,
            "use_case": found.use_case.slug,
            "model_version": _ref(found.model_version),
            "approval": _ref(found.approval) if found.approval else None,
            "conditions": found.conditions,
            "decided": found.decided,
            "checked_at": found.checked_at,
        }
    ).data


def _ref(obj: Any) -> dict[str, Any]:
    return {"id": obj.pk, "name": str(obj)}


def _headers(answer: str, reason: str) -> dict[str, str]:
    return {
        "X-GovTrack-Answer": str(answer),
        "X-GovTrack-Reason": quote(reason[:500], safe=" ,.:;()-"),
        "Cache-Control": "no-store",
    }


def _stop(answer: str, reason: str) -> Response:
    stopped = problem(403, f"Gate: {answer}", reason, code=f"gate_{answer}")
    for name, value in _headers(answer, reason).items():
        stopped[name] = value
    return stopped
