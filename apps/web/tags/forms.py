"""Lists and forms: sorting heads, fields, dialogs, messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.web import charts
from apps.web.tags import get, register
from apps.web.tags.numbers import digits_of, format_number, interval_text, with_unit
from apps.web.tags.states import icon


@register.simple_tag(takes_context=True)
def th_sort(
    context: Context, key: str, label: str, numeric: bool = False, default: str = ""
) -> SafeString:
    """A column head that sorts: ``?sort=key`` then ``?sort=-key``; keeps the other filters.

    ``default``: the list's own order when the address names none ("-started", for example).
    """
    request = context.get("request")
    query = request.GET.copy() if request is not None else None
    current = (query.get("sort") if query is not None else None) or default
    descending = current == f"-{key}"
    active = descending or current == key
    target = f"-{key}" if active and not descending else key
    if query is not None:
        query["sort"] = target
        for cursor in ("cursor", "page"):
            query.pop(cursor, None)
        href = f"?{query.urlencode()}"
    else:
        href = f"?sort={target}"
    order = format_html(' aria-sort="{}"', "descending" if descending else "ascending")
    return format_html(
        '<th scope="col"{}{}><a class="sort" href="{}">{}{}</a></th>',
        format_html(' class="{}"', "num") if numeric else "",
        order if active else "",
        href,
        label,
        icon("down" if descending else "up") if active else "",
    )


@register.inclusion_tag("components/field.html")
def field(bound: Any, help: str = "", optional: bool | None = None) -> dict[str, object]:
    """A form field with label, help and errors: ``{% field form.name %}``."""
    widget = type(bound.field.widget).__name__
    return {
        "field": bound,
        "help": help or bound.help_text,
        "optional": not bound.field.required if optional is None else optional,
        "check": widget == "CheckboxInput",
        "group": widget in {"RadioSelect", "CheckboxSelectMultiple"},
    }


@register.inclusion_tag("components/confirm.html", takes_context=True)
def confirm(
    context: Context,
    id: str,
    action: str,
    title: str,
    button: str = "Confirm",
    trigger: str = "",
    body: str = "",
    reason: str = "",
    tone: str = "danger",
    hidden: Mapping[str, object] | None = None,
    trigger_class: str = "",
    form: Any = None,
) -> dict[str, object]:
    """A button that opens a dialog which says what will happen, and asks for the reason.

    Without script the dialog opens by its address (``#id``) and its form posts as any other.
    """
    return {
        "id": id,
        "action": action,
        "title": title,
        "button": button,
        "trigger": trigger or button,
        "trigger_class": trigger_class,
        "body": body,
        "reason": reason,
        "tone": tone,
        "hidden": hidden or {},
        "form": form,
        "csrf_token": context.get("csrf_token"),
    }


@register.filter
def undo_url(message: object) -> str:
    """The address behind "Undo": a message's ``undo_url``, or ``extra_tags="undo:/path/"``."""
    direct = get(message, "undo_url")
    if direct:
        return str(direct)
    found = re.search(r"(?:^|\s)undo:(/[^\s/]\S*)", str(get(message, "extra_tags") or ""))
    return found.group(1) if found else ""


_TONE_SHAPES = {"ok": "check", "warn": "triangle-line", "bad": "cross", "info": "info"}


@register.simple_tag
def tone_shape(tone: str) -> str:
    return _TONE_SHAPES.get(tone, "dot")


@register.simple_tag
def message_look(message: object) -> dict[str, str]:
    """Tone and shape of a message by its level."""
    level = str(get(message, "level_tag") or "info")
    tone = {"success": "ok", "warning": "warn", "error": "bad"}.get(level, "info")
    return {"tone": tone, "shape": _TONE_SHAPES[tone]}


@register.simple_tag
def metric_text(
    value: object,
    low: object = None,
    high: object = None,
    unit: object = "",
    share: object = False,
    signed: object = False,
) -> dict[str, str]:
    """Value and interval of the metric component, written with the same decimal places."""
    if isinstance(value, str) and value:
        return {"value": value, "interval": ""}
    numbers = [charts.finite(part) for part in (value, low, high)]
    if share:
        unit = "%"
        numbers = [None if part is None else round(part * 100, 6) for part in numbers]
    places = digits_of(*numbers)
    shown = format_number(numbers[0], places, plus=bool(signed))
    ends = numbers[1] is not None and numbers[2] is not None
    return {
        "value": with_unit(shown, str(unit or "")),
        "interval": interval_text(numbers[1], numbers[2], "", places, plus=bool(signed))
        if ends
        else "",
    }


@register.filter
def add_number(value: float, more: float) -> float:
    return round(value + more, 3)
