"""The answer calls the expected tools with the expected arguments, compared path by path.

Score: the share of right values, where a call's name is one value and so is each of its arguments'
values. A call that is missing, and one that nobody asked for, counts with all it holds.

Trap: arguments arrive as JSON in a text, and that text may be broken, or empty where a tool takes
none: it is parsed here, and what cannot be parsed has no arguments. A model that writes its call
as text has not called anything; `source: text` or `either` accepts that for models without tools.
Two calls at once may come in any order unless `order: strict`. An empty expectation means that no
call is right, so an answer in words scores 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult, quote
from apps.evaluations.scorers.jsontext import depth, find_json, leaves
from apps.evaluations.scorers.structure import MAX_CHANGES, Difference, compare

MAX_CALLS = 20
MAX_ARGUMENT_CHARS = 50_000
MAX_LEAVES = 300
_FORM = (
    "The scorer 'tool_call' expects a call {name, arguments}, a list of calls, or [] for none. "
    "'name' is text, and 'arguments' a mapping. Write it in one of these forms."
)


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]
    problem: str = ""

    @property
    def size(self) -> int:
        return 1 + (leaves(self.arguments) if self.arguments else 0)


@dataclass(frozen=True)
class ToolCall(Scorer):
    source: str = "calls"
    order: str = "any"
    compare: str = "arguments"
    extra_calls: str = "refuse"
    extra_arguments: str = "refuse"
    tolerance: float = 0.0
    ignore_case: bool = False

    type = "tool_call"
    summary = "The answer calls the expected tools with the expected arguments."
    properties = {
        "source": {
            "enum": ["calls", "text", "either"],
            "description": "Calls of the API, JSON in the text, or the first that is there. "
            "Default calls.",
        },
        "order": {"enum": ["any", "strict"], "description": "Of several calls. Default any."},
        "compare": {
            "enum": ["arguments", "names"],
            "description": "Names and arguments, or the tools' names only. Default arguments.",
        },
        "extra_calls": {
            "enum": ["refuse", "allow"],
            "description": "Calls beyond those expected. Default refuse (they count as wrong).",
        },
        "extra_arguments": {
            "enum": ["refuse", "allow"],
            "description": "Arguments beyond those expected, at the top. Default refuse.",
        },
        "tolerance": {"type": "number", "minimum": 0, "description": "For numbers. Default 0."},
        "ignore_case": {"type": "boolean", "description": "In texts. Default false."},
    }

    def check_expect(self, expected: Any) -> str | None:
        wanted = expected if isinstance(expected, list) else [expected]
        if len(wanted) > MAX_CALLS:
            return f"At most {MAX_CALLS} calls can be expected in one case. Remove some."
        for call in wanted:
            if not isinstance(call, dict) or not set(call) <= {"name", "arguments"}:
                return _FORM
            arguments = call.get("arguments", {})
            if not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
                return _FORM
            if leaves(arguments) > MAX_LEAVES or depth(arguments) > 30:
                return f"A call's arguments have over {MAX_LEAVES} values, or 30 levels: fewer fit."
        return None

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        listed = expected if isinstance(expected, list) else [expected]
        wanted = [self._plain(Call(w["name"], w.get("arguments", {}))) for w in listed]
        found = [self._plain(call) for call in self._found(text, answer)]
        if len(found) > MAX_CALLS:
            return ScoreResult(0.0, f"The answer makes {len(found)} calls.", {"calls": len(found)})
        pairs = self._pairs(wanted, found)
        extra = [f for i, f in enumerate(found) if i not in {j for _, j in pairs}]
        missing = [w for i, w in enumerate(wanted) if i not in {k for k, _ in pairs}]
        wrong = sum(call.size for call in missing)
        total = sum(call.size for call in wanted)
        changes: list[dict[str, Any]] = []
        notes = [f"{quote(call.name)} is not called" for call in missing]
        for i, j in pairs:
            difference = self._difference(wanted[i], found[j])
            wrong += difference.wrong
            total += difference.total - (wanted[i].size - 1)
            changes += [{**c, "call": wanted[i].name} for c in difference.changes]
            if found[j].problem:
                notes.append(f"{quote(found[j].name)}: {found[j].problem}")
        if self.extra_calls == "refuse":
            wrong += sum(call.size for call in extra)
            total += sum(call.size for call in extra)
            notes += [f"{quote(call.name)} is called without need" for call in extra]
        detail = {
            "calls": [call.name for call in found],
            "missing": [call.name for call in missing],
            "extra": [call.name for call in extra],
            "changes": changes[:MAX_CHANGES],
        }
        if wrong == 0:
            said = "No tool is called, as expected." if not wanted else "The calls are as expected."
            return ScoreResult(1.0, said, detail)
        if changes:
            notes.append(f"the first difference is at {changes[0]['path']}")
        shown = f"{wrong} of {total} values differ: " + "; ".join(notes[:5]) + "."
        return ScoreResult(Difference(wrong, total).share, shown, detail)

    def _plain(self, call: Call) -> Call:
        return Call(call.name, {}, call.problem) if self.compare == "names" else call

    def _difference(self, wanted: Call, found: Call) -> Difference:
        """Of the arguments of two calls of the same name."""
        right = found.arguments
        if self.extra_arguments == "allow":
            right = {k: v for k, v in right.items() if k in wanted.arguments}
        if not wanted.arguments and not right:
            return Difference(0, 0)
        difference = compare(
            wanted.arguments, right, tolerance=self.tolerance, ignore_case=self.ignore_case
        )
        if not wanted.arguments:  # an empty mapping is no value here
            return Difference(difference.wrong, difference.total - 1, difference.changes)
        return difference

    def _pairs(self, wanted: list[Call], found: list[Call]) -> list[tuple[int, int]]:
        """Which found call answers which expected one. In any order: the nearest come first."""
        if self.order == "strict":
            return _in_order([w.name for w in wanted], [f.name for f in found])
        near = sorted(
            (self._difference(w, f).wrong, i, j)
            for i, w in enumerate(wanted)
            for j, f in enumerate(found)
            if w.name == f.name
        )
        pairs: list[tuple[int, int]] = []
        for _, i, j in near:
            if all(i != k and j != other for k, other in pairs):
                pairs.append((i, j))
        return sorted(pairs)

    def _found(self, text: str, answer: Answer) -> list[Call]:
        calls = list(_calls(answer.tool_calls)) if self.source != "text" else []
        if calls or self.source == "calls":
            return calls
        written = find_json(text)
        if written.problem:
            return []
        value = written.value
        if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
            value = value["tool_calls"]
        return list(_calls(value if isinstance(value, list) else [value]))


def _in_order(wanted: list[str], found: list[str]) -> list[tuple[int, int]]:
    """The longest common subsequence of the names: the most calls that stand in their order."""
    best = [[0] * (len(found) + 1) for _ in range(len(wanted) + 1)]
    for i in range(len(wanted) - 1, -1, -1):
        for j in range(len(found) - 1, -1, -1):
            same = wanted[i] == found[j]
            best[i][j] = best[i + 1][j + 1] + 1 if same else max(best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(wanted) and j < len(found):
        if wanted[i] == found[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _calls(items: Iterable[Any]) -> Iterable[Call]:
    """Calls in the forms of Chat Completions, of Responses, and plain {name, arguments}."""
    for item in items:
        if not isinstance(item, dict):
            continue
        body = item["function"] if isinstance(item.get("function"), dict) else item
        name = body.get("name")
        if not isinstance(name, str) or not name:
            continue
        raw = body.get("arguments", body.get("parameters", {}))
        arguments, problem = _arguments(raw)
        yield Call(name[:200], arguments, problem)


def _arguments(raw: Any) -> tuple[dict[str, Any], str]:
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return {}, ""
    if isinstance(raw, str):
        if len(raw) > MAX_ARGUMENT_CHARS:
            return {}, f"its arguments are longer than {MAX_ARGUMENT_CHARS:,} characters"
        found = find_json(raw, whole=True)
        if found.problem:
            return {}, "its arguments are not JSON"
        raw = found.value
    if not isinstance(raw, dict):
        return {}, "its arguments are no mapping"
    if leaves(raw) > MAX_LEAVES or depth(raw) > 40:
        return {}, f"its arguments have over {MAX_LEAVES} values"
    return raw, ""
