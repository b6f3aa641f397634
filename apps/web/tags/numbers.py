"""Numbers, intervals and times as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.web import charts
from apps.web.tags import MINUS, MISSING, NBSP, register


def digits_of(*values: float | None) -> int:
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
    text = f"{abs(number):,.{digits if isinstance(digits, int) else digits_of(number)}f}"
    nothing = not text.strip("0.,")
    sign = "" if nothing else MINUS if number < 0 else "+" if plus else ""
    return sign + text


def with_unit(text: str, unit: str) -> str:
    return f"{text}{NBSP}{unit}" if unit and text != MISSING else text


def signed_text(value: object, unit: str = "", digits: int | None = None) -> str:
    return with_unit(format_number(value, digits, plus=True), unit)


def interval_text(
    low: object, high: object, unit: str = "", digits: int | None = None, *, plus: bool = True
) -> str:
    places = (
        digits if isinstance(digits, int) else digits_of(charts.finite(low), charts.finite(high))
    )
    ends = [format_number(end, places, plus=plus) for end in (low, high)]
    return with_unit(f"{ends[0]}{NBSP}… {ends[1]}", unit)


def percent_text(value: object, digits: int | None = None) -> str:
    number = charts.finite(value)
    if number is None:
        return MISSING
    scaled = round(number * 100, 6)
    return with_unit(format_number(scaled, digits), "%")


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
    places = digits if isinstance(digits, int) else digits_of(*ends)
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
    return with_unit(format_number(value, digits), unit)


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


@register.filter
def evalue_text(value: object) -> str:
    """An e-value to read: 0.0031, 1.2, 4,300, 1.3 × 10⁹."""
    number = charts.finite(value)
    if number is None:
        return MISSING
    if number >= 1e300:  # where a float ends, not what was reached
        return f"over{NBSP}{charts.power_label(300)}"
    if number >= 1e6:
        mantissa, power = f"{number:.1e}".split("e")
        return f"{mantissa}{NBSP}×{NBSP}{charts.power_label(int(power))}"
    if number >= 100:
        rounded = float(f"{number:.3g}")
        return f"{rounded:,.0f}"
    return f"{number:.2g}"


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


@register.filter
def left(moment: object) -> str:
    """Until a moment, for work on its way: "about 25 s left", "about 4 min left"."""
    until = as_moment(moment)
    if until is None:
        return ""
    seconds = (until - timezone.now()).total_seconds()
    if seconds < 3:
        return "almost done"
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))}{NBSP}s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)}{NBSP}min left"
    if seconds < 48 * 3600:
        return f"about {round(seconds / 3600)}{NBSP}h left"
    return f"about {round(seconds / 86400)}{NBSP}days left"


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
