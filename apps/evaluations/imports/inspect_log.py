"""Inspect's logs: `.eval` (a ZIP of JSON, often with Zstandard) and `.json`.

A log tells more than a dataset: the messages as they were asked (system message and template
included), the scorers with their parameters, and every answer. The epochs of a sample are
replicates of one case.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import zstandard

from apps.evaluations.imports import judged
from apps.evaluations.imports.base import (
    Builder,
    Files,
    Head,
    Imported,
    ImportRefused,
    Options,
    RecordedAnswer,
    chat,
    text_of,
)
from apps.evaluations.imports.inspect_dataset import letter_expectation, listed, tags_of

MAX_MEMBER = 64 * 1024 * 1024
MAX_TOTAL = 1024 * 1024 * 1024
ZSTANDARD = 93
RULES = {"match": "match", "includes": "includes", "exact": "exact", "pattern": "", "choice": "",
         "answer": "includes", "f1": "none"}  # fmt: skip
JUDGES = {"model_graded_qa": judged.DEMAND, "model_graded_fact": judged.FACTS}
OWN_WORDS = "a registered version judges after the run, asked in GovTrack's own words"


def read(data: bytes, *, filename: str, head: Head, options: Options, files: Files) -> Imported:
    """Raises ImportRefused where nothing can be used."""
    header, samples = _opened(data)
    task = header.get("eval") or {}
    name = str(task.get("task") or filename.rsplit(".", 1)[0])
    model = str(task.get("model") or "")
    builder = Builder(
        head,
        Head(
            slug=name.rsplit("/", 1)[-1],
            name=name,
            summary=f"The task {name} of an Inspect log.",
            not_measured="What the task's scorers do not look at.",
            source=f"Imported from the Inspect log {filename} of {str(task.get('created'))[:10]}.",
        ),
    )
    reader = _Log(builder, header, options)
    for sample in samples:
        reader.take(sample, model)
    answers = len(builder.answers)
    builder.carried += [f"{len(builder.cases)} samples as cases", *reader.said]
    if answers:
        builder.carried.append(f"{answers} answers of {model or 'a model'}")
    if header.get("status") not in (None, "success"):
        builder.lose(f"The log's status is '{header['status']}'", "what it holds is taken")
    return builder.finish()


class _Log:
    def __init__(self, builder: Builder, header: dict[str, Any], options: Options) -> None:
        self.builder = builder
        self.cases: dict[str, str] = {}
        self.said: list[str] = []
        self.rules: list[tuple[str, dict[str, Any]]] = []
        declared = (header.get("eval") or {}).get("scorers") or []
        for scorer in declared or (header.get("results") or {}).get("scores") or []:
            name = str(scorer.get("name", "")).rsplit("/", 1)[-1]
            params = scorer.get("options") or scorer.get("params") or {}
            if name in JUDGES:
                self.rules.append((name, params))
                self.said.append(f"scorer {name}, as a rubric")
                for asked in ("template", "instructions", "grade_pattern", "model"):
                    if params.get(asked):
                        builder.lose(f"{asked} of {name}", OWN_WORDS)
            elif name not in RULES or RULES[name] == "none":
                builder.lose(f"scorer {name}", "GovTrack has no scorer that means the same")
            else:
                self.rules.append((name, params))
                self.said.append(f"scorer {name}")
        if options.scorer:
            rule = judged.rule_named(options.scorer, "")
            self.rules = [("", {"rule": rule})]
            self.said = [f"judged by '{rule}': {judged.HELP[rule]}"]
        steps = (header.get("plan") or {}).get("steps") or []
        known = ("system_message", "generate", "prompt_template", "user_message", "multiple_choice",
                 "chain_of_thought", "assistant_message")  # fmt: skip
        for step in steps:
            solver = str(step.get("solver", "")).rsplit("/", 1)[-1]
            if solver not in known:
                builder.lose(f"solver {solver}", "one question is asked, with the first messages")

    def take(self, sample: dict[str, Any], model: str) -> None:
        builder = self.builder
        name = str(sample.get("id"))
        where = f"sample {name}"
        if name not in self.cases:
            messages = chat(_asked(sample))
            if isinstance(messages, str):
                builder.lose("samples", messages, where)
                return
            targets = listed(sample.get("target"))
            expects = [e for rule in self.rules for e in self._expected(rule, targets, where)]
            case = {"id": name, "messages": messages, "tags": tags_of(sample)}
            self.cases[name] = builder.add(case, expects)
        answer = _answer(sample, self.cases[name], model)
        if answer is not None:
            builder.answers.append(answer)

    def _expected(
        self, rule: tuple[str, dict[str, Any]], targets: list[Any], where: str
    ) -> list[Any]:
        name, params = rule
        builder = self.builder
        if name in JUDGES:
            demand = judged.demand(targets)
            if not demand.strip():
                builder.lose("cases without a target", "they are asked, but not judged", where)
                return []
            rubric = {"rubric": JUDGES[name]}
            return [(builder.scorer(name, "rubric", "Fits the target (judge)", rubric), demand)]
        if name == "choice":
            return letter_expectation(builder, targets, where)
        if name == "pattern":
            pattern = str(params.get("pattern", ""))
            if not pattern:
                builder.lose("scorer pattern", "the log does not tell its pattern", where)
                return []
            given = {"pattern": pattern, "group": 1, "ignore_case": params.get("ignore_case", True)}
            return [(builder.scorer("pattern", "regex", "Pattern", given), text_of(targets[0]))]
        if name == "match" and params.get("location", "end") != "begin":
            return self._match(params, targets, where)
        rule_name = params.get("rule") or RULES[name]
        return judged.expectations(builder, rule_name, targets, where, name)

    def _match(self, params: dict[str, Any], targets: list[Any], where: str) -> list[Any]:
        """Inspect's `match`: at the end by default, anywhere, or exactly; case is ignored."""
        location = params.get("location", "end")
        if params.get("numeric"):
            return judged.expectations(self.builder, "numeric", targets, where, "match")
        if location == "exact":
            return judged.expectations(self.builder, "exact", targets, where, "match")
        if location == "any":
            return judged.expectations(self.builder, "includes", targets, where, "match")
        texts = "|".join(_quoted(text_of(t)) for t in targets if t not in (None, ""))
        if not texts or len(texts) > 1900:
            return judged.expectations(self.builder, "includes", targets, where, "match")
        key = self.builder.scorer("match", "regex", "Ends with the target", {"ignore_case": True})
        return [(key, rf"(?:{texts})[\s\W]*\z")]


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _" else f"\\x{{{ord(c):x}}}" for c in text.strip())


def _asked(sample: dict[str, Any]) -> Any:
    """The messages before the model's first own one, attachments put back in."""
    attachments = sample.get("attachments") or {}

    def whole(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("attachment://"):
            return attachments.get(value.removeprefix("attachment://"), value)
        if isinstance(value, list):
            return [whole(v) for v in value]
        return {k: whole(v) for k, v in value.items()} if isinstance(value, dict) else value

    asked = []
    for message in sample.get("messages") or []:
        if message.get("role") == "assistant" and message.get("source") != "input":
            break
        asked.append(whole({k: message.get(k) for k in ("role", "content", "tool_calls")}))
    given = whole(sample.get("input"))
    return asked or ([{"role": "user", "content": given}] if isinstance(given, str) else given)


def _answer(sample: dict[str, Any], case_id: str, model: str) -> RecordedAnswer | None:
    output = sample.get("output") or {}
    choices = output.get("choices") or []
    error = sample.get("error") or {}
    if not choices and not error:
        return None
    message = (choices[0].get("message") or {}) if choices else {}
    content = message.get("content", output.get("completion", ""))
    if isinstance(content, list):
        content = "\n".join(p.get("text", "") for p in content if isinstance(p, dict))
    usage = output.get("usage") or {}
    seconds = output.get("time")
    return RecordedAnswer(
        case_id=case_id,
        model=str(output.get("model") or model),
        text=text_of(content or ""),
        replicate=max(int(sample.get("epoch") or 1) - 1, 0),
        answered_at=str(sample.get("completed_at") or sample.get("started_at") or ""),
        latency_ms=seconds * 1000 if isinstance(seconds, int | float) else None,
        prompt_tokens=usage.get("input_tokens"),
        completion_tokens=usage.get("output_tokens"),
        finish_reason=str(choices[0].get("stop_reason") or "") if choices else "",
        error=str(error.get("message") or "")[:2000],
    )


# The container


def _opened(data: bytes) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    if data[:2] != b"PK":
        document = _json(data, "the log")
        if "eval" not in document or not isinstance(document.get("samples"), list):
            raise ImportRefused("This is no Inspect log with samples: a log has 'eval', 'samples'.")
        return document, iter(document["samples"])
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ImportRefused(f"The log is damaged: {str(error)[:200]}.") from None
    if sum(info.file_size for info in members.values()) > MAX_TOTAL:
        raise ImportRefused("The log unpacks to more than 1 GB. Import it in parts.")
    start = members.get("header.json") or members.get("_journal/start.json")
    if start is None:
        raise ImportRefused("This is no Inspect log: it has no header.")
    names = sorted(
        (n for n in members if n.startswith("samples/") and n.endswith(".json")), key=_natural
    )
    if not names:
        raise ImportRefused("The log holds no samples (it was written with log_samples off).")
    header = _json(_member(archive, data, start), start.filename)
    return header, (_json(_member(archive, data, members[n]), n) for n in names)


def _natural(name: str) -> tuple[Any, ...]:
    """Samples 2, 10 in the order of their numbers, epoch by epoch."""
    stem, _, epoch = name.removesuffix(".json").rpartition("_epoch_")
    label = stem.rsplit("/", 1)[-1]
    return (int(epoch) if epoch.isdigit() else 0, not label.isdigit(),
            int(label) if label.isdigit() else 0, label)  # fmt: skip


def _member(archive: zipfile.ZipFile, data: bytes, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes. Python before 3.14 reads no Zstandard members: those are unpacked here."""
    if info.file_size > MAX_MEMBER:
        raise ImportRefused(f"'{info.filename[:80]}' unpacks to more than 64 MB.")
    try:
        if info.compress_type != ZSTANDARD:
            with archive.open(info) as member:
                return member.read(MAX_MEMBER + 1)
        name_length, extra_length = struct.unpack_from("<HH", data, info.header_offset + 26)
        start = info.header_offset + 30 + name_length + extra_length
        packed = data[start : start + info.compress_size]
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        content: bytes = reader.read(info.file_size + 1)
    except (zipfile.BadZipFile, zstandard.ZstdError, struct.error, OSError, EOFError,
            NotImplementedError, RuntimeError, ValueError) as error:  # fmt: skip
        raise ImportRefused(f"'{info.filename[:80]}' is damaged: {str(error)[:120]}.") from None
    if len(content) != info.file_size:
        raise ImportRefused(f"'{info.filename[:80]}' is not as long as it says.")
    return content


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"'{name[:80]}' is not JSON: {str(error)[:120]}.") from None
    if not isinstance(value, dict):
        raise ImportRefused(f"'{name[:80]}' is no JSON object.")
    return value
