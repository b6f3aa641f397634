"""What the pages of the inventory share: pages of a list, links, and acts that may fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.forms import BaseForm
from django.http import Http404, HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from apps.accounts.models import User
from apps.core.errors import GovTrackError, NotFound, ReauthenticationRequired, StaleVersion
from apps.registry.gate import GateAnswer

T = TypeVar("T")
M = TypeVar("M", bound=models.Model)
PAGE = 50
# What holds a version up comes first.
GATE_RANK = {"hold": 0, "deny": 1, "conditional": 2, "allow": 3}
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Page:
    rows: list[Any]
    total: int
    previous: str
    next: str
    text: str


def paged(request: HttpRequest, rows: Sequence[Any] | models.QuerySet[Any]) -> Page:
    """The page of a list that the address asks for; the last one for a number beyond it."""
    total = rows.count() if isinstance(rows, models.QuerySet) else len(rows)
    last = max(1, -(-total // PAGE))
    asked = request.GET.get("page", "1")
    number = min(max(int(asked), 1), last) if asked.isdecimal() and len(asked) < 9 else 1
    first = (number - 1) * PAGE
    shown = list(rows[first : first + PAGE])

    def address(page: int) -> str:
        query = request.GET.copy()
        query["page"] = str(page)
        return f"?{query.urlencode()}"

    return Page(
        rows=shown,
        total=total,
        previous=address(number - 1) if number > 1 else "",
        next=address(number + 1) if number < last else "",
        text=f"{first + 1:,}–{first + len(shown):,} of {total:,}" if shown else "",
    )


def query(request: HttpRequest) -> str:
    """The search as typed, without what the database cannot hold."""
    return request.GET.get("q", "").replace("\x00", "").strip()[:200]


def link(name: str, *args: Any, **parameters: Any) -> str:
    """An address, or "" for a page that is not there."""
    try:
        url = reverse(name, args=args)
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode(parameters)}" if parameters else url


def found(rows: models.QuerySet[M], **lookup: Any) -> M:
    """The one visible row. Raises Http404: what may not be seen is not there."""
    row = rows.filter(**lookup).first()
    if row is None:
        raise Http404
    return row


def chosen(rows: models.QuerySet[M], value: str | None) -> M | None:
    """The row that a parameter of the address names by id; None for anything else."""
    try:
        return rows.filter(pk=UUID(value)).first() if value else None
    except ValueError:
        return None


def person(request: HttpRequest) -> User:
    """Who asks; only for views behind `login_required`."""
    assert isinstance(request.user, User)
    return request.user


def attempt(form: BaseForm, act: Callable[[], T], fields: dict[str, str] | None = None) -> T | None:
    """What `act` gives; None when it refused, with the reason at the field that it names.

    `fields` maps a service's field to the form's. Raises NotFound (the page answers 404).
    """
    try:
        return act()
    except (NotFound, ReauthenticationRequired):
        raise
    except GovTrackError as error:
        name = (fields or {}).get(error.field, error.field)
        message = str(error)
        if isinstance(error, StaleVersion):
            message = (
                "Somebody else saved this since you opened it. What you typed is still below: "
                "open the page again in another tab, compare, and enter it there."
            )
        name = re.split(r"[.\[]", name)[0]  # parameters.temperature: said at parameters
        field = form.fields.get(name)
        form.add_error(name if field and not field.widget.is_hidden else None, message)
        return None


def worst(answers: Iterable[GateAnswer]) -> str:
    """The gate of a version over all its uses; "none" where nobody asked for it."""
    return min((a.answer for a in answers), key=GATE_RANK.__getitem__, default="none")


def word(number: int) -> str:
    """ "nine", then 10."""
    return WORDS[number] if 0 <= number < len(WORDS) else f"{number:,}"


def count(number: int, singular: str, plural: str = "") -> str:
    """ "no versions", "one version", "12 versions"."""
    return f"{word(number)} {singular if number == 1 else plural or singular + 's'}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def options(choices: Iterable[tuple[str, str]], everything: str) -> list[dict[str, str]]:
    return [{"value": "", "label": everything}] + [{"value": v, "label": t} for v, t in choices]
