"""What every importer gives: a suite's document, what was carried over, and what was not.

Importers are pure: bytes in, values out. They judge nothing by themselves: the document goes
through the same checks as a file that people wrote (`suitefile.parse_document`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from apps.evaluations.scorers import SCORERS
from apps.evaluations.suitefile import SCHEMA, Suite, parse_document

Files = Callable[[str], bytes | None]
"""Bytes of a file that lies beside the imported one, None where there is none."""
MAX_CASES = 100_000
SAFE_INTEGER = 2**53 - 1


class ImportRefused(ValueError):
    """Nothing of the file can be used; the message says why and what to do."""


@dataclass(frozen=True)
class Head:
    """What a suite must say of itself and other tools' files do not hold."""

    slug: str = ""
    name: str = ""
    summary: str = ""
    not_measured: str = ""
    license: str = ""
    source: str = ""
    personal_data: bool | None = None


@dataclass(frozen=True)
class Options:
    """`scorer`: how answers are judged where the file itself does not say."""

    scorer: str = ""
    prompt: str = ""


@dataclass
class Loss:
    """Something that was left out or came over changed, and why."""

    what: str
    why: str
    where: list[str] = field(default_factory=list)
    count: int = 0

    def __str__(self) -> str:
        places = ", ".join(self.where)
        more = f" and {self.count - len(self.where)} more" if self.count > len(self.where) else ""
        return f"{self.what}: {self.why}" + (f" ({places}{more})" if places else "")


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer that somebody else asked for, as their file tells it."""

    case_id: str
    model: str
    text: str
    replicate: int = 0
    answered_at: str = ""
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str = ""
    error: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """`document` is a suite's document; `carried` are sentences with counts."""

    document: dict[str, Any]
    carried: list[str]
    losses: list[Loss]
    answers: list[RecordedAnswer] = field(default_factory=list)

    def suite(self) -> Suite:
        """Raises SuiteError where the suite's own rules are broken."""
        return parse_document(self.document, filename="imported")


@dataclass
class _Use:
    type: str
    params: dict[str, Any]
    label: str
    metric: dict[str, Any]
    cases: set[int] = field(default_factory=set)
    needs_expect: bool = True


class Builder:
    """Gathers cases, scorers and losses, and writes the shortest suite that means the same."""

    def __init__(self, head: Head, fallback: Head) -> None:
        self.head, self.fallback = head, fallback
        self.prompt: Any = None
        self.defaults: dict[str, Any] = {}
        self.cases: list[dict[str, Any]] = []
        self.expects: list[dict[str, Any]] = []
        self.uses: dict[str, _Use] = {}
        self.losses: dict[tuple[str, str], Loss] = {}
        self.carried: list[str] = []
        self.answers: list[RecordedAnswer] = []
        self._ids: set[str] = set()

    def lose(self, what: str, why: str, where: str = "") -> None:
        loss = self.losses.setdefault((what, why), Loss(what, why))
        loss.count += 1
        if where and where not in loss.where and len(loss.where) < 5:
            loss.where.append(where[:80])

    def scorer(
        self,
        key: str,
        type_name: str,
        label: str,
        params: dict[str, Any] | None = None,
        *,
        needs_expect: bool = True,
        **metric: Any,
    ) -> str:
        """The key of the scorer of this name, made if need be; another rule under the same name
        gets another key."""
        wanted = params or {}
        base = key_of(key)
        name, number = base, 1
        while name in self.uses and (
            self.uses[name].type != type_name or self.uses[name].params != wanted
        ):
            number += 1
            name = f"{base[:60]}_{number}"
        self.uses.setdefault(
            name,
            _Use(
                type_name,
                wanted,
                label if number == 1 else f"{label} ({number})",
                {"direction": "higher", "margin": 0.05, "unit": "share", "bounds": [0, 1]} | metric,
                needs_expect=needs_expect,
            ),
        )
        return name

    def add(self, case: dict[str, Any], expects: Iterable[tuple[str, Any]]) -> str:
        """Take a case; `expects`: the scorer's key and what it compares with. Two expectations of
        one scorer need two scorers. Returns the case's id."""
        if len(self.cases) >= MAX_CASES:
            raise ImportRefused(f"There are more than {MAX_CASES:,} cases. Split the file.")
        number = len(self.cases)
        case = {**case, "id": self._id(str(case.get("id") or number + 1))}
        found: dict[str, Any] = {}
        for key, value in expects:
            name = key
            if key in found:
                use = self.uses[key]
                copy = 2
                while f"{key[:60]}_{copy}" in found:
                    copy += 1
                name = f"{key[:60]}_{copy}"
                if name not in self.uses:
                    self.uses[name] = _Use(
                        use.type,
                        use.params,
                        f"{use.label} ({copy})",
                        use.metric,
                        needs_expect=use.needs_expect,
                    )
            found[name] = value
            self.uses[name].cases.add(number)
        self.cases.append(case)
        self.expects.append(found)
        return str(case["id"])

    def _id(self, wanted: str) -> str:
        plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9._:/-]+", "-", plain).strip("-._:/")[:80] or "case"
        name, number = plain, 1
        while name in self._ids:
            number += 1
            name = f"{plain}-{number}"
        self._ids.add(name)
        return name

    def finish(self) -> Imported:
        if not self.cases:
            raise ImportRefused(
                "No case could be carried over. " + " ".join(f"{x}." for x in self.losses.values())
            )
        if not self.uses:
            self.lose("No rule for scoring", "only the form of the answers will be watched")
            key = self.scorer(
                "words", "style", "Words", {"feature": "words"}, needs_expect=False,
                direction="neutral", margin=5, unit="words", bounds=None,
            )  # fmt: skip
            self.uses[key].cases = set(range(len(self.cases)))
        head, other = self.head, self.fallback
        if head.personal_data is None:
            self.lose("Personal data", "nobody said whether the cases hold any, so 'yes' is noted")
        if not head.license:
            self.lose("Licence of the data", "nobody said it, so 'NOASSERTION' is noted")
        later = sum(bool(SCORERS[use.type].deferred) for use in self.uses.values())
        if later:
            said = f"{later} metric{'s' * (later != 1)} scored after the run"
            self.carried.append(f"{said}, by a judge or by embeddings")
        name = (head.name or other.name or "Imported suite").strip()[:100]
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "slug": head.slug or slug_of(other.slug or name),
            "name": name,
            "summary": head.summary or other.summary or name,
            "not_measured": head.not_measured or other.not_measured or "Not said.",
            "license": head.license or "NOASSERTION",
            "source": head.source or other.source or "Imported.",
            "personal_data": head.personal_data is not False,
        }
        if self.prompt is not None:
            document["prompt"] = self.prompt
        if self.defaults:
            document["defaults"] = self.defaults
        document["scorers"] = [self._scorer(key) for key in self.uses]
        document["metrics"] = [
            {"key": key, "label": use.label[:100], "scorer": key, **use.metric}
            for key, use in self.uses.items()
        ]
        document["cases"] = [self._case(i) for i in range(len(self.cases))]
        return Imported(document, self.carried, list(self.losses.values()), self.answers)

    def _only(self, key: str) -> bool:
        return len(self.uses) == 1 and len(self.uses[key].cases) == len(self.cases)

    def _scorer(self, key: str) -> dict[str, Any]:
        use = self.uses[key]
        spec: dict[str, Any] = {"key": key, "type": use.type, **use.params}
        if self._only(key):
            return spec
        if use.needs_expect:
            spec["expect_field"] = key
        if len(use.cases) < len(self.cases):
            spec["tags"] = [key]
        return spec

    def _case(self, index: int) -> dict[str, Any]:
        case, found = dict(self.cases[index]), self.expects[index]
        wanted = {k: v for k, v in found.items() if self.uses[k].needs_expect}
        if wanted:
            only = next(iter(wanted))
            case["expect"] = wanted[only] if self._only(only) else wanted
        marks = [k for k in found if len(self.uses[k].cases) < len(self.cases)]
        tags = list(dict.fromkeys([*marks, *(str(t)[:64] for t in case.get("tags", ()) if t)]))
        if len(tags) > 20:
            self.lose("Tags", "a case may carry 20", str(case["id"]))
        case.pop("tags", None)
        return {**case, "tags": tags[:20]} if tags else case


def key_of(text: str) -> str:
    """A scorer's or metric's key: lower case, underscores, beginning with a letter."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return (plain if plain[:1].isalpha() else f"m_{plain}")[:60] or "metric"


def slug_of(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-") or "imported"


def text_of(value: Any) -> str:
    """A value as the text that a template prints."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE_INTEGER:
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def decode(data: bytes) -> str:
    """Raises ImportRefused where the bytes are not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportRefused(
            f"The file is not UTF-8 (byte {error.start}). Save it as UTF-8."
        ) from None


def json_lines(data: bytes) -> list[tuple[int, Any]]:
    """The values of a JSON Lines file with their lines; a file that is one JSON list is its
    items. Raises ImportRefused naming the line."""
    text = decode(data)
    if text.lstrip()[:1] == "[":
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError):
            whole = None
        if isinstance(whole, list):
            return list(enumerate(whole, start=1))
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise ImportRefused(f"Line {number} is not JSON ({error}). Correct it.") from None
    if not rows:
        raise ImportRefused("The file is empty.")
    return rows


def chat(value: Any) -> list[dict[str, Any]] | str:
    """Messages in the form of the common chat API as ours; a sentence where that cannot be."""
    if not isinstance(value, list) or not value:
        return "it is no list of messages"
    messages = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            return "a message has no role"
        role = {"human": "user", "function": "tool"}.get(item["role"], item["role"])
        content = item.get("content")
        if isinstance(content, list):
            texts = []
            for part in content:
                kind = part.get("type", "text") if isinstance(part, dict) else "text"
                if kind not in ("text", "input_text", "output_text", "reasoning"):
                    return f"a message holds a part of type '{str(kind)[:20]}'"
                if kind != "reasoning":
                    texts.append(part.get("text", "") if isinstance(part, dict) else str(part))
            content = "\n".join(texts)
        message: dict[str, Any] = {"role": role}
        if isinstance(content, str) and content:
            message["content"] = content
        calls = [call for call in map(_call, item.get("tool_calls") or []) if call]
        if calls:
            message["tool_calls"] = calls
        if role == "tool" and item.get("tool_call_id"):
            message["tool_call_id"] = str(item["tool_call_id"])
        if len(message) == 1:
            return "a message is empty"
        messages.append(message)
    return messages


def _call(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    given: dict[str, Any] = inner if isinstance(inner, dict) else value
    name = inner if isinstance(inner, str) else given.get("name")
    arguments = given.get("arguments", value.get("arguments", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not name or not isinstance(arguments, dict):
        return None
    return {"id": str(value.get("id") or name)[:100], "name": str(name), "arguments": arguments}
