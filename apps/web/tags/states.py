"""States: a shape, a tone and a word each; and the line icons."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.web.tags import register


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
        "partial": State("half", "warn", "partial"),
        "cancelled": State("dash", "mute", "cancelled"),
    },
    "review": {
        "open": State("ring-dashed", "info", "open"),
        "closed": State("check", "ok", "closed"),
    },
    "event": {
        "silent": State("triangle", "bad", "silent"),
        "announced": State("diamond-line", "info", "announced"),
        "late_announced": State("diamond", "warn", "announced late"),
    },
    "finding": {
        "telling": State("diamond", "warn", "new and telling"),
        "routine": State("diamond-line", "mute", "new, routine here"),
    },
    "probe": {
        "collecting": State("ring-dashed", "info", "collecting its baseline"),
        "watching": State("run", "ok", "watching"),
        "unsupported": State("dash", "mute", "not possible here"),
        "paused": State("pause", "warn", "paused"),
        "ended": State("dash", "mute", "ended"),
        "alarm": State("triangle", "bad", "alarm"),
    },
    "sight": {
        "unseen": State("cross", "bad", "not seen"),
        "late": State("half", "warn", "late, or in part"),
        "seen": State("check", "ok", "seen"),
    },
    "control": {
        "us": State("triangle", "bad", "moved too: it is us"),
        "vendor": State("equals", "ok", "stood still: it is the vendor"),
        "waiting": State("ring-dashed", "info", "asked, not answered yet"),
        "quiet": State("disc", "ok", "ready"),
        "useless": State("question", "warn", "cannot speak yet"),
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

DRAWINGS = {name: mark_safe(text) for name, text in _SHAPES.items()}  # noqa: S308 (constants)

_ICONS: dict[str, str] = {
    "overview": "M2.5 2.5h4.5v5H2.5zM9 2.5h4.5v3H9zM9 7.5h4.5v6H9zM2.5 9.5h4.5v4H2.5z",
    "versions": "M8 2l5.5 2.75L8 7.5 2.5 4.75zM2.5 8L8 10.75 13.5 8M2.5 11.25L8 14l5.5-2.75",
    "runs": "M4.5 3v10l8-5z",
    "suites": "M3 3h10v10H3zM3 6.5h10M5.5 9h1M8.5 9h2M5.5 11h1M8.5 11h2",
    "reviews": "M2.5 8S4.5 4 8 4s5.5 4 5.5 4-2 4-5.5 4-5.5-4-5.5-4z"
    "M8 9.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3z",
    "changes": "M8 2.5l6 11H2zM8 6.5v3.25M8 11.5v.1",
    "tickets": "M2.5 5h11v2a1.25 1.25 0 0 0 0 2.5V11.5h-11V9.5a1.25 1.25 0 0 0 0-2.5zM9 5v6.5",
    "use_cases": "M2.5 5h11v8h-11zM6 5V3h4v2M2.5 8.5h11",
    "history": "M3 8a5 5 0 1 0 1.6-3.7L3 5.75M3 3v2.75h2.75M8 5.25V8l2 1.25",
    "providers": "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1",
    "people": "M6 7.5a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5zM2 13a4 4 0 0 1 8 0"
    "M10.5 7.25a2 2 0 0 0 0-3.9M11.5 9.5A3.6 3.6 0 0 1 14 13",
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
        DRAWINGS.get(name, DRAWINGS["ring"]),
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
