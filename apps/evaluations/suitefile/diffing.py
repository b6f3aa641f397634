"""What a revision changed against another, in words and path by path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepdiff import DeepDiff
from deepdiff.helper import notpresent

from apps.evaluations.suitefile.types import Case, Suite

MAX_CHANGES = 50
FACTS = ("name", "summary", "not_measured", "license", "source", "personal_data")
KINDS = {"added": "added", "removed": "removed"}
Change = dict[str, Any]
"""{path, before, after, kind}: kind is added, removed or changed."""


@dataclass(frozen=True)
class ItemDiff:
    """A case, scorer or metric that is in both, with what differs."""

    key: str
    changes: list[Change]


@dataclass(frozen=True)
class Group:
    """Cases, scorers or metrics: keys that came, went and changed."""

    noun: str
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[ItemDiff] = field(default_factory=list)

    def phrases(self) -> list[str]:
        said = []
        if self.changed:
            said.append(f"{_count(len(self.changed), self._what())} changed")
        for verb, keys in (("added", self.added), ("removed", self.removed)):
            if keys:
                said.append(f"{_count(len(keys), self.noun)} {verb}")
        return said

    def _what(self) -> str:
        """'scorer tolerance' where one and the same parameter changed everywhere, else 'scorer'."""
        names = {c["path"].split(".")[0].split("[")[0] for i in self.changed for c in i.changes}
        if self.noun != "case" and len(names) == 1:
            return f"{self.noun} {next(iter(names))}"
        return self.noun

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True)
class SuiteDiff:
    cases: Group
    scorers: Group
    metrics: Group
    prompt: list[Change]
    asking: list[Change]
    """Of the defaults (length, stop texts, tools, answer form) and images."""
    facts: list[Change]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(
            self.cases or self.scorers or self.metrics or self.prompt or self.asking
            or self.facts or self.reordered
        )  # fmt: skip

    def sentence(self) -> str:
        """For example '2 cases changed, 1 scorer tolerance changed'."""
        said = [p for group in (self.cases, self.scorers, self.metrics) for p in group.phrases()]
        if self.prompt:
            said.append("the prompt changed")
        if self.asking:
            said.append(f"{_listed(self.asking)} changed")
        if self.facts:
            said.append(f"{_listed(self.facts)} changed")
        if self.reordered:
            said.append("the order of cases changed")
        return ", ".join(said) or "nothing changed"


def diff_suites(before: Suite, after: Suite) -> SuiteDiff:
    old, new = before.canonical(), after.canonical()
    old_prompt, new_prompt = old.get("prompt"), new.get("prompt")
    defaults: dict[str, Any] = {"defaults": {}, "images": []}
    facts = [
        {"path": key, "before": old[key], "after": new[key], "kind": "changed"}
        for key in FACTS
        if old[key] != new[key]
    ]
    kept = [c.id for c in before.cases if c.id in {x.id for x in after.cases}]
    order = [c.id for c in after.cases if c.id in set(kept)]
    return SuiteDiff(
        cases=_group("case", before.cases, after.cases),
        scorers=_items("scorer", old["scorers"], new["scorers"]),
        metrics=_items("metric", old["metrics"], new["metrics"]),
        prompt=changes({"prompt": old_prompt}, {"prompt": new_prompt})
        if old_prompt != new_prompt
        else [],
        asking=changes(
            {k: old.get(k, d) for k, d in defaults.items()},
            {k: new.get(k, d) for k, d in defaults.items()},
        ),
        facts=facts,
        reordered=kept != order,
    )


def _group(noun: str, before: Iterable[Case], after: Iterable[Case]) -> Group:
    """By content hash first: only what differs is walked."""
    old, new = {c.id: c for c in before}, {c.id: c for c in after}
    differing = [
        key for key in new if key in old and old[key].content_hash != new[key].content_hash
    ]
    return Group(
        noun,
        added=[key for key in new if key not in old],
        removed=[key for key in old if key not in new],
        changed=[
            ItemDiff(key, changes(old[key].canonical(), new[key].canonical()))
            for key in differing[:200]
        ]
        + [ItemDiff(key, []) for key in differing[200:]],
    )


def _items(noun: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Group:
    old, new = {i["key"]: i for i in before}, {i["key"]: i for i in after}
    return Group(
        noun,
        added=[key for key in new if key not in old],
        removed=[key for key in old if key not in new],
        changed=[
            ItemDiff(key, changes(old[key], new[key]))
            for key in new
            if key in old and old[key] != new[key]
        ],
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """deepdiff of two mappings as rows, at most MAX_CHANGES."""
    diff = DeepDiff(before, after, verbose_level=2, view="tree")
    rows = []
    for kind, items in diff.items():
        for item in items:
            steps = item.path(output_format="list")
            path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
            rows.append(
                {
                    "path": path.lstrip("."),
                    "before": _shown(item.t1),
                    "after": _shown(item.t2),
                    "kind": KINDS.get(kind.rpartition("_")[2], "changed"),
                }
            )
    return sorted(rows, key=lambda row: row["path"])[:MAX_CHANGES]


def _shown(value: Any) -> Any:
    if value is notpresent:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(rows: list[Change]) -> str:
    names = dict.fromkeys(row["path"].removeprefix("defaults.").split(".")[0] for row in rows)
    return ", ".join(n.split("[")[0].replace("_", " ") for n in names)
