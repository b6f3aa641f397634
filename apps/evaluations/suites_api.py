"""Suites: read, checked, imported and exported as the file form that people keep in git."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters as df
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
from apps.accounts.permissions import require
from apps.core.api import Detailed, FilterSet, Listed, acts, by_id, example
from apps.core.errors import InvalidInput, NotFound
from apps.core.parsers import AltTextParser, BodyTooLarge, LimitedMultiPartParser, TextParser
from apps.evaluations import services, stored, suitefile
from apps.evaluations.models import Suite, SuiteCase, SuiteRevision
from apps.evaluations.serializers import (
    CaseRow,
    CheckedRow,
    ImportedRow,
    RevisionRow,
    SuiteRow,
    SuiteUpload,
)

SUITE_BODY = {
    "multipart/form-data": SuiteUpload,
    "application/yaml": OpenApiTypes.STR,
    "application/json": OpenApiTypes.OBJECT,
}
SUITE_FILE = {
    "schema": suitefile.SCHEMA,
    "slug": "claims-triage",
    "name": "Claims triage",
    "summary": "Sorts claims into four kinds.",
    "not_measured": "Anything but the kind.",
    "license": "CC0-1.0",
    "source": "Written for this example.",
    "personal_data": False,
    "prompt": {"messages": [{"role": "user", "content": "Kind of claim: {{claim}}"}]},
    "scorers": [{"key": "kind", "type": "exact"}],
    "metrics": [
        {
            "key": "accuracy",
            "label": "Accuracy",
            "scorer": "kind",
            "direction": "higher",
            "margin": 0.05,
        }
    ],
    "cases": [{"id": "c1", "vars": {"claim": "Hail on the roof"}, "expect": "property"}],
}


class JsonAsSent(TextParser):
    """A suite in JSON goes to the suite reader byte for byte: it names lines and columns."""

    media_type = "application/json"


class SuiteFilter(FilterSet):
    class Meta:
        model = Suite
        fields = ("slug", "archived")


class SuiteResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = Suite.objects.all()
    serializer_class = SuiteRow
    filterset_class = SuiteFilter
    ordering_fields = ("created_at", "name", "slug")
    parser_classes = [TextParser, AltTextParser, JsonAsSent, LimitedMultiPartParser]
    scopes: ClassVar = {"validate": "read"}

    @acts(
        detail=False,
        url_path="import",
        request=SUITE_BODY,
        response=ImportedRow,
        status=201,
        summary="Import a suite: 201 for a new revision, 200 where this content is stored already",
        examples=[example("As JSON", SUITE_FILE)],
    )
    def import_suite(self, request: Any) -> Response:
        require(request.user, "suite.edit")
        suite = self._suite()
        revision, created = services.import_suite(actor=request.user, suite=suite)
        body = {"created": created, "revision": RevisionRow(revision).data}
        return Response(body, status=201 if created else 200)

    @acts(
        detail=False,
        request=SUITE_BODY,
        response=CheckedRow,
        summary="Check a suite and store nothing",
        examples=[example("As JSON", SUITE_FILE)],
    )
    def validate(self, request: Any) -> Response:
        suite = self._suite()
        checked = {
            "slug": suite.slug,
            "name": suite.name,
            "cases": len(suite.cases),
            "metrics": [m.key for m in suite.metrics],
            "content_hash": suite.content_hash,
        }
        return Response(CheckedRow(checked).data)

    @extend_schema(
        summary="The newest revision as a suite file",
        responses={(200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR)},
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def export(self, request: Any, pk: Any = None) -> HttpResponse:
        newest = self.get_object().revisions.order_by("-number").first()
        if newest is None:
            raise NotFound("This suite has no revision yet.", remedy="Import one.")
        return as_yaml(newest)

    def _suite(self) -> suitefile.Suite:
        """Raises InvalidInput with every problem and its place, BodyTooLarge, ValidationError."""
        sent = self.request.data
        cases = None
        if isinstance(sent, bytes):
            data, filename = sent, self._filename()
        else:
            unknown = [name for name in sent if name not in ("file", "cases")]
            if unknown:
                raise ValidationError({unknown[0][:120]: ["Unknown field. Known: cases, file."]})
            upload = SuiteUpload(data=sent)
            upload.is_valid(raise_exception=True)
            files = upload.validated_data
            for name, file in files.items():
                if file.size > suitefile.MAX_FILE_BYTES:
                    raise BodyTooLarge(suitefile.MAX_FILE_BYTES, f"The file “{name}”")
            data, filename = files["file"].read(), files["file"].name
            cases = files["cases"].read() if "cases" in files else None
        try:
            return suitefile.parse_suite_bytes(data, filename=filename, cases=cases)
        except suitefile.SuiteError as error:
            raise refused(error) from None

    def _filename(self) -> str:
        is_json = (self.request.content_type or "").startswith("application/json")
        return "suite.json" if is_json else "suite.yaml"


def refused(error: suitefile.SuiteError) -> InvalidInput:
    rows: list[dict[str, object]] = [
        {
            "field": p.path or "file",
            "message": p.message,
            "file": p.file,
            "line": p.line,
            "column": p.column,
        }
        for p in error.problems
    ]
    more = len(rows) + error.left_out - 1
    return InvalidInput(
        str(error.problems[0]) + (f" (and {more} more)" if more else ""),
        field=error.problems[0].path or "file",
        remedy="Nothing was stored. Mend the file and send it again.",
        code="invalid_suite",
        problems=rows,
    )


def as_yaml(revision: SuiteRevision) -> HttpResponse:
    content = suitefile.dump_suite(stored.suite_of(revision))
    name = f"{revision.suite.slug}-r{revision.number}.yaml"
    return HttpResponse(
        content,
        content_type="application/yaml; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "ETag": f'"{revision.content_hash}"',
        },
    )


class RevisionFilter(FilterSet):
    suite = by_id("suite")
    suite_slug = df.CharFilter(field_name="suite__slug", label="Slug of the suite.")

    class Meta:
        model = SuiteRevision
        fields = ("number", "content_hash")


class RevisionResource(Listed, Detailed, VisibleResource):
    team_path = None
    queryset = SuiteRevision.objects.select_related("suite", "imported_by")
    serializer_class = RevisionRow
    filterset_class = RevisionFilter

    @extend_schema(
        summary="This revision as a suite file",
        responses={(200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR)},
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def export(self, request: Any, pk: Any = None) -> HttpResponse:
        return as_yaml(self.get_object())


class CaseFilter(df.FilterSet):
    class Meta:
        model = SuiteCase
        fields = ("case_id",)


class CaseResource(Listed, ChildResource):
    parent_queryset = SuiteRevision.objects
    parent_field = "revision"
    queryset = SuiteCase.objects.all()
    serializer_class = CaseRow
    filterset_class = CaseFilter
    ordering = ("position", "id")
    ordering_fields = ("position",)
