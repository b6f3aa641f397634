"""What every resource of the API does alike, so that its own file only says what it is.

A view parses, calls one service, serializes. `required_scope` is what a token needs;
`required_action` (a key of the permission table) is what the person needs before anything is
looked at; which rows they see is decided by the app's `get_queryset`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import django_filters as df
from django.db import models
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import filters, mixins, negotiation, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from apps.core import etags
from apps.core.idempotency import idempotent
from apps.core.parsers import StrictJSONParser
from apps.core.serializers import Nothing

Handler = TypeVar("Handler", bound=Callable[..., Any])
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A UUID of your own making. The same key and body act once within 24 hours.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The ETag that you read: refused with 412 if somebody else saved since.",
)
IF_MATCH_REQUIRED = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, required=True, description=IF_MATCH.description
)


class AlwaysJson(negotiation.DefaultContentNegotiation):
    """One representation: a browser that asks for HTML gets the JSON, not a 406."""

    def select_renderer(
        self, request: Any, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class Ordering(filters.OrderingFilter):
    """Only by the fields that a view names; another one is an error, not ignored."""

    def remove_invalid_fields(
        self, queryset: Any, fields: Any, view: Any, request: Any
    ) -> list[str]:
        known = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        for term in fields:
            if term.removeprefix("-") not in known:
                raise ValidationError({"ordering": [f"Can order by: {', '.join(known)}."]})
        return list(fields)


class FilterSet(df.FilterSet):
    """Filters shared by all lists. Ids are compared, never looked up: a filter must not tell
    whether something exists that the caller may not see."""

    since = df.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="gte", label="Created at or after (ISO 8601)."
    )
    until = df.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="lt", label="Created before (ISO 8601)."
    )


def by_id(path: str, label: str = "") -> df.UUIDFilter:
    return df.UUIDFilter(field_name=f"{path}_id", label=label or f"Id of the {path}.")


def by_choice(choices: type[models.TextChoices], path: str | None = None) -> df.ChoiceFilter:
    return df.ChoiceFilter(field_name=path, choices=choices.choices)


class Resource(viewsets.GenericViewSet[Any]):
    parser_classes = [StrictJSONParser]
    content_negotiation_class = AlwaysJson
    filter_backends = [DjangoFilterBackend, Ordering]
    lookup_value_converter = "uuid"
    ordering: Sequence[str] = ("-id",)
    ordering_fields: Sequence[str] = ("created_at",)
    # action name -> scope, where it is not "read" for safe methods and "write" for others.
    scopes: ClassVar[dict[str, str]] = {}
    required_action: ClassVar[str] = ""

    @property
    def required_scope(self) -> str:
        method = (getattr(self, "request", None) and self.request.method) or "GET"
        fallback = "read" if method in ("GET", "HEAD", "OPTIONS") else "write"
        return self.scopes.get(getattr(self, "action", None) or "", fallback)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """What is allowed here, in the Allow header; the schema says the rest."""
        return Response(status=204)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def filter_queryset(self, queryset: Any) -> Any:
        """Filters are for lists: a detail address names its object fully."""
        if self.detail:
            return queryset
        self._refuse_unknown_parameters(queryset)
        return super().filter_queryset(queryset)

    def _refuse_unknown_parameters(self, queryset: Any) -> None:
        """`?sate=open` must not answer as if nothing had been asked."""
        known = {"cursor", "page_size", "ordering"}
        filterset = getattr(self, "filterset_class", None)
        if filterset:
            known |= set(filterset.base_filters)
        for name in self.request.query_params:
            if name not in known:
                raise ValidationError(
                    {name[:120]: [f"Unknown parameter. Known: {', '.join(sorted(known))}."]}
                )

    def body(
        self, serializer: type[serializers.Serializer[Any]], *, partial: bool = False
    ) -> dict[str, Any]:
        """The validated input. Raises ValidationError naming each field at fault."""
        parsed = serializer(
            data=self.request.data, partial=partial, context=self.get_serializer_context()
        )
        parsed.is_valid(raise_exception=True)
        if partial and not parsed.validated_data:
            names = ", ".join(parsed.fields)
            raise ValidationError({"body": [f"Nothing to change. Give one of: {names}."]})
        return dict(parsed.validated_data)

    def nothing(self) -> None:
        """For acts without input. Raises ValidationError naming what was sent nevertheless."""
        Nothing(data=self.request.data).is_valid(raise_exception=True)

    def shown(
        self,
        obj: models.Model,
        *,
        status: int = 200,
        serializer: type[serializers.BaseSerializer[Any]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Response:
        """The object as the database has it now (a service may have worked on a locked copy)."""
        fresh = type(obj)._default_manager.get(pk=obj.pk)
        with_class = serializer or self.get_serializer_class()
        data = {**with_class(fresh, context=self.get_serializer_context()).data, **(extra or {})}
        headers = etags.headers_for(fresh)
        if status == 201:
            path = self.request.path.rstrip("/")
            if not path.endswith(str(obj.pk)):
                headers["Location"] = self.request.build_absolute_uri(f"{path}/{obj.pk}")
        return Response(data, status=status, headers=headers)

    def version(self, obj: Any, *, required: bool = False) -> int | None:
        return etags.expected_version(self.request, obj, required=required)


Listed = mixins.ListModelMixin


class Detailed(mixins.RetrieveModelMixin):
    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        obj = self.get_object()  # type: ignore[attr-defined]
        return Response(
            self.get_serializer(obj).data,  # type: ignore[attr-defined]
            headers=etags.headers_for(obj),
        )


def example(name: str, value: Any, *, response: bool = False) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=not response, response_only=response)


def creates(
    *,
    request: Any,
    response: Any,
    summary: str,
    description: str = "",
    examples: Sequence[OpenApiExample] = (),
    redact: tuple[str, ...] = (),
    status: int = 201,
) -> Callable[[Handler], Handler]:
    """A creating POST: documented, and acting once for one Idempotency-Key."""

    def wrap(handler: Handler) -> Handler:
        documented = extend_schema(
            request=request,
            responses={status: response},
            parameters=[IDEMPOTENCY_KEY],
            summary=summary,
            description=description or None,
            examples=list(examples),
        )
        return documented(idempotent(redact=redact)(handler))

    return wrap


def acts(
    *,
    response: Any,
    summary: str,
    request: Any = Nothing,
    description: str = "",
    examples: Sequence[OpenApiExample] = (),
    detail: bool = True,
    status: int = 200,
    if_match: bool = False,
    url_path: str | None = None,
) -> Callable[[Handler], Handler]:
    """A verb on an object: POST <object>/<verb>."""

    def wrap(handler: Handler) -> Handler:
        documented = extend_schema(
            request=request,
            responses={status: response},
            parameters=[IDEMPOTENCY_KEY, *([IF_MATCH] if if_match else [])],
            summary=summary,
            description=description or None,
            examples=list(examples),
            filters=False,
        )
        path = url_path or handler.__name__.replace("_", "-")
        routed: Any = action(detail=detail, methods=["post"], url_path=path)
        return documented(routed(idempotent()(handler)))  # action() would drop the schema

    return wrap


def changes(
    *, request: Any, response: Any, summary: str, examples: Sequence[OpenApiExample] = ()
) -> Callable[[Handler], Handler]:
    """A PATCH, which needs If-Match."""

    def wrap(handler: Handler) -> Handler:
        documented = extend_schema(
            request=request,
            responses={200: response},
            parameters=[IF_MATCH_REQUIRED],
            summary=summary,
            examples=list(examples),
        )
        return documented(handler)

    return wrap


__all__ = [
    "Detailed",
    "FilterSet",
    "Listed",
    "OpenApiTypes",
    "Resource",
    "acts",
    "by_choice",
    "by_id",
    "changes",
    "creates",
    "example",
]
