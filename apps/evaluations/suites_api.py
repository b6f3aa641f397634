"""Suites: read, checked, imported and exported as the file form that people keep in git."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import django_filters as df
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from apps.accounts.api import ChildResource, VisibleResource
from apps.accounts.permissions import require
from apps.core.api import Detailed, FilterSet, Listed, acts, by_id, example
from apps.core.errors import InvalidInput, NotFound
from apps.core.parsers import AltTextParser, BodyTooLarge, LimitedMultiPartParser, TextParser
from apps.evaluations import imports, revisions, stored, suitefile, suites, trying
from apps.evaluations.imports.converting import convert
from apps.evaluations.models import Suite, SuiteCase, SuiteRevision
from apps.evaluations.suitefile.schema import published
from apps.evaluations.suites_serializers import (
    CaseRow,
    CheckedRow,
    DifferenceRow,
    ImportedRow,
    Revise,
    RevisionRow,
    SuiteRow,
    SuiteUpload,
    TriedRow,
    TryCase,
)

AS_FORMAT = OpenApiParameter(
    "as",
    str,
    enum=["govtrack", *(f.name for f in imports.FORMATS.values() if f.write)],
    description="The form; what it cannot hold is left out (number in the header X-Left-Out).",
)
SOME_ID = "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d"
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


@dataclasses.dataclass(frozen=True)
class Given:
    """A checked suite out of a request."""

    suite: suitefile.Suite
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""


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
        given = self._given()
        revision, created = suites.import_suite(
            actor=request.user, suite=given.suite, reason=given.reason, origin=given.origin
        )
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
        given = self._given()
        suite = given.suite
        checked = {
            "slug": suite.slug,
            "name": suite.name,
            "cases": len(suite.cases),
            "metrics": [m.key for m in suite.metrics],
            "content_hash": suite.content_hash,
            "origin": given.origin,
        }
        return Response(CheckedRow(checked).data)

    @extend_schema(
        summary="The JSON Schema of a suite file, for editors and checks before a commit",
        responses={(200, "application/schema+json"): OpenApiResponse(OpenApiTypes.OBJECT)},
        filters=False,
    )
    @action(detail=False, methods=["get"], url_path="schema", url_name="file-schema")
    def file_schema(self, request: Any) -> HttpResponse:
        return HttpResponse(published(), content_type="application/schema+json")

    @extend_schema(
        summary="The newest revision as a suite file, or in another tool's form",
        parameters=[AS_FORMAT],
        responses={(200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR)},
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def export(self, request: Any, pk: Any = None) -> HttpResponse:
        newest = self.get_object().revisions.order_by("-number").first()
        if newest is None:
            raise NotFound("This suite has no revision yet.", remedy="Import one.")
        return exported(newest, request.query_params.get("as", ""))

    def _given(self) -> Given:
        """Raises InvalidInput with every problem and its place, BodyTooLarge, ValidationError."""
        sent = self.request.data
        if isinstance(sent, bytes):
            return Given(self._parsed(sent, self._filename()))
        known = SuiteUpload().fields
        unknown = [name for name in sent if name not in known]
        if unknown:
            raise ValidationError(
                {unknown[0][:120]: [f"Unknown field. Known: {', '.join(sorted(known))}."]}
            )
        upload = SuiteUpload(data=sent)
        upload.is_valid(raise_exception=True)
        values = upload.validated_data
        for name in ("file", "cases"):
            if name in values and values[name].size > suitefile.MAX_FILE_BYTES:
                raise BodyTooLarge(suitefile.MAX_FILE_BYTES, f"The file “{name}”")
        data, filename = values["file"].read(), values["file"].name
        reason = values.get("reason", "")
        if values["format"] == "govtrack":
            cases = values["cases"].read() if "cases" in values else None
            return Given(self._parsed(data, filename, cases), reason=reason)
        head = {
            f.name: values[f.name] for f in dataclasses.fields(imports.Head) if f.name in values
        }
        options = imports.Options(values.get("scorer", ""), values.get("prompt", ""))
        try:
            found = convert(
                values["format"],
                data,
                filename=filename,
                head=imports.Head(**head),
                options=options,
            )
        except suitefile.SuiteError as error:
            raise refused(error) from None
        except imports.ImportRefused as error:
            raise InvalidInput(
                str(error), field="file", remedy="Nothing was stored.", code="import_refused"
            ) from None
        return Given(found.suite, found.origin, reason)

    def _parsed(self, data: bytes, filename: str, cases: bytes | None = None) -> suitefile.Suite:
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


def exported(revision: SuiteRevision, name: str = "") -> HttpResponse:
    """A revision as a download: its own form, or `name`'s. What that form cannot hold is counted
    in a header. Raises InvalidInput."""
    if not name or name == "govtrack":
        return as_yaml(revision)
    try:
        content, losses = imports.write(name, stored.suite_of(revision))
    except imports.ImportRefused as error:
        raise InvalidInput(str(error), field="as", remedy="Choose another form.") from None
    ending = imports.FORMATS[name].ending
    return HttpResponse(
        content,
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{revision.suite.slug}-'
            f'r{revision.number}.{ending}"',
            "X-Left-Out": str(len(losses)),
        },
    )


def as_yaml(revision: SuiteRevision) -> HttpResponse:
    suite = stored.suite_of(revision)
    content = suitefile.dump_suite(suite, stored.images_of(suite))
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
    scopes: ClassVar = {"try_case": "run"}

    @extend_schema(
        summary="This revision as a suite file, or in another tool's form",
        parameters=[AS_FORMAT],
        responses={(200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR)},
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def export(self, request: Any, pk: Any = None) -> HttpResponse:
        return exported(self.get_object(), request.query_params.get("as", ""))

    @acts(
        request=Revise,
        response=ImportedRow,
        status=201,
        summary="Save the next revision: cases set or removed, thresholds changed, with a reason",
        examples=[
            example(
                "A case and a margin",
                {
                    "reason": "The claims desk was renamed.",
                    "set_cases": [{"id": "c1", "vars": {"claim": "Hail"}, "expect": "property"}],
                    "remove_cases": ["c9"],
                },
            )
        ],
    )
    def revise(self, request: Any, pk: Any = None) -> Response:
        revision = self.get_object()
        given = self.body(Revise)
        try:
            saved, created = suites.revise(actor=request.user, revision=revision, **given)
        except suitefile.SuiteError as error:
            raise refused(error) from None
        body = {"created": created, "revision": RevisionRow(saved).data}
        return Response(body, status=201 if created else 200)

    @acts(
        request=TryCase,
        response=TriedRow,
        url_path="try",
        summary="Ask a version one case now: a real call whose answer is not stored",
        examples=[example("A stored case", {"model_version": SOME_ID, "case_id": "c1"})],
    )
    def try_case(self, request: Any, pk: Any = None) -> Response:
        revision = self.get_object()
        given = self.body(TryCase)
        wanted = given.get("case")
        try:
            suite = suites.changed(revision, set_cases=[wanted] if wanted else (), changes={})
        except suitefile.SuiteError as error:
            raise refused(error) from None
        name = str(wanted["id"]) if wanted else given["case_id"]
        case = next((c for c in suite.cases if c.id == name), None)
        if case is None:
            raise InvalidInput(f"There is no case '{name[:80]}'.", field="case_id")
        tried = trying.try_case(
            actor=request.user,
            model_version=given["model_version"],
            revision=revision,
            suite=suite,
            case=case,
        )
        return Response(TriedRow(tried).data)

    @extend_schema(
        summary="What this revision changed against another of its suite, and what is the same",
        parameters=[
            OpenApiParameter("against", int, description="Number of the other; default: before it.")
        ],
        responses=DifferenceRow,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def difference(self, request: Any, pk: Any = None) -> Response:
        revision = self.get_object()
        number = request.query_params.get("against") or str(max(revision.number - 1, 1))
        if not (number.isascii() and number.isdigit()) or len(number) > 9:
            raise InvalidInput("'against' is the number of a revision.", field="against")
        other = revision.suite.revisions.filter(number=int(number)).first()
        if other is None:
            raise NotFound(f"This suite has no revision {number}.")
        diff, same = revisions.difference(other, revision), revisions.same_cases(other, revision)
        row = {
            "sentence": diff.sentence(),
            "comparable": same.sentence(),
            "same_cases": same.case_ids,
            "metrics": same.metric_keys,
            "difference": dataclasses.asdict(diff),
        }
        return Response(DifferenceRow(row).data)


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
