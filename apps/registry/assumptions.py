"""The sentences that an approval rests on, checked as they come in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apps.core.errors import InvalidInput
from apps.core.inputs import choice, known_keys, number, slug, text
from apps.registry.models import Assumption

KEYS = (
    "code",
    "sentence",
    "suite_slug",
    "metric_key",
    "comparator",
    "threshold",
    "tolerance",
    "criticality",
)
CHANGE_KEYS = ("code", "drop", "threshold", "tolerance", "sentence", "criticality", "approval")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,19}")
MOST = 100
RESTATED = re.compile(r" \(restated: [^()]*\)$")


def parse(given: object) -> list[dict[str, Any]]:
    """Fields of Assumption for each mapping. Raises InvalidInput naming “assumptions[0].code”."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence) or not given:
        raise InvalidInput(
            "An approval needs at least one assumption.",
            field="assumptions",
            remedy="Write what must stay true of the model, tied to a metric of a suite, so that "
            "a change can name the sentence that no longer holds.",
        )
    if len(given) > MOST:
        raise InvalidInput(
            f"{len(given)} assumptions; {MOST} are allowed.", field="assumptions", remedy="Merge."
        )
    parsed: list[dict[str, Any]] = []
    seen: set[str] = set()
    for index, item in enumerate(given):
        where = f"assumptions[{index}]"
        if not isinstance(item, Mapping):
            raise InvalidInput(f"{where} must be an object.", field=where, remedy=_remedy())
        row = _parse_one(item, where)
        if row["code"].lower() in seen:
            raise InvalidInput(
                f"The code {row['code']} is used twice.",
                field=f"{where}.code",
                remedy="Give each assumption its own code.",
            )
        seen.add(row["code"].lower())
        parsed.append(row)
    return parsed


def _parse_one(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    known_keys(item, KEYS, where)
    missing = [k for k in KEYS if k not in item and k != "tolerance"]
    if missing:
        raise InvalidInput(
            f"{where} lacks {', '.join(missing)}.", field=f"{where}.{missing[0]}", remedy=_remedy()
        )
    return {
        "code": code(item["code"], f"{where}.code"),
        "sentence": text(item["sentence"], f"{where}.sentence", most=1_000),
        "suite_slug": slug(item["suite_slug"], f"{where}.suite_slug"),
        "metric_key": text(item["metric_key"], f"{where}.metric_key", most=120),
        "comparator": choice(item["comparator"], f"{where}.comparator", Assumption.Comparator),
        "threshold": number(item["threshold"], f"{where}.threshold"),
        "tolerance": number(item.get("tolerance", 0.0), f"{where}.tolerance", least=0.0),
        "criticality": choice(item["criticality"], f"{where}.criticality", Assumption.Criticality),
    }


def code(value: object, field: str) -> str:
    cleaned = text(value, field, most=20)
    if not CODE.fullmatch(cleaned):
        raise InvalidInput(
            f"“{cleaned}” is no code.", field=field, remedy="Begin with a letter, e.g. A1."
        )
    return cleaned


def parse_changes(given: object) -> list[dict[str, Any]]:
    """How assumptions are restated: {"code", "threshold"[, "tolerance", "sentence",
    "criticality", "approval"]} or {"code", "drop": true}. Raises InvalidInput."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(
            "“assumption_changes” must be a list.",
            field="assumption_changes",
            remedy='E.g. [{"code": "A1", "threshold": 0.7}, {"code": "A2", "drop": true}].',
        )
    parsed: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(given):
        where = f"assumption_changes[{index}]"
        if not isinstance(item, Mapping):
            raise InvalidInput(f"{where} must be an object.", field=where, remedy="See the list.")
        row = _parse_change(item, where)
        key = (row["code"].lower(), row.get("approval", ""))
        if key in seen:
            raise InvalidInput(
                f"{row['code']} is changed twice.", field=f"{where}.code", remedy="Say it once."
            )
        seen.add(key)
        parsed.append(row)
    return parsed


def _parse_change(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    known_keys(item, CHANGE_KEYS, where)
    row: dict[str, Any] = {"code": code(item.get("code"), f"{where}.code")}
    if item.get("approval"):
        row["approval"] = text(item["approval"], f"{where}.approval", most=20)
    drop = item.get("drop", False)
    if not isinstance(drop, bool):
        raise InvalidInput(
            f"{where}.drop must be true or false.", field=f"{where}.drop", remedy="Set it so."
        )
    if drop:
        return row | {"drop": True}
    if item.get("threshold") is None:
        raise InvalidInput(
            f"{where} neither restates {row['code']} nor drops it.",
            field=f"{where}.threshold",
            remedy='Give a new "threshold", or "drop": true.',
        )
    row["threshold"] = number(item["threshold"], f"{where}.threshold")
    if item.get("tolerance") is not None:
        row["tolerance"] = number(item["tolerance"], f"{where}.tolerance", least=0.0)
    if item.get("sentence"):
        row["sentence"] = text(item["sentence"], f"{where}.sentence", most=1_000)
    if item.get("criticality"):
        row["criticality"] = choice(
            item["criticality"], f"{where}.criticality", Assumption.Criticality
        )
    return row


def restated(
    old: Sequence[Assumption], changes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The assumptions of a new approval: the old ones with `changes` (parsed) applied.

    Raises InvalidInput for a code that is not there, or when nothing would be left.
    """
    by_code = {c["code"].lower(): c for c in changes}
    unknown = sorted(set(by_code) - {a.code.lower() for a in old})
    if unknown:
        names = ", ".join(str(by_code[u]["code"]) for u in unknown)
        raise InvalidInput(
            f"There is no assumption {names} in this approval.",
            field="assumption_changes",
            remedy=f"Its assumptions are {', '.join(a.code for a in old)}.",
        )
    rows = []
    for assumption in old:
        row = {key: getattr(assumption, key) for key in KEYS}
        change = by_code.get(assumption.code.lower())
        if change is None:
            rows.append(row)
        elif not change.get("drop"):
            rows.append(_restate(row, change))
    if not rows:
        raise InvalidInput(
            "Every assumption would be dropped.",
            field="assumption_changes",
            remedy="Keep or restate at least one: an approval rests on something.",
        )
    return rows


def _restate(row: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    row = row | {k: change[k] for k in ("threshold", "tolerance", "criticality") if k in change}
    if "sentence" in change:
        return row | {"sentence": change["sentence"]}
    # The old sentence may say the old number: the new number stands beside it.
    plain = RESTATED.sub("", row["sentence"])
    label = Assumption.Comparator(row["comparator"]).label
    return row | {"sentence": f"{plain} (restated: {label} {row['threshold']:g})"}


def _remedy() -> str:
    return (
        'E.g. {"code": "A1", "sentence": "Answers are valid JSON", "suite_slug": "claims-json", '
        '"metric_key": "json_valid.mean", "comparator": "gte", "threshold": 0.95, '
        '"criticality": "high"}.'
    )
