"""Cursor pagination for the API: stable while rows are added."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.utils import DataError
from rest_framework import exceptions, pagination


class CursorPagination(pagination.CursorPagination):
    """Newest first by id: UUIDv7 ids are time-ordered, unique and indexed, so a cursor never
    skips or repeats a row, however many share one moment."""

    page_size = 50
    page_size_query_param = "page_size"
    page_size_query_description = "Rows in one page, at most 500."
    cursor_query_description = "From `next` or `previous` of another page; never made by hand."
    max_page_size = 500
    ordering = ("-id",)

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (DjangoValidationError, DataError, ValueError):
            # Its position is no value of the field that orders the list.
            raise _malformed() from None

    def decode_cursor(self, request: Any) -> Any:
        given = request.query_params.get(self.cursor_query_param)
        try:
            if given is not None:
                b64decode(given.encode("ascii"), validate=True).decode("ascii")
            return super().decode_cursor(request)
        except (exceptions.NotFound, binascii.Error, UnicodeError):
            raise _malformed() from None

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        ordering = tuple(super().get_ordering(request, queryset, view))
        last = ordering[-1]
        if last.lstrip("-") in ("id", "seq", "size"):
            return ordering
        return (*ordering, "-id" if last.startswith("-") else "id")


def _malformed() -> exceptions.ValidationError:
    return exceptions.ValidationError(
        {"cursor": ["This is no cursor of this list. Follow `next` from its first page."]}
    )
