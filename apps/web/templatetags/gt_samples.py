"""Sample data for templates/design/styleguide.html, so that the page needs no database."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from django import forms, template
from django.utils import timezone

from apps.web.tags.states import STATES

register = template.Library()

LONG = (
    "claims-triage-assistant-for-motor-and-household-insurance-with-a-name-that-nobody-shortened-"
    "because-the-import-took-it-from-a-spreadsheet-cell-of-exactly-two-hundred-characters-long-v2026b"
)

BEFORE = """The claim is covered. Reason: water damage from a burst pipe is included under section
4.2 of the household policy, and the damage was reported within 14 days.

Next steps:
- Ask for the plumber's invoice.
- Ask for photos of the damage.
- Pay the excess of 150 EUR from the settlement.

Confidence: high"""
AFTER = """Covered. Water damage from a burst pipe is included under section 4.2 of the household
policy.

Next step: ask for the invoice.

Confidence: medium"""


def _now() -> datetime:
    return timezone.now().replace(microsecond=0)


class SampleForm(forms.Form):
    name = forms.CharField(label="Name", help_text="As people call it in meetings.")
    tier = forms.ChoiceField(
        label="Risk tier", choices=[("1", "1, highest"), ("2", "2"), ("3", "3"), ("4", "4, lowest")]
    )
    base_url = forms.URLField(
        label="Base URL", help_text="Where the endpoint answers.", assume_scheme="https"
    )
    note = forms.CharField(label="Note", widget=forms.Textarea, required=False)
    role = forms.ChoiceField(
        label="The model",
        choices=[("decides", "decides"), ("recommends", "recommends"), ("assists", "assists")],
        widget=forms.RadioSelect,
    )
    notify = forms.BooleanField(label="Tell the owner when a run fails", required=False)


def _evalues() -> list[dict[str, object]]:
    values = []
    level = 0.0
    for day in range(60):
        if day < 50:
            level = -0.35 + 0.5 * math.sin(day / 6) + 0.25 * math.cos(day * 2.3)
        else:
            level += 0.52
        values.append({"at": _now() - timedelta(days=60 - day), "e_value": 10**level})
    return values


def _lanes() -> list[dict[str, object]]:
    def day(number: float) -> datetime:
        return _now() - timedelta(days=90 - number)

    suites = [
        {"kind": "verdict", "value": "equivalent", "at": day(number), "href": "#run"}
        for number in range(6, 84, 7)
    ]
    suites.append({"kind": "verdict", "value": "changed_material", "at": day(87), "href": "#run"})
    return [
        {
            "label": "Approvals",
            "items": [
                {"kind": "approval", "value": "approved", "start": day(4), "end": day(87)},
                {"kind": "approval", "value": "on_hold", "start": day(87), "end": None},
            ],
        },
        {
            "label": "Notices",
            "items": [
                {"kind": "event", "value": "announced", "at": day(40), "label": "announced 5.6"}
            ],
        },
        {
            "label": "Probes",
            "items": [
                {"kind": "verdict", "value": "equivalent", "at": day(n * 3)} for n in range(2, 28)
            ]
            + [{"kind": "verdict", "value": "changed", "at": day(85 + n * 1.5)} for n in range(3)],
        },
        {"label": "Suites", "items": suites},
        {"label": "Control arm", "items": [], "empty": "none for this version"},
    ]


_FOREST: list[dict[str, object]] = [
    {
        "metric": "Prime-check accuracy",
        "href": "#metric",
        "baseline": "84 %",
        "current": "50 %",
        "estimate": -34,
        "low": -38,
        "high": -30,
        "margin": 5,
        "unit": "pts",
        "verdict": "changed_material",
        "note": "higher is better",
    },
    {
        "metric": "Answer length",
        "baseline": 212,
        "current": 61,
        "estimate": -71,
        "low": -74,
        "high": -68,
        "margin": 5,
        "unit": "%",
        "verdict": "changed_material",
        "note": "median words",
    },
    {
        "metric": "Refusals",
        "baseline": "1.1 %",
        "current": "2.4 %",
        "estimate": 1.3,
        "low": 0.4,
        "high": 2.2,
        "margin": 3,
        "unit": "pts",
        "verdict": "changed_immaterial",
    },
    {
        "metric": "Valid JSON",
        "baseline": "99.2 %",
        "current": "99.4 %",
        "estimate": 0.2,
        "low": -0.9,
        "high": 1.3,
        "margin": 2,
        "unit": "pts",
        "verdict": "equivalent",
    },
    {
        "metric": "Tool-call match",
        "baseline": "91 %",
        "current": "88 %",
        "estimate": -3,
        "low": -9.5,
        "high": 3.5,
        "margin": 5,
        "unit": "pts",
        "verdict": "inconclusive",
        "note": "about 120 more answers needed",
    },
    {
        "metric": "Latency, median",
        "baseline": "0.8 s",
        "current": "0.7 s",
        "estimate": -0.1,
        "low": None,
        "high": None,
        "margin": None,
        "unit": "s",
        "verdict": "none",
    },
]


def _versions(count: int) -> list[dict[str, object]]:
    gates = ["hold", "allow", "allow", "conditional", "none", "deny"]
    verdicts = ["changed_material", "equivalent", "equivalent", "changed_immaterial", "pending"]
    rows: list[dict[str, object]] = []
    for index in range(count):
        trail: list[str | None] = ["equivalent"] * 29
        trail[(index * 7) % 29] = "inconclusive"
        trail[(index * 5) % 29] = None
        verdict = verdicts[index % len(verdicts)]
        rows.append(
            {
                "name": LONG if index == 2 else f"assistant-instant-{index + 1}",
                "use_cases": 1 + index % 3,
                "tier": 1 + index % 4,
                "gate": gates[index % len(gates)],
                "verdict": verdict,
                "trail": [] if verdict == "pending" else [*trail, verdict],
                "points": []
                if verdict == "pending"
                else [0.82 + 0.03 * math.sin(index + n) for n in range(24)]
                + ([0.5, 0.49] if index == 0 else [0.82]),
                "next": _now() + timedelta(minutes=14 * (index + 1)),
            }
        )
    return rows


@register.simple_tag
def design_samples() -> dict[str, Any]:
    bound = SampleForm({"name": "", "tier": "1", "base_url": "htp:/localhost", "role": "decides"})
    bound.is_valid()
    return {
        "now": _now(),
        "long": LONG,
        "states": [
            {"kind": kind, "values": list(states)}
            for kind, states in STATES.items()
            if kind != "criticality"
        ],
        "crumbs": [{"label": "Changes", "href": "#"}, {"label": "CE-14"}],
        "long_crumbs": [{"label": "Versions", "href": "#"}, {"label": LONG}],
        "tabs": [
            {"label": "Changes", "href": "#", "current": True, "count": 3},
            {"label": "Runs", "href": "#", "count": 1204},
            {"label": "Approvals", "href": "#", "count": 2},
            {"label": "Configuration", "href": "#"},
            {"label": "Observed identity", "href": "#"},
            {"label": "History", "href": "#"},
        ],
        "facts": [
            {"term": "Requested name", "value": "assistant-instant"},
            {"term": "Pin", "value": "alias", "badge": "pin"},
            {"term": "Endpoint", "value": "Local Labs, loopback", "href": "#"},
            {"term": "Version id", "value": "0197f3c2-6b1e-7c44-9d0a-5e1c2f7a8b90", "id": True},
            {"term": "Baseline taken", "time": _now() - timedelta(days=86)},
            {"term": "Fingerprint", "value": None},
        ],
        "selects": [
            {
                "name": "gate",
                "label": "Gate",
                "value": "hold",
                "options": [
                    {"value": "", "label": "Any gate"},
                    {"value": "allow", "label": "Allowed"},
                    {"value": "hold", "label": "On hold"},
                ],
            },
            {
                "name": "tier",
                "label": "Risk tier",
                "value": "",
                "options": [{"value": "", "label": "Any tier"}]
                + [{"value": str(n), "label": f"Tier {n}"} for n in range(1, 5)],
            },
        ],
        "versions": _versions(6),
        "forest": _FOREST,
        "looks": _evalues(),
        "lanes": _lanes(),
        "before": BEFORE,
        "after": AFTER,
        "long_before": " ".join(f"word{n}" for n in range(200)) + " The limit is 500 EUR. "
        "Ask the owner.",
        "long_after": " ".join(f"word{n}" for n in range(200)) + " The limit is 800 EUR. "
        "Ask the owner.",
        "changes": [
            {"path": "root['decision']", "before": "covered", "after": "refer", "kind": "changed"},
            {
                "path": "root['steps'][1]",
                "before": {"ask": "photos", "within_days": 14},
                "after": None,
                "kind": "removed",
            },
            {"path": "root['confidence']", "before": None, "after": 0.41, "kind": "added"},
        ],
        "form": bound,
        "fresh_form": SampleForm(),
        "problems": [
            "suite.yaml line 14: case id “primes-7” is used twice. Give one of them another id.",
            "suite.yaml line 31: unknown key “expectd”. Did you mean “expected”?",
        ],
        "notes": [
            SimpleNamespace(
                message="Claims triage is on hold since 10:12. Its owner was told.",
                level_tag="success",
                undo_url="/undo/1",
                extra_tags="",
            ),
            SimpleNamespace(
                message="The endpoint answered 429 twice; the run waits 40 s.",
                level_tag="warning",
                extra_tags="",
            ),
        ],
        "moments": [
            _now() - timedelta(seconds=5),
            _now() - timedelta(minutes=12),
            _now() - timedelta(hours=6),
            _now() - timedelta(days=3),
            _now() - timedelta(days=60),
            _now() + timedelta(minutes=14),
        ],
        "soon": _now() + timedelta(minutes=3),
        "run_at": _now() - timedelta(hours=6),
        "wave": [0.82, 0.84, 0.83, None, None, 0.82, 0.85, 0.81, 0.83, 0.5, 0.49],
        "flat": [1, 1, 1, 1, 1, 1],
        "lone": [0.7],
        "trail": ["equivalent"] * 14
        + ["inconclusive", None, "changed_immaterial", "equivalent"]
        + ["changed_material"] * 3,
    }


@register.simple_tag
def many_versions(count: int) -> list[dict[str, object]]:
    return _versions(count)
