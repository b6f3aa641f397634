"""The control policy: how severe a change is, and what that severity does. A document that people
can read and edit; each version is a row that never changes, and the highest number is in force.

    {"severity": {"material": {"high": {"1": "critical", … 4}, … "none"}, "immaterial": …},
     "actions": {"critical": {"due_hours": 24, "hold_approvals": true, "require_reauth":
                 {"enabled": true, "max_session_age_minutes": 0}}, … "low"},
     "immaterial_tickets": {"1": true, … "4"},
     "top_ups": {"1": {"runs": 2, "replicates": 5, "calls_a_month": 5000, "urgent": false}, … "4"}}

Criticality is that of the worst broken assumption, "none" when none broke. A session age of 0
minutes means: signed in after the ticket was opened or raised. Top-ups (`drift.topups`) are off
where `runs` is 0, and for every tier of a policy from before there were any.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Min

from apps.accounts.permissions import can, require
from apps.audit.services import SYSTEM, record
from apps.core.errors import InvalidInput, NotAllowed
from apps.core.inputs import text
from apps.drift.topups import TopUpRule
from apps.registry.lifecycle import LIVE
from apps.registry.models import Approval, ModelVersion, UseCase
from apps.tickets.models import ControlPolicy, Severity

NUMBER_LOCK = 0x6774_706F  # pg_advisory_xact_lock key
TIERS = ("1", "2", "3", "4")
MATERIALITIES = ("material", "immaterial")
CRITICALITIES = ("high", "medium", "low", "none")
SEVERITIES = tuple(Severity.values)
TOP_UP_LIMITS = {"runs": (0, 10), "replicates": (1, 20), "calls_a_month": (1, 10_000_000)}
RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}


def _row(*severities: str) -> dict[str, str]:
    return dict(zip(TIERS, severities, strict=True))


def _action(hours: int, hold: bool, reauth: bool, age: int) -> dict[str, Any]:
    return {
        "due_hours": hours,
        "hold_approvals": hold,
        "require_reauth": {"enabled": reauth, "max_session_age_minutes": age},
    }


def _top_up(runs: int) -> dict[str, Any]:
    return {"runs": runs, "replicates": 5, "calls_a_month": 5000, "urgent": False}


DEFAULT: dict[str, Any] = {
    "severity": {
        "material": {
            "high": _row("critical", "critical", "high", "medium"),
            "medium": _row("critical", "high", "medium", "medium"),
            "low": _row("high", "high", "medium", "low"),
            "none": _row("high", "medium", "medium", "low"),
        },
        "immaterial": {
            "high": _row("high", "high", "medium", "low"),
            "medium": _row("medium", "medium", "low", "low"),
            "low": _row("medium", "low", "low", "low"),
            "none": _row("low", "low", "low", "low"),
        },
    },
    "actions": {
        "critical": _action(24, True, True, 0),
        "high": _action(72, True, True, 60),
        "medium": _action(7 * 24, False, False, 480),
        "low": _action(14 * 24, False, False, 480),
    },
    "immaterial_tickets": {"1": True, "2": True, "3": False, "4": False},
    "top_ups": {"1": _top_up(2), "2": _top_up(2), "3": _top_up(0), "4": _top_up(0)},
}


def current() -> ControlPolicy:
    """The policy in force; the default one is written down when there is none yet."""
    return ControlPolicy.objects.order_by("-number").first() or _write_default()


@transaction.atomic
def _write_default() -> ControlPolicy:
    number = _next_number()
    if number > 1:  # somebody else was faster
        return ControlPolicy.objects.get(number=number - 1)
    return _write(
        SYSTEM, None, copy.deepcopy(DEFAULT), "The policy that the product comes with.", 1
    )


@transaction.atomic
def publish(*, actor: Any, document: Mapping[str, Any], reason: str) -> ControlPolicy:
    """Put a policy in force from now on; tickets that are open keep the one they began with.

    Raises NotAllowed, or InvalidInput whose `problems` name every fault of the document.
    """
    require(actor, "policy.edit")
    if not can(actor, "policy.edit", UseCase()):
        raise NotAllowed(
            "Your role covers one team, and the policy covers the whole organisation.",
            remedy="Ask a governance lead or an administrator.",
        )
    why = text(reason, "reason", most=2_000)
    checked = check(document)
    current()
    return _write(actor, actor, checked, why, _next_number())


def _write(
    actor: Any, author: Any, document: dict[str, Any], reason: str, number: int
) -> ControlPolicy:
    policy = ControlPolicy.objects.create(
        number=number, document=document, created_by=author, reason=reason
    )
    record(
        "tickets.policy_published",
        actor=actor,
        obj=policy,
        object_name=f"Policy {number}",
        summary=f"{actor.name} put control policy {number} in force: {reason}",
        changes={"document": document},
    )
    return policy


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBER_LOCK])
    return int(ControlPolicy.objects.aggregate(top=Max("number"))["top"] or 0) + 1


def severity_of(
    *, document: Mapping[str, Any], risk_tier: int, material: bool, criticality: str
) -> tuple[Severity, str]:
    """(severity, why). `criticality` of the worst broken assumption, "none" when none broke."""
    kind = "material" if material else "immaterial"
    severity = Severity(document["severity"][kind][criticality][str(risk_tier)])
    broke = (
        "no assumption broke"
        if criticality == "none"
        else f"an assumption of {criticality} criticality broke"
    )
    return severity, f"a {kind} change in a tier {risk_tier} use, and {broke}"


def wants_ticket(
    *, document: Mapping[str, Any], risk_tier: int, material: bool, broken: bool
) -> bool:
    """A broken assumption always does: what was signed for is no longer so."""
    return material or broken or bool(document["immaterial_tickets"][str(risk_tier)])


def top_up_rule(version: ModelVersion) -> TopUpRule | None:
    """By the highest risk tier that rests on the version; None where nothing does, or it is off."""
    tier = Approval.objects.filter(model_version=version, state__in=LIVE).aggregate(
        tier=Min("use_case__risk_tier")
    )["tier"]
    row = current().document.get("top_ups", {}).get(str(tier))
    return TopUpRule(tier=tier, **row) if row and row["runs"] else None


def check(document: object) -> dict[str, Any]:
    """The document as plain JSON. Raises InvalidInput with every problem, each with its path."""
    found = _Problems()
    top = found.mapping(document, "", ("severity", "actions", "immaterial_tickets", "top_ups"))
    table = found.mapping(top.get("severity"), "severity", MATERIALITIES)
    for kind in MATERIALITIES:
        rows = found.mapping(table.get(kind), f"severity.{kind}", CRITICALITIES)
        for level in CRITICALITIES:
            path = f"severity.{kind}.{level}"
            cells = found.mapping(rows.get(level), path, TIERS)
            for tier in TIERS:
                if tier in cells and cells[tier] not in SEVERITIES:
                    found.add(f"{path}.{tier}", f"must be one of {', '.join(SEVERITIES)}")
    actions = found.mapping(top.get("actions"), "actions", SEVERITIES)
    for severity in SEVERITIES:
        path = f"actions.{severity}"
        action = found.mapping(
            actions.get(severity), path, ("due_hours", "hold_approvals", "require_reauth")
        )
        found.whole(action, path, "due_hours", 1, 24 * 365)
        found.flag(action, path, "hold_approvals")
        reauth = found.mapping(
            action.get("require_reauth"),
            f"{path}.require_reauth",
            ("enabled", "max_session_age_minutes"),
        )
        found.flag(reauth, f"{path}.require_reauth", "enabled")
        found.whole(reauth, f"{path}.require_reauth", "max_session_age_minutes", 0, 60 * 24 * 30)
    tickets = found.mapping(top.get("immaterial_tickets"), "immaterial_tickets", TIERS)
    for tier in TIERS:
        found.flag(tickets, "immaterial_tickets", tier)
    rules = found.mapping(top.get("top_ups"), "top_ups", TIERS)
    for tier in TIERS:
        path = f"top_ups.{tier}"
        rule = found.mapping(rules.get(tier), path, (*TOP_UP_LIMITS, "urgent"))
        for key, (least, most) in TOP_UP_LIMITS.items():
            found.whole(rule, path, key, least, most)
        found.flag(rule, path, "urgent")
    found.raise_if_any()
    assert isinstance(document, Mapping)
    return copy.deepcopy(dict(document))


class _Problems:
    """Collects every fault of a document, so that one look at the answer is enough to mend it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, field: str, message: str) -> None:
        self.rows.append({"field": field, "message": f"“{field or 'document'}” {message}."})

    def mapping(self, value: object, path: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            if value is not None or not path:
                self.add(path, "must be an object")
            return {}
        prefix = f"{path}." if path else ""
        for key in keys:
            if key not in value:
                self.add(f"{prefix}{key}", "is missing")
        for key in value:
            if key not in keys:
                self.add(f"{prefix}{str(key)[:60]}", f"is unknown; known are {', '.join(keys)}")
        return value

    def whole(self, row: Mapping[str, Any], path: str, key: str, least: int, most: int) -> None:
        value = row.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.add(f"{path}.{key}", f"must be a whole number from {least} to {most}")

    def flag(self, row: Mapping[str, Any], path: str, key: str) -> None:
        if not isinstance(row.get(key, False), bool):
            self.add(f"{path}.{key}", "must be true or false")

    def raise_if_any(self) -> None:
        if not self.rows:
            return
        more = f" ({len(self.rows) - 1} more)" if len(self.rows) > 1 else ""
        raise InvalidInput(
            f"{self.rows[0]['message']}{more}",
            field="document",
            remedy="Take the policy in force as a pattern and change what you need.",
            problems=self.rows,
        )
