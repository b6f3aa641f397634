"""Small checks of what people and machines send in: each error names the field and the remedy."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable
from typing import Any

from django.db import models
from django.utils import timezone

from apps.core.errors import InvalidInput

SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


def text(
    value: Any, field: str, *, required: bool = True, least: int = 1, most: int = 20_000
) -> str:
    """`value` without white space around it. Raises InvalidInput for what cannot be stored."""
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise InvalidInput(f"“{field}” must be text.", field=field, remedy="Send a string.")
    value = value.strip()
    if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidInput(
            f"“{field}” holds a character that cannot be stored (NUL or half a surrogate pair).",
            field=field,
            remedy="Remove it; text must be valid UTF-8.",
        )
    if not value and not required:
        return ""
    if len(value) < least:
        remedy = "Fill it in." if least <= 1 else f"Write at least {least} characters."
        raise InvalidInput(
            f"“{field}” is missing." if not value else f"“{field}” is too short.",
            field=field,
            remedy=remedy,
        )
    if len(value) > most:
        raise InvalidInput(
            f"“{field}” has {len(value)} characters; {most} are allowed.",
            field=field,
            remedy="Shorten it.",
        )
    return value


def slug(value: Any, field: str = "slug", *, most: int = 80) -> str:
    value = text(value, field, most=most)
    if not SLUG.fullmatch(value):
        raise InvalidInput(
            f"“{value}” is no short name.",
            field=field,
            remedy="Use lower-case letters, digits and single hyphens, e.g. “claims-triage”.",
        )
    return value


def choice(value: Any, field: str, choices: type[models.TextChoices]) -> str:
    if not isinstance(value, str) or value not in choices.values:
        raise InvalidInput(
            f"“{field}” cannot be {str(value)[:80]!r}.",
            field=field,
            remedy=f"Choose one of: {', '.join(choices.values)}.",
        )
    return str(value)


def flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(
            f"“{field}” must be true or false.", field=field, remedy=f"Got {str(value)[:40]!r}."
        )
    return value


def integer(value: Any, field: str, *, least: int, most: int, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(
            f"“{field}” must be a whole number from {least} to {most}.",
            field=field,
            remedy=f"Got {str(value)[:40]!r}.",
        )
    return value


def number(value: Any, field: str, *, least: float | None = None) -> float:
    """A finite number. NaN and infinities would compare as false for ever."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        converted = float(value) if good else math.nan
    except OverflowError:
        converted = math.inf
    if not math.isfinite(converted):
        raise InvalidInput(
            f"“{field}” must be a finite number.",
            field=field,
            remedy=f"Got {str(value)[:40]!r}.",
        )
    if least is not None and converted < least:
        raise InvalidInput(
            f"“{field}” must not be below {least:g}.", field=field, remedy=f"Got {converted:g}."
        )
    return converted


def moment(value: Any, field: str, *, optional: bool = False) -> dt.datetime | None:
    if value is None and optional:
        return None
    if not isinstance(value, dt.datetime) or timezone.is_naive(value):
        raise InvalidInput(
            f"“{field}” must be a date and time with a time zone.",
            field=field,
            remedy="For example 2027-01-31T12:00:00Z.",
        )
    return value


def known_keys(given: Iterable[Any], allowed: Iterable[str], where: str) -> None:
    """Raise InvalidInput when a key is not known: a typo must not be ignored in silence."""
    allowed = set(allowed)
    unknown = sorted(str(k) for k in given if k not in allowed)
    if unknown:
        raise InvalidInput(
            f"{where}: unknown key {', '.join(repr(k[:40]) for k in unknown)}.",
            field=f"{where}.{unknown[0][:40]}",
            remedy=f"Known keys: {', '.join(sorted(allowed))}.",
        )
