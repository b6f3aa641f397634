"""A promptfoo configuration: prompts × tests become cases, assertions become scorers.

One prompt stays the suite's template. Several prompts are written out into each case, because a
suite asks each case one question. Files that the configuration names are read where they came
along; code (JavaScript, Python) is never run, and each piece that is left out is listed.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from apps.evaluations.imports import promptfoo_asserts as asserts
from apps.evaluations.imports.base import (
    Builder,
    Files,
    Head,
    Imported,
    ImportRefused,
    Options,
    chat,
    decode,
    json_lines,
    text_of,
)
from apps.evaluations.imports.nunjucks import Unsupported, is_plain, render
from apps.evaluations.suitefile.events import NoAliasLoader, ReadError, build, yaml_events

CODE_FILES = (".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".go")
MAX_VALUES = 500_000
EXPLAINED = {
    "providers": "who answers is a model version here: register it and start a run",
    "targets": "who answers is a model version here: register it and start a run",
    "redteam": "attack generation is not a stored suite",
    "extensions": asserts.CODE,
    "nunjucksFilters": asserts.CODE,
    "derivedMetrics": "metrics are means of scorers; a formula is not carried",
    "outputPath": "results stay in GovTrack",
    "sharing": "results stay in GovTrack",
    "env": "credentials belong to endpoints",
}
KNOWN = {
    *("description", "prompts", "tests", "defaultTest", "scenarios", "assertionTemplates", "tags"),
    *("evaluateOptions", "commandLineOptions", "metadata", "$schema", "writeLatestResults"),
    *EXPLAINED,
}


@dataclass(frozen=True)
class _Prompt:
    label: str
    messages: list[dict[str, Any]]

    @property
    def plain(self) -> bool:
        return all(is_plain(m.get("content", "")) for m in self.messages)


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    config = load_yaml(data)
    if not isinstance(config, dict) or not {"prompts", "tests", "scenarios"} & set(config):
        raise ImportRefused(
            "This is no promptfoo configuration: it has neither 'prompts' nor 'tests'."
        )
    title = str(config.get("description") or filename.rsplit(".", 1)[0])
    builder = Builder(
        head,
        Head(
            slug=title,
            name=title,
            summary=title,
            not_measured="What the assertions do not look at.",
            source=f"Imported from the promptfoo configuration {filename}.",
        ),
    )
    reader = _Reader(config, builder, files)
    reader.run()
    return builder.finish()


def load_yaml(data: bytes) -> Any:
    """YAML 1.2 without surprises; anchors and aliases, which promptfoo's users write, are read by
    the stock loader and counted when written out, so that a small bomb stays small."""
    text = decode(data)
    try:
        return build(yaml_events(text))
    except ReadError as error:
        if "alias" not in error.message and "anchor" not in error.message:
            raise ImportRefused(
                f"Line {error.line}, column {error.column}: {error.message}"
            ) from None
    try:
        value = yaml.load(text, Loader=NoAliasLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ImportRefused(f"Not readable as YAML: {str(error)[:300]}") from None
    _count(value)
    try:
        return json.loads(json.dumps(value, default=str))
    except ValueError as error:
        raise ImportRefused(f"Not readable as YAML: {str(error)[:300]}") from None


def _count(value: Any) -> None:
    left, stack = MAX_VALUES, [(value, 0)]
    while stack:
        node, depth = stack.pop()
        left -= 1
        if left < 0 or depth > 60:
            raise ImportRefused("The file's aliases write out too many values. Shorten it.")
        if isinstance(node, dict):
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)


class _Reader:
    def __init__(self, config: dict[str, Any], builder: Builder, files: Files) -> None:
        self.config, self.builder, self.files = config, builder, files
        self.carried: dict[str, int] = {}

    def run(self) -> None:
        lose = self.builder.lose
        for key in self.config:
            if key in EXPLAINED:
                lose(key, EXPLAINED[key])
            elif key not in KNOWN:
                lose(f"key '{key[:40]}'", "it is not known here")
        evaluate = self.config.get("evaluateOptions")
        if isinstance(evaluate, dict) and evaluate.get("repeat") not in (None, 1):
            lose("evaluateOptions.repeat", f"ask for {evaluate['repeat']} answers when you run it")
        prompts = [p for given in _listed(self.config.get("prompts")) for p in self._prompts(given)]
        if not prompts:
            left_out = [x for x in self.builder.losses.values() if x.what.startswith("prompt ")]
            why = "; ".join(map(str, left_out))
            raise ImportRefused(f"No prompt could be carried over ({why or 'there is none'}).")
        template = len(prompts) == 1 and prompts[0].plain
        default = self._default()
        kept = 0
        for number, test in enumerate(self._tests(), start=1):
            where = str(test.get("description") or f"test {number}")
            for values in self._values(test, default, where):
                for index, prompt in enumerate(prompts):
                    kept += self._case(
                        test, default, values, prompt, index, number, template, len(prompts), where
                    )
        if template:
            self.builder.prompt = {"messages": prompts[0].messages}
        total = sum(self.carried.values())
        said = [f"{len(prompts)} prompt{'s' * (len(prompts) != 1)}", f"{kept} cases"]
        kinds = ", ".join(f"{n} × {k}" for k, n in sorted(self.carried.items()))
        said.append(f"{total} assertions" + (f" ({kinds})" if kinds else ""))
        self.builder.carried += said

    # Prompts

    def _prompts(self, given: Any) -> Iterator[_Prompt]:
        lose = self.builder.lose
        if isinstance(given, dict):
            label = str(given.get("label") or given.get("id") or "prompt")
            raw = given.get("raw", given.get("prompt", given.get("id")))
            if "role" in given and "content" in given:
                yield from self._parsed([given], "prompt")
                return
            for prompt in self._prompts(raw) if raw is not None else ():
                yield _Prompt(label, prompt.messages)
            return
        if isinstance(given, list):
            yield from self._parsed(given, "prompt")
            return
        text = text_of(given)
        name = text.removeprefix("file://")
        is_file = text.startswith("file://") or (
            "\n" not in text
            and " " not in text
            and name.endswith((".txt", ".json", ".md", ".yaml"))
        )
        if not is_file:
            yield from self._parsed(text, text[:40])
            return
        if name.split(":")[0].endswith(CODE_FILES):
            lose(f"prompt {name}", asserts.CODE)
            return
        content = self.files(name)
        if content is None:
            lose(f"prompt {name}", "the file did not come along")
            return
        body = decode(content)
        if name.endswith((".yaml", ".yml")):
            yield from self._parsed(load_yaml(content), name)
        elif name.endswith((".jsonl", ".csv", ".j2")):
            lose(f"prompt {name}", "prompts are read from .txt, .md, .json and .yaml files")
        else:
            parts = [body] if name.endswith(".json") else body.split("\n---\n")
            for part in parts:
                if part.strip():
                    yield from self._parsed(part.strip("\n"), name)

    def _parsed(self, given: Any, label: str) -> Iterator[_Prompt]:
        """A text, or a list of messages as JSON."""
        if isinstance(given, str) and given.lstrip()[:1] == "[":
            with suppress(ValueError):  # else a text that begins with a bracket
                given = json.loads(given)
        if isinstance(given, list):
            messages = chat(given)
            if isinstance(messages, str):
                self.builder.lose(f"prompt {label}", messages)
                return
            yield _Prompt(label, messages)
        elif text_of(given).strip():
            yield _Prompt(label, [{"role": "user", "content": text_of(given)}])

    # Tests

    def _default(self) -> dict[str, Any]:
        default = self.config.get("defaultTest") or {}
        if isinstance(default, str):
            content = self.files(default.removeprefix("file://"))
            default = load_yaml(content) if content is not None else {}
            if content is None:
                self.builder.lose("defaultTest", "the file did not come along")
        return default if isinstance(default, dict) else {}

    def _tests(self) -> Iterator[dict[str, Any]]:
        found = False
        for given in _listed(self.config.get("tests")):
            for test in self._test(given):
                found = True
                yield test
        for scenario in _listed(self.config.get("scenarios")):
            if not isinstance(scenario, dict):
                self.builder.lose("scenario", "the file did not come along")
                continue
            pairs = itertools.product(
                _listed(scenario.get("config")), _listed(scenario.get("tests"))
            )
            for setting, test in pairs:
                if isinstance(setting, dict) and isinstance(test, dict):
                    found = True
                    values = {**(setting.get("vars") or {}), **(test.get("vars") or {})}
                    rules = [*_listed(setting.get("assert")), *_listed(test.get("assert"))]
                    yield {**setting, **test, "vars": values, "assert": rules}
        if not found:
            yield {}

    def _test(self, given: Any) -> Iterator[dict[str, Any]]:
        if isinstance(given, dict) and "path" not in given:
            yield given
            return
        name = str(given["path"] if isinstance(given, dict) else given).removeprefix("file://")
        if name.split(":")[0].endswith(CODE_FILES) or "://" in name:
            self.builder.lose(f"tests from {name}", asserts.CODE)
            return
        content = self.files(name)
        if content is None:
            self.builder.lose(f"tests from {name}", "the file did not come along")
        elif name.endswith(".csv"):
            yield from _table(decode(content))
        elif name.endswith(".jsonl"):
            yield from (row for _, row in json_lines(content) if isinstance(row, dict))
        elif name.endswith((".yaml", ".yml", ".json")):
            for row in _listed(load_yaml(content)):
                if isinstance(row, dict):
                    yield row
        else:
            self.builder.lose(f"tests from {name}", "tests are read from CSV, JSON and YAML files")

    def _values(
        self, test: dict[str, Any], default: dict[str, Any], where: str
    ) -> Iterator[dict[str, Any]]:
        """The test's variables; a list stands for one test for each of its values."""
        values = {**_mapping(default.get("vars")), **_mapping(test.get("vars"))}
        for name, value in list(values.items()):
            if isinstance(value, str) and value.startswith("file://"):
                content = self.files(value.removeprefix("file://"))
                if content is None or value.endswith(CODE_FILES):
                    why = "the file did not come along" if content is None else asserts.CODE
                    self.builder.lose(f"variable {value}", why, where)
                    return
                values[name] = decode(content)
        options = {**_mapping(default.get("options")), **_mapping(test.get("options"))}
        lists = {} if options.get("disableVarExpansion") else {
            name: value for name, value in values.items() if isinstance(value, list)
        }  # fmt: skip
        for chosen in itertools.product(*lists.values()):
            yield {**values, **dict(zip(lists, chosen, strict=True))}

    def _case(
        self, test: dict[str, Any], default: dict[str, Any], values: dict[str, Any],
        prompt: _Prompt, index: int, number: int, template: bool, prompts: int, where: str,
    ) -> int:  # fmt: skip
        lose = self.builder.lose
        options = {**_mapping(default.get("options")), **_mapping(test.get("options"))}
        if options.get("transform") or options.get("postprocess"):
            lose("transform of the answer", asserts.CODE, where)
        for key in ("threshold", "provider", "providers", "assertScoringFunction"):
            if test.get(key) or (key == "threshold" and default.get(key)):
                lose(f"'{key}' of tests", "it has no counterpart in a suite", where)
        expects = []
        if not test.get("disableDefaultAsserts"):
            expects += self._asserts(default.get("assert"), values, where)
        expects += self._asserts(test.get("assert"), values, where)
        case: dict[str, Any] = {"id": _name(test, number, prompt if prompts > 1 else None, index)}
        try:
            if template:
                for message in prompt.messages:
                    render(message.get("content", ""), values)  # every variable has a value
                case["vars"] = values
            else:
                case["messages"] = _written_out(prompt, values)
        except Unsupported as error:
            lose("cases", f"the prompt '{prompt.label[:40]}' cannot be written out: {error}", where)
            return 0
        if test.get("description"):
            case["note"] = str(test["description"])[:2000]
        metadata = {**_mapping(default.get("metadata")), **_mapping(test.get("metadata"))}
        tags = [f"{k}={text_of(v)}" for k, v in metadata.items() if not isinstance(v, dict)]
        if prompts > 1:
            tags.append(f"prompt-{index + 1}")
        self.builder.add({**case, "tags": tags}, expects)
        return 1

    def _asserts(self, given: Any, values: dict[str, Any], where: str) -> list[Any]:
        found = []
        for assertion in _listed(given):
            if isinstance(assertion, dict) and "$ref" in assertion:
                name = str(assertion["$ref"]).removeprefix("#/assertionTemplates/")
                assertion = _mapping(self.config.get("assertionTemplates")).get(name)
            if isinstance(assertion, str):
                assertion = asserts.of_text(assertion)
            if not isinstance(assertion, dict):
                self.builder.lose(
                    "an assertion", "it is no mapping, or its $ref leads nowhere", where
                )
                continue
            carried = asserts.carry(self.builder, assertion, values, where)
            kind = str(assertion.get("type"))
            if carried:
                self.carried[kind] = self.carried.get(kind, 0) + len(carried)
            found += carried
        return found


def _written_out(prompt: _Prompt, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The prompt's messages for one test. A text that renders to a JSON list of messages is
    these, as in promptfoo. Raises Unsupported."""
    messages = [
        {**m, "content": render(m["content"], values)} if m.get("content") else m
        for m in prompt.messages
    ]
    only = messages[0].get("content", "") if len(messages) == 1 else ""
    if only.lstrip()[:1] == "[":
        with suppress(ValueError):
            parsed = chat(json.loads(only))
            return parsed if isinstance(parsed, list) else messages
    return messages


def _name(test: dict[str, Any], number: int, prompt: _Prompt | None, index: int) -> str:
    name = str(test.get("description") or f"test-{number}")[:60]
    return f"p{index + 1}/{name}" if prompt else name


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _table(text: str) -> Iterator[dict[str, Any]]:
    """Rows of a test table: columns are variables, __expected columns are assertions."""
    for row in csv.DictReader(io.StringIO(text)):
        cells = {str(k).strip(): v or "" for k, v in row.items() if k is not None}
        rules = [
            asserts.of_text(v) for k, v in cells.items() if k.startswith("__expected") and v.strip()
        ]
        test: dict[str, Any] = {
            "vars": {k: v for k, v in cells.items() if not k.startswith("__")},
            "assert": rules,
        }
        if cells.get("__description"):
            test["description"] = cells["__description"]
        yield test
