"""Tags of the design system: states, numbers, times, diffs and charts.

Use them with ``{% load gt %}``; templates/design/README.md lists every tag with its parameters.
They take plain values, dicts or objects with the named attributes, so a page may pass what it has.
The geometry comes from apps/web/charts.py; the markup of the larger ones lives in
templates/components.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import template
from django.template import Context
from django.template.defaultfilters import stringfilter
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from apps.web import charts

register = template.Library()

MINUS = "−"
NBSP = "\u00a0"
MISSING = "–"


def _get(source: object, name: str, default: Any = None) -> Any:
    """A key of a mapping or an attribute of an object."""
    if isinstance(source, Mapping):
        return source.get(name, default)
    return getattr(source, name, default)


# ------------------------------------------------------------------------------------ states


@dataclass(frozen=True, slots=True)
class State:
    """How a state looks and reads. The shape carries the meaning; the tone only repeats it."""

    shape: str
    tone: str
    word: str


_SEVERITIES = {
    "critical": State("bars-4", "bad", "critical"),
    "high": State("bars-3", "bad", "high"),
    "medium": State("bars-2", "warn", "medium"),
    "low": State("bars-1", "mute", "low"),
}

STATES: dict[str, dict[str, State]] = {
    "gate": {
        "allow": State("disc", "ok", "allowed"),
        "conditional": State("half", "warn", "conditional"),
        "hold": State("pause", "warn", "on hold"),
        "deny": State("cross", "bad", "denied"),
        "none": State("ring", "mute", "no approval"),
    },
    "approval": {
        "draft": State("ring", "mute", "draft"),
        "requested": State("ring-dashed", "info", "requested"),
        "validated": State("half", "info", "validated"),
        "approved": State("disc", "ok", "approved"),
        "conditional": State("half", "warn", "conditional"),
        "on_hold": State("pause", "warn", "on hold"),
        "suspended": State("cross", "bad", "suspended"),
        "revoked": State("cross", "bad", "revoked"),
        "rejected": State("cross", "bad", "rejected"),
        "expired": State("clock", "bad", "expired"),
        "expiring": State("clock", "warn", "expires soon"),
        "superseded": State("dash", "mute", "superseded"),
        "retired": State("dash", "mute", "retired"),
    },
    "verdict": {
        "equivalent": State("equals", "ok", "equivalent"),
        "changed_immaterial": State("triangle-line", "warn", "changed (immaterial)"),
        "changed_material": State("triangle", "bad", "changed (material)"),
        "changed": State("triangle", "bad", "changed"),
        "inconclusive": State("question", "mute", "inconclusive"),
        "pending": State("ring-dashed", "mute", "not compared yet"),
        "baseline": State("square", "info", "baseline"),
        "none": State("dash", "mute", "no verdict"),
    },
    "run": {
        "scheduled": State("clock", "mute", "scheduled"),
        "queued": State("ring-dashed", "mute", "queued"),
        "running": State("run", "info", "running"),
        "paused": State("pause", "warn", "paused"),
        "complete": State("check", "ok", "complete"),
        "failed": State("cross", "bad", "failed"),
        "cancelled": State("dash", "mute", "cancelled"),
    },
    "event": {
        "silent": State("triangle", "bad", "silent"),
        "announced": State("diamond-line", "info", "announced"),
        "late_announced": State("diamond", "warn", "announced late"),
    },
    "ticket": {
        "open": State("ring", "warn", "open"),
        "assigned": State("ring-dashed", "info", "assigned"),
        "in_review": State("half", "info", "in review"),
        "assessing": State("half", "info", "in assessment"),
        "proposed": State("half", "info", "decision proposed"),
        "decided": State("check", "ok", "decided"),
        "closed": State("check", "ok", "closed"),
        "overdue": State("clock", "bad", "overdue"),
        "cancelled": State("dash", "mute", "cancelled"),
    },
    "decision": {
        "reapprove": State("disc", "ok", "re-approve"),
        "conditions": State("half", "warn", "approve with conditions"),
        "suspend": State("cross", "bad", "suspend"),
        "retire": State("dash", "mute", "retire"),
        "false_alarm": State("equals", "mute", "false alarm"),
    },
    "decision_state": {
        "proposed": State("half", "info", "proposed"),
        "confirmed": State("check", "ok", "confirmed"),
        "rejected": State("cross", "bad", "rejected"),
        "withdrawn": State("dash", "mute", "withdrawn"),
    },
    "change": {
        "open": State("ring", "warn", "open"),
        "closed": State("check", "ok", "closed"),
    },
    "sample": {
        "answered": State("check", "ok", "answered"),
        "filtered": State("diamond-line", "warn", "filtered by the provider"),
        "refused": State("dash", "warn", "refused"),
        "error": State("cross", "bad", "error"),
    },
    "assumption": {
        "holds": State("check", "ok", "holds"),
        "broken": State("cross", "bad", "broken"),
        "at_risk": State("triangle-line", "warn", "at risk"),
        "untested": State("question", "mute", "not tested"),
    },
    "severity": _SEVERITIES,
    "criticality": _SEVERITIES,
    "session": {
        "current": State("disc", "ok", "this session"),
        "active": State("disc", "ok", "active"),
        "step_up": State("clock", "warn", "must sign in again"),
        "ended": State("dash", "mute", "ended"),
        "revoked": State("cross", "bad", "logged out by someone"),
        "expired": State("clock", "mute", "expired"),
        "trusted": State("check", "ok", "trusted device"),
    },
    "pin": {
        "alias": State("diamond-line", "warn", "alias, may move"),
        "snapshot": State("square", "ok", "snapshot"),
        "digest": State("square", "ok", "digest"),
    },
    "proof": {
        "verified": State("check", "ok", "verified"),
        "unverified": State("question", "warn", "not verified yet"),
        "broken": State("cross", "bad", "does not verify"),
    },
    "case": {
        "pass": State("check", "ok", "pass"),
        "fail": State("cross", "bad", "fail"),
        "error": State("triangle-line", "warn", "error"),
        "flaky": State("half", "warn", "flaky"),
        "waiting": State("ring-dashed", "mute", "waiting"),
    },
}

#: Other spellings, so that a state machine's own word can be passed as it is.
_ALSO = {
    "allowed": "allow",
    "on_hold": "hold",
    "held": "hold",
    "denied": "deny",
    "blocked": "deny",
    "material": "changed_material",
    "immaterial": "changed_immaterial",
    "completed": "complete",
    "done": "complete",
    "succeeded": "complete",
    "canceled": "cancelled",
    "error": "failed",
    "re_approve": "reapprove",
    "passed": "pass",
    "failed": "fail",
    "active": "approved",
    "hold": "on_hold",
    "in_progress": "assessing",
    "decision_proposed": "proposed",
    "late": "late_announced",
}


def state_of(kind: str, value: object) -> State:
    """The state's look; an unknown one keeps its own word beside a neutral ring."""
    raw = str(getattr(value, "value", value) if value is not None else "none")
    key = re.sub(r"[^a-z0-9]+", "_", raw.lower()).strip("_")
    states = STATES.get(kind, {})
    found = states.get(key) or states.get(_ALSO.get(key, ""))
    return found or State("ring", "mute", raw.replace("_", " "))


_LINE = 'fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"'
_SHAPES: dict[str, str] = {
    "disc": '<circle cx="6" cy="6" r="4.5" fill="currentColor"/>',
    "half": f'<circle cx="6" cy="6" r="4.25" {_LINE}/>'
    '<path d="M6 1.75a4.25 4.25 0 0 0 0 8.5z" fill="currentColor"/>',
    "ring": f'<circle cx="6" cy="6" r="4.25" {_LINE}/>',
    "ring-dashed": '<circle cx="6" cy="6" r="4.25" fill="none" stroke="currentColor"'
    ' stroke-width="1.5" stroke-dasharray="2.2 2.25"/>',
    "run": f'<circle cx="6" cy="6" r="4.25" {_LINE} opacity=".4"/>'
    f'<path d="M6 1.75A4.25 4.25 0 0 1 10.25 6" {_LINE}/>'
    '<circle cx="6" cy="6" r="1.75" fill="currentColor"/>',
    "pause": '<path d="M2.75 1.75h2.25v8.5H2.75zM7 1.75h2.25v8.5H7z" fill="currentColor"/>',
    "cross": f'<path d="M2.5 2.5l7 7m0-7l-7 7" {_LINE.replace("1.5", "2")}/>',
    "check": f'<path d="M2 6.5l2.75 2.75L10 3.25" {_LINE.replace("1.5", "1.75")}'
    ' stroke-linejoin="round"/>',
    "clock": f'<circle cx="6" cy="6" r="4.25" {_LINE}/><path d="M6 3.75V6l1.75 1" {_LINE}/>',
    "dash": f'<path d="M2.5 6h7" {_LINE}/>',
    "triangle": '<path d="M6 1.25L11 10.5H1z" fill="currentColor"/>',
    "triangle-line": f'<path d="M6 2.25L10.25 10H1.75z" {_LINE} stroke-linejoin="round"/>',
    "equals": f'<path d="M2 4.25h8M2 7.75h8" {_LINE.replace("1.5", "1.75")}/>',
    "question": f'<path d="M3.75 4.25a2.25 2.25 0 1 1 3.3 2c-.75.4-1.05.8-1.05 1.5" {_LINE}/>'
    '<circle cx="6" cy="10.25" r="1" fill="currentColor"/>',
    "diamond": '<path d="M6 .75L11.25 6 6 11.25.75 6z" fill="currentColor"/>',
    "diamond-line": f'<path d="M6 1.75L10.25 6 6 10.25 1.75 6z" {_LINE} stroke-linejoin="round"/>',
    "square": f'<rect x="2.25" y="2.25" width="7.5" height="7.5" rx="1" {_LINE}/>',
    "info": f'<circle cx="6" cy="6" r="4.75" {_LINE.replace("1.5", "1.25")}/>'
    '<path d="M5.25 5.25h1.5v4h-1.5z" fill="currentColor"/>'
    '<circle cx="6" cy="3.5" r=".9" fill="currentColor"/>',
    "dot": '<circle cx="6" cy="6" r="2" fill="currentColor"/>',
}
for _bars in range(1, 5):
    _SHAPES[f"bars-{_bars}"] = "".join(
        f'<rect x="{1 + 2.75 * n:g}" y="{8 - 2 * n:g}" width="2" height="{3 + 2 * n:g}" rx=".5"'
        f' fill="currentColor"{"" if n < _bars else " opacity=" + chr(34) + ".25" + chr(34)}/>'
        for n in range(4)
    )

_DRAWINGS = {name: mark_safe(text) for name, text in _SHAPES.items()}  # noqa: S308 (constants)

_ICONS: dict[str, str] = {
    "overview": "M2.5 2.5h4.5v5H2.5zM9 2.5h4.5v3H9zM9 7.5h4.5v6H9zM2.5 9.5h4.5v4H2.5z",
    "versions": "M8 2l5.5 2.75L8 7.5 2.5 4.75zM2.5 8L8 10.75 13.5 8M2.5 11.25L8 14l5.5-2.75",
    "runs": "M4.5 3v10l8-5z",
    "suites": "M3 3h10v10H3zM3 6.5h10M5.5 9h1M8.5 9h2M5.5 11h1M8.5 11h2",
    "changes": "M8 2.5l6 11H2zM8 6.5v3.25M8 11.5v.1",
    "tickets": "M2.5 5h11v2a1.25 1.25 0 0 0 0 2.5V11.5h-11V9.5a1.25 1.25 0 0 0 0-2.5zM9 5v6.5",
    "use_cases": "M2.5 5h11v8h-11zM6 5V3h4v2M2.5 8.5h11",
    "history": "M3 8a5 5 0 1 0 1.6-3.7L3 5.75M3 3v2.75h2.75M8 5.25V8l2 1.25",
    "sessions": "M2.5 3.5h11v7h-11zM6 13h4M8 10.5V13",
    "account": "M8 8a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM3.5 13.5a4.5 4.5 0 0 1 9 0",
    "search": "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.5 10.5L14 14",
    "copy": "M5.5 5.5h7v7h-7zM10.5 5.5v-2h-7v7h2",
    "close": "M4 4l8 8M12 4l-8 8",
    "menu": "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
    "chevron": "M6 4l4 4-4 4",
    "up": "M8 12.5v-9M4.5 7L8 3.5 11.5 7",
    "down": "M8 3.5v9M4.5 9L8 12.5 11.5 9",
    "plus": "M8 3v10M3 8h10",
    "sign_out": "M9.5 3H3.5v10h6M7 8h7M11.5 5.5L14 8l-2.5 2.5",
    "lock": "M4 7.5h8v6H4zM5.5 7.5V5.25a2.5 2.5 0 0 1 5 0V7.5",
    "link": "M6.5 9.5l3-3M7 5l1.5-1.5a2.5 2.5 0 0 1 4 3.5L11 8.5M9 11l-1.5 1.5A2.5 2.5 0 0 1 4 9"
    "L5.5 7.5",
}


@register.simple_tag
def shape(name: str, tone: str = "") -> SafeString:
    """One state shape as a 12 px drawing; decorative: a word stands beside it."""
    css = f"shape tone-{tone}" if tone else "shape"
    return format_html(
        '<svg class="{}" width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">{}</svg>',
        css,
        _DRAWINGS.get(name, _DRAWINGS["ring"]),
    )


@register.simple_tag
def icon(name: str) -> SafeString:
    """One 16 px line icon; decorative."""
    return format_html(
        '<svg class="icon" width="16" height="16" viewBox="0 0 16 16" fill="none"'
        ' stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"'
        ' aria-hidden="true"><path d="{}"/></svg>',
        _ICONS.get(name, ""),
    )


@register.simple_tag
def badge(kind: str, value: object, label: str = "", pill: bool = False) -> SafeString:
    """A state as shape and word: ``{% badge "verdict" run.verdict %}``; ``pill=True`` frames it."""
    state = state_of(kind, value)
    return format_html(
        '<span class="badge{} tone-{}">{}<span class="badge__word">{}</span></span>',
        " badge--pill" if pill else "",
        state.tone,
        shape(state.shape),
        label or state.word,
    )


@register.filter
def state_word(value: object, kind: str) -> str:
    """The word alone: ``{{ run.state|state_word:"run" }}``."""
    return state_of(kind, value).word


# ----------------------------------------------------------------------------------- numbers


def _digits(*values: float | None) -> int:
    """Decimal places that suit a value (34, 3.4, 0.34, 0.034) or, of several, their spread.

    So an interval from 98.1 to 99.8 is never rounded to "98 … 100".
    """
    known = [value for value in values if value is not None]
    if not known or all(float(value).is_integer() for value in known):
        return 0
    largest = max(known) - min(known) if len(known) > 1 else abs(known[0])
    if len(known) > 1 and largest == 0:
        largest = abs(known[0])
    if largest >= 20:
        return 0
    if largest >= 1:
        return 1
    return 2 if largest >= 0.1 else 3


def format_number(value: object, digits: int | None = None, *, plus: bool = False) -> str:
    """1,234.5 with a real minus; "–" for what is missing; ∞ is said, not hidden."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f"{MINUS if value < 0 else '+' if plus else ''}∞"
    number = charts.finite(value)
    if number is None:
        return MISSING
    text = f"{abs(number):,.{digits if isinstance(digits, int) else _digits(number)}f}"
    nothing = not text.strip("0.,")
    sign = "" if nothing else MINUS if number < 0 else "+" if plus else ""
    return sign + text


def _with_unit(text: str, unit: str) -> str:
    return f"{text}{NBSP}{unit}" if unit and text != MISSING else text


def signed_text(value: object, unit: str = "", digits: int | None = None) -> str:
    return _with_unit(format_number(value, digits, plus=True), unit)


def interval_text(
    low: object, high: object, unit: str = "", digits: int | None = None, *, plus: bool = True
) -> str:
    places = digits if isinstance(digits, int) else _digits(charts.finite(low), charts.finite(high))
    ends = [format_number(end, places, plus=plus) for end in (low, high)]
    return _with_unit(f"{ends[0]}{NBSP}… {ends[1]}", unit)


def percent_text(value: object, digits: int | None = None) -> str:
    number = charts.finite(value)
    if number is None:
        return MISSING
    scaled = round(number * 100, 6)
    return _with_unit(format_number(scaled, digits), "%")


@register.simple_tag
def signed(value: object, unit: str = "", digits: int | None = None) -> str:
    """An effect: ``{% signed -34 "pts" %}`` → −34 pts."""
    return signed_text(value, unit, digits)


@register.simple_tag
def effect(
    estimate: object, low: object, high: object, unit: str = "", digits: int | None = None
) -> SafeString:
    """An effect with its interval: ``{% effect -34 -38 -30 "pts" %}`` → −34 pts, −38 … −30."""
    ends = [charts.finite(end) for end in (estimate, low, high)]
    places = digits if isinstance(digits, int) else _digits(*ends)
    if ends[1] is None or ends[2] is None:
        return format_html('<span class="effect">{}</span>', signed_text(estimate, unit, places))
    return format_html(
        '<span class="effect">{}<span class="effect__interval">, {}</span></span>',
        signed_text(estimate, unit, places),
        interval_text(low, high, "", places),
    )


@register.simple_tag
def interval(
    low: object, high: object, unit: str = "", digits: int | None = None, plus: bool = True
) -> str:
    """``{% interval -38 -30 "pts" %}`` → −38 … −30 pts; ``plus=False`` for levels."""
    return interval_text(low, high, unit, digits, plus=plus)


@register.simple_tag
def pct(value: object, digits: int | None = None) -> str:
    """A share between 0 and 1 as per cent: ``{% pct 0.71 %}`` → 71 %."""
    return percent_text(value, digits)


@register.simple_tag
def num(value: object, unit: str = "", digits: int | None = None) -> str:
    """A number with thousands separators, "–" when missing."""
    return _with_unit(format_number(value, digits), unit)


@register.filter(name="pct")
def pct_filter(value: object, digits: int | None = None) -> str:
    return percent_text(value, digits)


@register.filter(name="num")
def num_filter(value: object, digits: int | None = None) -> str:
    return format_number(value, digits)


@register.filter(name="signed")
def signed_filter(value: object, unit: str = "") -> str:
    return signed_text(value, unit)


@register.filter(name="duration")
def duration(value: object) -> str:
    """Seconds or a timedelta as "850 ms", "4.2 s", "3 min 10 s", "6 h 12 min", "9 days"."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else charts.finite(value)
    if seconds is None:
        return MISSING
    sign, seconds = (MINUS, -seconds) if seconds < 0 else ("", seconds)
    if seconds < 0.9995:
        return f"{sign}{seconds * 1000:.0f}{NBSP}ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.1f}{NBSP}s".replace(".0", "")
    whole = round(seconds)
    if whole < 3600:
        parts = [(whole // 60, "min"), (whole % 60, "s")]
    elif whole < 86400:
        parts = [(whole // 3600, "h"), (whole % 3600 // 60, "min")]
    else:
        parts = [
            (whole // 86400, "days" if whole >= 172800 else "day"),
            (whole % 86400 // 3600, "h"),
        ]
    return sign + " ".join(f"{count}{NBSP}{unit}" for count, unit in parts if count)


# ------------------------------------------------------------------------------------- times


def as_moment(value: object) -> datetime | None:
    """A zone-aware time from a datetime, a date or an ISO text; naive ones are taken as UTC."""
    if isinstance(value, str):
        try:
            value = parse_datetime(value)
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def exact_text(moment: datetime) -> str:
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".strip()


def relative_text(moment: datetime, now: datetime) -> str:
    """ "just now", "12 min ago", "in 6 h", "9 days ago"; from 14 days on the date itself.

    static/js/govtrack.js repeats this rule to keep an open page current.
    """
    seconds = (now - moment).total_seconds()
    future, size = seconds < 0, abs(seconds)
    if size < 45:
        return "in a moment" if future else "just now"
    if size < 3570:
        text = f"{max(1, round(size / 60))}{NBSP}min"
    elif size < 84600:
        text = f"{round(size / 3600)}{NBSP}h"
    elif size < 14 * 86400:
        days = max(1, round(size / 86400))
        text = f"{days}{NBSP}day{'' if days == 1 else 's'}"
    else:
        local = timezone.localtime(moment)
        return f"{local.day}{NBSP}{local:%b}{NBSP}{local:%Y}"
    return f"in{NBSP}{text}" if future else f"{text}{NBSP}ago"


@register.simple_tag
def reltime(value: object, now: object = None) -> SafeString | str:
    """A moment in relative form, exact on hover and in print: ``{% reltime run.started_at %}``."""
    moment = as_moment(value)
    if moment is None:
        return MISSING
    return format_html(
        '<time class="time" datetime="{}" title="{}" data-rel>{}</time>',
        moment.isoformat(timespec="seconds"),
        exact_text(moment),
        relative_text(moment, as_moment(now) or timezone.now()),
    )


@register.simple_tag
def exact(value: object) -> SafeString | str:
    """A moment in full, with its zone; for records and audit rows."""
    moment = as_moment(value)
    if moment is None:
        return MISSING
    return format_html(
        '<time class="time time--exact" datetime="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        exact_text(moment),
    )


# ------------------------------------------------------------------------------------- texts


@register.filter
@stringfilter
def initials(name: str) -> str:
    """ "Ada Lovelace" → AL, "kyc-bot" → KB, "" → ?."""
    words = re.findall(r"\w+", name)
    letters = (words[0][0] + words[-1][0]) if len(words) > 1 else name.strip()[:2]
    return letters.upper() or "?"


@register.filter
def json_text(value: object) -> str:
    """A JSON value on one line, cut at 400 characters; a missing one as "–"."""
    if value is None:
        return "null"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 400 else text[:399] + "…"


@register.simple_tag
def copyid(value: object, label: str = "id") -> SafeString | str:
    """A long id, shown short, copied whole: ``{% copyid run.public_id %}``."""
    if not value:
        return MISSING
    return format_html(
        '<span class="copyid"><code class="copyid__text" title="{}">{}</code>'
        '<button class="copyid__button" type="button" data-copy="{}" aria-label="Copy {} {}"'
        " hidden>{}</button></span>",
        value,
        value,
        value,
        label,
        value,
        icon("copy"),
    )


def _fold(text: str, *, first: bool, last: bool, keep: int = 12) -> SafeString:
    """A long equal stretch with its middle closed away; open with one click or in print."""
    words = list(re.finditer(r"\S+", text))
    start = 0 if first else words[keep - 1].end()
    stop = len(text) if last else words[-keep].start()
    hidden = sum(1 for word in words if start <= word.start() < stop)
    return format_html(
        '{}<details class="fold"><summary>{} words the same</summary><span>{}</span></details>{}',
        text[:start],
        f"{hidden:,}",
        text[start:stop],
        text[stop:],
    )


def diff_html(diff: charts.WordDiff, side: str = "both", fold: bool = True) -> SafeString:
    pieces: list[SafeString | str] = []
    shown = [
        part
        for part in diff.parts
        if part.kind == "same" or side == "both" or (part.kind == "gone") == (side == "before")
    ]
    for index, part in enumerate(shown):
        if part.kind == "same":
            text = part.before if side == "before" else part.text
            first, last = index == 0, index == len(shown) - 1
            long = len(re.findall(r"\S+", text)) > 60
            if fold and long and not (first and last):
                pieces.append(_fold(text, first=first, last=last))
            else:
                pieces.append(format_html("{}", text))
            continue
        body = part.text.lstrip(" \t")
        lead = part.text[: len(part.text) - len(body)]
        frame = "{}<del>{}</del>" if part.kind == "gone" else "{}<ins>{}</ins>"
        pieces.append(format_html(frame, lead, body.replace("\n", "↵\n")))
    html = format_html_join("", "{}", ((piece,) for piece in pieces))
    if diff.cut:
        html += format_html(
            '<span class="diff__cut">{} more characters were not compared</span>', f"{diff.cut:,}"
        )
    return html


@register.simple_tag
def word_diff(before: object, after: object, side: str = "both", fold: bool = True) -> SafeString:
    """Both texts in one, with <del> and <ins>; ``side="before"`` or ``"after"`` for one of them."""
    diff = charts.word_diff(_text(before), _text(after))
    return format_html('<div class="diff" tabindex="0">{}</div>', diff_html(diff, side, fold))


def _text(value: object) -> str:
    return "" if value is None else str(value)


@register.inclusion_tag("components/answers.html")
def answers(
    before: object,
    after: object,
    before_label: str = "Baseline",
    after_label: str = "Now",
    before_note: object = "",
    after_note: object = "",
    fold: bool = True,
) -> dict[str, object]:
    """Two answers side by side (stacked on narrow pages), what differs marked in each."""
    old, new = _text(before), _text(after)
    diff = charts.word_diff(old, new)
    return {
        "diff": diff,
        "before": diff_html(diff, "before", fold) if old else "",
        "after": diff_html(diff, "after", fold) if new else "",
        "before_label": before_label,
        "after_label": after_label,
        "before_note": before_note,
        "after_note": after_note,
    }


# ------------------------------------------------------------------------------------ charts


@register.inclusion_tag("components/sparkline.html")
def sparkline(
    points: Iterable[object] | None,
    label: str = "",
    low: float | None = None,
    high: float | None = None,
    percent: bool = False,
    width: int = 96,
    height: int = 20,
) -> dict[str, object]:
    """A line of numbers (None is a gap): ``{% sparkline row.points label="Accuracy" %}``."""
    values = [_get(p, "value") if isinstance(p, Mapping) else p for p in points or []]
    line = charts.sparkline(values, width=width, height=height, low=low, high=high)
    show = percent_text if percent else format_number
    said = (
        f"from {show(line.first_value)} to {show(line.last_value)}, "
        f"lowest {show(line.lowest)}, highest {show(line.highest)}"
        if line.last
        else "no data yet"
    )
    return {"line": line, "said": f"{label}: {said}" if label else said}


@register.inclusion_tag("components/strip.html")
def strip(
    verdicts: Iterable[object] | None, label: str = "Verdicts", width: int = 120
) -> dict[str, object]:
    """Verdicts in order as small bars, taller where behaviour changed; None leaves a gap."""
    heights = {"triangle": 16, "triangle-line": 10, "equals": 4, "question": 4}
    items = list(verdicts or [])[-60:]
    step = min(width / len(items), 8) if items else 0
    bars, words = [], []
    for index, item in enumerate(items):
        if item is None:
            continue
        state = state_of("verdict", item)
        tall = heights.get(state.shape, 4)
        words.append(state.word)
        bars.append(
            {
                "x": round(width - (len(items) - index) * step, 2),
                "y": 18 - tall,
                "width": round(max(step - 1, 1), 2),
                "height": tall,
                "tone": state.tone,
                "hollow": state.shape == "question",
            }
        )
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    said = ", ".join(f"{count} {word}" for word, count in counts.items()) or "none yet"
    if words:
        said += f"; last: {words[-1]}"
    return {"bars": bars, "said": f"{label}: {said}", "width": width}


@register.inclusion_tag("components/forest.html")
def forest(
    rows: Iterable[object] | None,
    caption: str = "What changed, metric by metric",
    before_label: str = "Baseline",
    after_label: str = "Now",
    level: str = "95 %",
) -> dict[str, object]:
    """Rows: metric, estimate, low, high, margin, unit, baseline, current, verdict (href, note)."""
    items = list(rows or [])
    plot = charts.forest(
        [
            charts.ForestInput(*(_get(row, name) for name in ("estimate", "low", "high", "margin")))
            for row in items
        ]
    )
    view = []
    for row, mark in zip(items, plot.marks, strict=True):
        numbers = [charts.finite(_get(row, name)) for name in ("estimate", "low", "high")]
        unit = _get(row, "unit", "") or ""
        digits = _get(row, "digits")
        places = digits if isinstance(digits, int) else _digits(*numbers)
        margin = charts.finite(_get(row, "margin"))
        view.append(
            {
                "metric": _get(row, "metric", ""),
                "href": _get(row, "href", ""),
                "note": _get(row, "note", ""),
                "baseline": _level(_get(row, "baseline"), digits),
                "current": _level(_get(row, "current"), digits),
                "unit": unit,
                "estimate": signed_text(numbers[0], unit, places),
                "interval": interval_text(numbers[1], numbers[2], "", places)
                if numbers[1] is not None and numbers[2] is not None
                else "",
                "margin": f"±{_with_unit(format_number(margin), unit)}" if margin else "",
                "verdict": _get(row, "verdict"),
                "state": state_of("verdict", _get(row, "verdict")),
                "mark": mark,
            }
        )
    return {
        "rows": view,
        "plot": plot,
        "caption": caption,
        "before_label": before_label,
        "after_label": after_label,
        "level": level,
    }


def _level(value: object, digits: int | None) -> str:
    return value if isinstance(value, str) else format_number(value, digits)


@register.inclusion_tag("components/evalue_chart.html")
def evalue_chart(
    looks: Iterable[object] | None,
    alarm: float = 100,
    caption: str = "Evidence of change over time",
    rows: int = 50,
) -> dict[str, object]:
    """Looks with ``at`` and ``e_value`` (or pairs) on a log axis, with the alarm line."""
    series = []
    for look in looks or []:
        at, value = look if isinstance(look, tuple) else (_get(look, "at"), _get(look, "e_value"))
        moment, number = as_moment(at), charts.finite(value)
        if number is None and isinstance(value, float) and value > 0:
            number = charts._CEILING  # an overflow is a very large e-value, not a missing one
        if moment is not None and number is not None:
            series.append(charts.Look(moment, number))
    series.sort(key=lambda look: look.at)
    chart = charts.evalue_chart(series, alarm, zone=timezone.get_current_timezone())
    last = series[-1] if series else None
    return {
        "chart": chart,
        "caption": caption,
        "last": last,
        "last_text": evalue_text(last.e_value) if last else "",
        "alarm_text": format_number(alarm),
        "first_said": f"over since {exact_text(chart.first_over.at)[:16]}"
        if chart.first_over and chart.first_over.x > 75
        else "",
        "table": [
            {"at": look.at, "e": evalue_text(look.e_value), "over": look.e_value >= chart.alarm}
            for look in reversed(series[-rows:])
        ],
        "points": [
            {
                "x": p.x,
                "y": p.y,
                "over": p.over,
                "said": f"{exact_text(p.at)}: e-value {evalue_text(p.e_value)}",
            }
            for p in chart.points
        ],
        "older": max(0, len(series) - rows),
    }


@register.filter
def evalue_text(value: object) -> str:
    """An e-value to read: 0.0031, 1.2, 4,300, 1.3 × 10⁹."""
    number = charts.finite(value)
    if number is None:
        return MISSING
    if number >= 1e6:
        mantissa, power = f"{number:.1e}".split("e")
        return f"{mantissa}{NBSP}×{NBSP}{charts.power_label(int(power))}"
    if number >= 100:
        rounded = float(f"{number:.3g}")
        return f"{rounded:,.0f}"
    return f"{number:.2g}"


@register.inclusion_tag("components/timeline.html")
def timeline(
    lanes: Iterable[object] | None,
    start: object = None,
    end: object = None,
    now: object = None,
    caption: str = "Timeline",
) -> dict[str, object]:
    """Lanes with ``label``, ``items`` (and ``empty``) over one time axis.

    An item: ``kind`` and ``value`` as for ``badge``; ``at`` for a moment, or ``start`` and ``end``
    for a stretch (either may be None: still open); optional ``label`` and ``href``.
    """
    lanes_in = list(lanes or [])
    spans: list[list[charts.Span]] = []
    for lane in lanes_in:
        row = []
        for item in _items(lane):
            at = as_moment(_get(item, "at"))
            row.append(
                charts.Span(at, at)
                if at
                else charts.Span(as_moment(_get(item, "start")), as_moment(_get(item, "end")))
            )
        spans.append(row)
    placed = charts.timeline(
        spans,
        start=as_moment(start),
        end=as_moment(end),
        now=as_moment(now) or timezone.now(),
        zone=timezone.get_current_timezone(),
    )
    view = []
    for lane, row, places in zip(lanes_in, spans, placed.lanes, strict=True):
        items = []
        few = len(row) <= 4
        for item, span, place in zip(_items(lane), row, places, strict=True):
            state = state_of(str(_get(item, "kind", "verdict")), _get(item, "value"))
            items.append(
                {
                    "state": state,
                    "drawing": _DRAWINGS.get(state.shape, _DRAWINGS["ring"]),
                    "place": place,
                    "label": _get(item, "label") or state.word,
                    "beside": few and bool(_get(item, "label")),
                    "href": _get(item, "href", ""),
                    "start": span.start,
                    "end": span.end,
                    "said": _span_text(_get(item, "label") or state.word, span),
                }
            )
        view.append(
            {"label": _get(lane, "label", ""), "items": items, "empty": _get(lane, "empty", "none")}
        )
    return {"lanes": view, "axis": placed, "caption": caption}


def _items(lane: object) -> Sequence[object]:
    if isinstance(lane, Mapping):
        return list(lane.get("items") or [])
    found = getattr(lane, "items", None) or []
    return list(found() if callable(found) else found)


def _span_text(label: str, span: charts.Span) -> str:
    if span.start is not None and span.start == span.end:
        return f"{label}, {exact_text(span.start)}"
    start = exact_text(span.start) if span.start else "earlier"
    end = exact_text(span.end) if span.end else "still"
    return f"{label}, {start} to {end}"


# ---------------------------------------------------------------------------- lists and forms


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
    direct = _get(message, "undo_url")
    if direct:
        return str(direct)
    found = re.search(r"(?:^|\s)undo:(/[^\s/]\S*)", str(_get(message, "extra_tags") or ""))
    return found.group(1) if found else ""


_TONE_SHAPES = {"ok": "check", "warn": "triangle-line", "bad": "cross", "info": "info"}


@register.simple_tag
def tone_shape(tone: str) -> str:
    return _TONE_SHAPES.get(tone, "dot")


@register.simple_tag
def message_look(message: object) -> dict[str, str]:
    """Tone and shape of a message by its level."""
    level = str(_get(message, "level_tag") or "info")
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
    places = _digits(*numbers)
    shown = format_number(numbers[0], places, plus=bool(signed))
    ends = numbers[1] is not None and numbers[2] is not None
    return {
        "value": _with_unit(shown, str(unit or "")),
        "interval": interval_text(numbers[1], numbers[2], "", places, plus=bool(signed))
        if ends
        else "",
    }


@register.filter
def add_number(value: float, more: float) -> float:
    return round(value + more, 3)


# ---------------------------------------------------------------------------------- navigation

_RAIL: tuple[tuple[str, str, str], ...] = (
    ("web:overview", "Overview", "overview"),
    ("web:version_list", "Versions", "versions"),
    ("web:run_list", "Runs", "runs"),
    ("web:suite_list", "Suites", "suites"),
    ("web:change_list", "Changes", "changes"),
    ("web:ticket_list", "Tickets", "tickets"),
    ("web:use_case_list", "Use cases", "use_cases"),
    ("web:history", "History", "history"),
    ("access:sessions", "Sessions", "sessions"),
)


@register.simple_tag(takes_context=True)
def rail_items(context: Context) -> list[dict[str, object]]:
    """The rail's links. A page not yet routed is left out.

    The current one is the context's ``nav`` ("versions"), or the longest address that the request's
    path begins with. ``rail_counts`` ({"tickets": 3}) puts numbers beside them.
    """
    request = context.get("request")
    path = getattr(request, "path", "") or ""
    counts = context.get("rail_counts") or {}
    items: list[dict[str, object]] = []
    best, best_length = "", 0
    for name, label, key in _RAIL:
        try:
            url = reverse(name)
        except NoReverseMatch:
            continue
        fits = path == url if url == "/" else path.startswith(url)
        if fits and len(url) > best_length:
            best, best_length = key, len(url)
        items.append({"url": url, "label": label, "key": key, "count": counts.get(key)})
    current = context.get("nav") or best
    for item in items:
        item["current"] = item["key"] == current
    return items


@register.simple_tag
def person_name(user: Any) -> str:
    """The best printed name of a user object of any shape."""
    for name in ("display_name", "name", "get_full_name", "email", "username"):
        value = getattr(user, name, "")
        value = value() if callable(value) else value
        if value:
            return str(value)
    return str(user)
