"""Tags of the design system by idea; `{% load gt %}` brings all of them.

They take plain values, dicts or objects with the named attributes, so a page may pass what it has.
The geometry comes from apps/web/charts; the markup of the larger ones lives in
templates/components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

register = template.Library()

MINUS = "−"
NBSP = "\u00a0"
MISSING = "–"


def get(source: object, name: str, default: Any = None) -> Any:
    """A key of a mapping or an attribute of an object."""
    if isinstance(source, Mapping):
        return source.get(name, default)
    return getattr(source, name, default)
