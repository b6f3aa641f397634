"""The pairs of answers that show a change best: baseline beside now."""

from __future__ import annotations

import json
import math
from difflib import SequenceMatcher
from typing import Any

from deepdiff import DeepDiff
from deepdiff.helper import notpresent

import apps.evaluations.selectors as evaluations
from apps.drift.models import Comparison, ExamplePair
from apps.evaluations.models import Sample

PAIRS = 10
COMPARED_CHARS = 4_000


def store(comparison: Comparison) -> None:
    """Keep the ten most telling pairs, the largest word-level distance first."""
    baseline: dict[Any, list[Sample]] = {}
    for run in comparison.baseline.runs.all():
        for sample in evaluations.answers(run):
            baseline.setdefault(sample.case_id, []).append(sample)
    rows = []
    for sample in evaluations.answers(comparison.run):
        if sample.replicate != 0 or sample.case_id not in baseline:
            continue
        old = min(baseline[sample.case_id], key=lambda s: _distance(s.text, sample.text))
        # The nearest of the baseline's own answers: what remains is not its randomness.
        rows.append((_distance(old.text, sample.text), old, sample))
    rows.sort(key=lambda row: (-row[0], str(row[2].case_id)))
    ExamplePair.objects.bulk_create(
        [
            ExamplePair(
                comparison=comparison,
                case_id=now.case_id,
                rank=rank,
                baseline_text=old.text,
                current_text=now.text,
                baseline_sample_id=old.id,
                current_sample_id=now.id,
                distance=distance,
                json_diff=json_difference(old.text, now.text),
                note=_note(baseline[now.case_id]),
            )
            for rank, (distance, old, now) in enumerate(rows[:PAIRS], start=1)
            if distance > 0
        ]
    )


def _note(answers: list[Sample]) -> str:
    same = len({s.text.strip() for s in answers}) == 1
    n = len(answers)
    if n < 2:
        return "one baseline answer"
    return f"{n} of {n} baseline answers agree" if same else f"baseline answers vary ({n} kept)"


def _distance(before: str, after: str) -> float:
    a, b = before[:COMPARED_CHARS].split(), after[:COMPARED_CHARS].split()
    return 1.0 - SequenceMatcher(None, a, b, autojunk=False).ratio() if a or b else 0.0


def word_distance(before: str, after: str) -> float:
    """0 for the same words in the same order, up to 1 for no word in common."""
    return _distance(before, after)


def json_difference(before: str, after: str) -> list[dict[str, Any]]:
    """deepdiff of two JSON answers as rows {path, kind, before, after}; [] when neither is JSON."""
    old, new = _parse(before), _parse(after)
    if old is None and new is None:
        return []
    if old is None or new is None:
        side = "after" if new is None else "before"
        return [{"path": "$", "kind": f"not_json_{side}", "before": None, "after": None}]
    try:
        return _rows(old, new)
    except RecursionError:
        # A few hundred brackets from a model must not stop the comparison.
        return [{"path": "$", "kind": "too_deep", "before": None, "after": None}]


def _rows(old: Any, new: Any) -> list[dict[str, Any]]:
    diff = DeepDiff(old, new, verbose_level=2, view="tree")
    rows = []
    for kind, items in diff.items():
        for item in items:
            rows.append(
                {
                    "path": "$" + "".join(_step(s) for s in item.path(output_format="list")),
                    "kind": kind,
                    "before": _shown(item.t1),
                    "after": _shown(item.t2),
                }
            )
    return rows[:50]


def _step(step: object) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{_storable(str(step))}"


def _shown(value: object) -> object:
    if value is notpresent or value is None:
        return None
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value if len(repr(value)) < 300 else repr(value)[:300]
    return _storable(value if isinstance(value, str) else repr(value))[:300]


def _storable(text: str) -> str:
    """Python's JSON knows NUL and lone surrogates; PostgreSQL's refuses both."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _parse(text: str) -> Any:
    text = text.strip()
    if not text.startswith(("{", "[")) or len(text) > 100_000:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
