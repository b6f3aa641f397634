"""What every list and form page needs: numbered pages, clean parameters, errors at their field."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.http import HttpRequest

from apps.accounts.models import User
from apps.core.errors import GovTrackError


def signed_in(request: HttpRequest) -> User:
    """The person behind a request that `login_required` let through."""
    assert isinstance(request.user, User)
    return request.user


def param(request: HttpRequest, name: str, most: int = 200) -> str:
    """A parameter of the address as the database can take it: no NUL, not endless."""
    return request.GET.get(name, "").replace("\x00", "").strip()[:most]


def chosen(request: HttpRequest, name: str, allowed: Any) -> str:
    """A parameter that must be one of `allowed`; anything else counts as not given."""
    value = param(request, name)
    return value if value in allowed else ""


def short(name: object, most: int = 80) -> str:
    """A name inside a sentence; its page shows it whole."""
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def as_uuid(value: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(value)
    except ValueError:
        return None


@dataclass(frozen=True)
class Listing:
    """One page of a list, with the addresses of its neighbours."""

    rows: list[Any]
    count: int
    text: str
    previous: str
    next: str

    @property
    def first(self) -> bool:
        """Is this the first page?"""
        return not self.previous


def listing(request: HttpRequest, rows: Any, *, size: int = 50) -> Listing:
    """The page that `?page=` asks for; one beyond the end gives the last, nonsense the first."""
    page = Paginator(rows, size).get_page(request.GET.get("page"))
    count = page.paginator.count

    def address(number: int) -> str:
        query = request.GET.copy()
        query["page"] = str(number)
        return f"?{query.urlencode()}"

    return Listing(
        rows=list(page.object_list),
        count=count,
        text=f"{page.start_index():,} to {page.end_index():,} of {count:,}",
        previous=address(page.previous_page_number()) if page.has_previous() else "",
        next=address(page.next_page_number()) if page.has_next() else "",
    )


def sort_order(request: HttpRequest, keys: dict[str, str], default: str) -> tuple[str, ...]:
    """Fields to order by, for `?sort=key` or `?sort=-key`; `keys`: key of the address → field."""
    wanted = request.GET.get("sort", "")
    if wanted.lstrip("-") not in keys:
        wanted = default
    field = keys[wanted.lstrip("-")]
    return (f"-{field}", "-id") if wanted.startswith("-") else (field, "id")


def select(name: str, label: str, value: str, options: Any, every: str) -> dict[str, Any]:
    """A select of the filter bar; `every` is the option that filters nothing."""
    rows = [{"value": "", "label": every}]
    rows += [{"value": str(v), "label": str(text)} for v, text in options]
    return {"name": name, "label": label, "value": value, "options": rows}


def add_error(form: forms.Form, error: GovTrackError, **renamed: str) -> None:
    """Show a service's error at the field that it names; `renamed`: its name → the form's."""
    name = renamed.get(error.field, error.field)
    form.add_error(name if name in form.fields else None, str(error))
