"""What became of the structure of JSON answers and tool calls: "`$.amount` became a string in 83 %
of cases".

A case's answers are compared by *paths*, with list positions folded (`$.items[*].price`), so that
longer lists are no new keys. For each case and path the baseline says which kinds of value it
takes; something has changed in a case only if *no* baseline answer of that case has it so: a key
that the baseline's replicates have now and then is its own noise. Descriptive: no evidence is
taken from it, and it is written on a comparison whatever the verdict.

Kinds: object, array, string, number, boolean, null; absent where the path is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT, NOT_JSON = "absent", "not_json"
MOST_PATHS, MOST_DEPTH = 2_000, 40
Path = tuple[str, ...]
Shape = Mapping[Path, frozenset[str]]


@dataclass(frozen=True)
class PathChange:
    """One path that changed alike in `cases` of the `of` cases whose baseline and rerun have it
    in question. change: gone, new, type, or not_json."""

    path: str
    change: str
    before: str
    after: str
    cases: int
    of: int

    @property
    def share(self) -> float:
        return self.cases / self.of

    @property
    def sentence(self) -> str:
        where = f"in {100 * self.share:.0f} % of cases ({self.cases} of {self.of})"
        if self.change == "not_json":
            return f"answers are {'no longer' if self.after == NOT_JSON else 'now'} JSON {where}"
        if self.change == "gone":
            return f"{self.path} is gone {where}"
        if self.change == "new":
            return f"{self.path} is new {where}"
        article = "an" if self.after[0] in "aeiou" else "a"
        return f"{self.path} became {article} {self.after} {where}"


def shape(value: Any, root: str = "$") -> Shape:
    """path -> kinds seen there. Deep or very large values are cut (MOST_DEPTH, MOST_PATHS)."""
    found: dict[Path, frozenset[str]] = {}
    # What stands at one path is looked at together: a list of a thousand members is few paths.
    todo: list[tuple[Path, list[Any]]] = [((root,), [value])]
    while todo and len(found) < MOST_PATHS:
        path, items = todo.pop()
        found[path] = kinds = frozenset(map(kind, items))
        if len(path) > MOST_DEPTH:
            continue
        if "object" in kinds:
            by_key: dict[str, list[Any]] = {}
            for item in items:
                if isinstance(item, Mapping):
                    for key, part in item.items():
                        by_key.setdefault(key, []).append(part)
            todo += [((*path, f".{key}"), parts) for key, parts in by_key.items()]
        if "array" in kinds:
            members = [part for item in items if isinstance(item, list) for part in item]
            if members:
                todo.append(((*path, "[*]"), members))
    return found


_KINDS = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def kind(value: Any) -> str:
    """One of the kinds above, of a value that `json` made."""
    return _KINDS.get(type(value), "string")


def path_changes(
    baseline: Mapping[str, Sequence[Shape | None]],
    current: Mapping[str, Sequence[Shape | None]],
    *,
    most: int = 20,
) -> list[PathChange]:
    """What changed, in most cases first. A shape is None where an answer is no JSON.

    baseline, current: case -> shapes of its answers. Only cases with both count. A case counts for
    a change when its first current answer shows what none of its baseline answers does.
    """
    tally: dict[tuple[Path, str, str, str], int] = {}
    concerned: dict[Path, int] = {}
    for case in sorted(baseline.keys() & current.keys()):
        old, new = baseline[case], current[case]
        if not old or not new or (new[0] is None and all(s is None for s in old)):
            continue
        for path, change, before, after, moved in _of_case(old, new[0]):
            concerned[path] = concerned.get(path, 0) + 1
            if moved:
                key = (path, change, before, after)
                tally[key] = tally.get(key, 0) + 1
    rows = [
        PathChange(_shown(path), change, before, after, cases=n, of=concerned[path])
        for (path, change, before, after), n in tally.items()
    ]
    return sorted(rows, key=lambda r: (-r.share * r.cases, r.path, r.change, r.after))[:most]


def _of_case(
    old: Sequence[Shape | None], new: Shape | None
) -> Iterable[tuple[Path, str, str, str, bool]]:
    """(path, change, before, after, whether it changed) of every path in question."""
    shapes = [s for s in old if s is not None]
    if new is None or not shapes:
        # Where some baseline answers were no JSON either, that is the baseline's own noise.
        before, after = ("json", NOT_JSON) if new is None else (NOT_JSON, "json")
        yield ("$",), "not_json", before, after, len(shapes) in (0, len(old))
        return
    known = {path for s in shapes for path in s}
    for path in sorted(known | new.keys()):
        parent = path[:-1]
        now = new.get(path)
        seen = frozenset(kind for s in shapes for kind in s.get(path, ()))
        if now is None:
            if parent and parent not in new:
                continue  # what it stood in is gone, and says so
            always = all(path in s for s in shapes) and "[*]" not in path
            yield path, "gone", _named(seen), ABSENT, always
        elif seen:
            yield path, "type", _named(seen), _named(now), not now <= seen
        elif not parent or parent in known:
            # Lists that were always empty have no members that could be new.
            yield path, "new", ABSENT, _named(now), path[-1] != "[*]"


def _shown(path: Path) -> str:
    return "".join(path)[:200]


def _named(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds))
