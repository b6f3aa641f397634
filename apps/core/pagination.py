"""Cursor pagination for the API: stable while rows are added."""

from __future__ import annotations

from typing import Any

from rest_framework import pagination


class CursorPagination(pagination.CursorPagination):
    """Newest first by id: UUIDv7 ids are time-ordered, unique and indexed, so a cursor never
    skips or repeats a row, however many share one moment."""

    page_size = 50
    page_size_query_param = "page_size"
    page_size_query_description = "Rows in one page, at most 500."
    cursor_query_description = "From `next` or `previous` of another page; never made by hand."
    max_page_size = 500
    ordering = ("-id",)

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        ordering = tuple(super().get_ordering(request, queryset, view))
        last = ordering[-1]
        if last.lstrip("-") in ("id", "seq", "size"):
            return ordering
        return (*ordering, "-id" if last.startswith("-") else "id")
