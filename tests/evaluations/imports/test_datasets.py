"""Samples, datasets, tables, recordings and logs of other tools."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest
import zstandard

from apps.evaluations import imports
from apps.evaluations.imports import Head, Imported, ImportRefused, Options
from apps.evaluations.imports.inspect_log import ZSTANDARD
from apps.evaluations.scorers import Answer
from apps.evaluations.suitefile import build_scorers, render_case, score_answer
from tests.evaluations.suitefile.samples import document, parse

HEAD = Head(license="CC0-1.0", personal_data=False)


def read(name: str, data: Any, filename: str = "file.jsonl", **options: str) -> Imported:
    if isinstance(data, list):
        data = "\n".join(json.dumps(row) for row in data)
    raw = data.encode() if isinstance(data, str) else data
    return imports.read(name, raw, filename=filename, head=HEAD, options=Options(**options))


def score(imported: Imported, answer: str, number: int = 0) -> list[float | None]:
    suite = imported.suite()
    found = score_answer(build_scorers(suite), suite.cases[number], Answer(answer))
    return [r.value for r in found.values()]


def told(imported: Imported) -> str:
    return "\n".join(map(str, imported.losses))


EVALS = [
    {"input": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1"}],
     "ideal": "2"},
    {"input": "Capital of Norway?", "ideal": ["Oslo", "OSLO"], "difficulty": 3},
]  # fmt: skip


def test_openai_evals_samples_match_at_the_beginning_unless_told_otherwise() -> None:
    imported = read("openai-evals", EVALS)
    assert score(imported, "2, of course") == [1]
    assert score(imported, "it is 2") == [0]
    assert score(read("openai-evals", EVALS, scorer="includes"), "it is 2") == [1]
    assert "key 'difficulty'" in told(imported)
    assert "it stands in the registry" in told(imported)


def test_openai_evals_samples_are_written_and_read_back_as_the_same_questions() -> None:
    suite = parse(document())
    data, losses = imports.write("openai-evals", suite)
    again = read("openai-evals", data, scorer="exact").suite()
    assert [c.id for c in again.cases] == [c.id for c in suite.cases]
    assert [render_case(again, c) for c in again.cases] == [
        render_case(suite, c) for c in suite.cases
    ]
    assert "1 scorers and 1 metrics" in str(losses[0])


INSPECT = [
    {"id": 7, "input": "Which is a fruit?", "choices": ["car", "apple"], "target": "B"},
    {"id": "x", "input": "1+1?", "target": ["2", "two"], "metadata": {"kind": "sum"},
     "sandbox": "docker"},
]  # fmt: skip


def test_an_inspect_dataset_keeps_ids_choices_and_targets() -> None:
    imported = read("inspect-dataset", INSPECT)
    suite = imported.suite()
    assert [c.id for c in suite.cases] == ["7", "x"]
    assert render_case(suite, suite.cases[0])[0]["content"].endswith(
        "A) car\nB) apple\n\nAnswer with the letter only."
    )
    assert score(imported, "B")[0] == 1
    assert score(imported, "I think it is.\nANSWER: B")[0] == 1
    assert score(imported, "A")[0] == 0
    assert score(imported, "it is two", 1)[1] == 1
    assert "kind=sum" in suite.cases[1].tags
    assert "runs no environment" in told(imported)


def test_an_inspect_dataset_may_be_a_table() -> None:
    table = 'input,target,choices\nA fruit?,B,"[""car"", ""apple""]"\n1+1,2,\n'
    suite = read("inspect-dataset", table, "data.csv").suite()
    assert "B) apple" in render_case(suite, suite.cases[0])[0]["content"]
    assert suite.cases[1].tags == ("includes",)


def sample(number: int, epoch: int, answer: str, **more: Any) -> dict[str, Any]:
    question = f"What is {number} plus {number}?"
    return {
        "id": number, "epoch": epoch, "input": question, "target": str(2 * number),
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "attachment://q", "source": "input"},
            {"role": "assistant", "content": answer, "source": "generate"},
        ],
        "attachments": {"q": question},
        "output": {"model": "tiny-1", "time": 0.25, "completion": answer,
                   "usage": {"input_tokens": 11, "output_tokens": 7},
                   "choices": [{"message": {"role": "assistant", "content": answer},
                                "stop_reason": "stop"}]},
        "completed_at": "2025-01-02T03:04:05+00:00", **more,
    }  # fmt: skip


HEADER: dict[str, Any] = {
    "version": 2, "status": "success",
    "eval": {"task": "sums", "model": "local/tiny", "created": "2025-01-02T03:00:00+00:00",
             "scorers": [{"name": "match", "options": {}},
                         {"name": "model_graded_qa", "options": {"instructions": "Grade C."}}]},
    "plan": {"steps": [{"solver": "system_message"}, {"solver": "my_agent"}]},
}  # fmt: skip
SAMPLES = [sample(n, e, f"It is {2 * n + e - 1}.") for e in (1, 2) for n in (1, 2, 10)]


def log(packing: str) -> bytes:
    if packing == "json":
        return json.dumps({**HEADER, "samples": SAMPLES}).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        for row in SAMPLES:
            name = f"samples/{row['id']}_epoch_{row['epoch']}.json"
            archive.writestr(name, json.dumps(row))
    return out.getvalue() if packing == "deflate" else as_zstandard(out.getvalue())


def as_zstandard(data: bytes) -> bytes:
    """The archive with its members packed by Zstandard, which zipfile here cannot write."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {i.filename: archive.read(i) for i in archive.infolist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            packed = zstandard.ZstdCompressor().compress(content)
            archive.writestr(name, packed)
            archive.infolist()[-1].compress_type = ZSTANDARD
            archive.infolist()[-1].file_size = len(content)
    return out.getvalue()


@pytest.mark.parametrize("packing", ["json", "deflate", "zstandard"])
def test_an_inspect_log_gives_the_messages_as_asked_the_scorers_and_every_answer(
    packing: str,
) -> None:
    name = "log.json" if packing == "json" else "log.eval"
    imported = read("inspect-log", log(packing), name)
    suite = imported.suite()
    assert [c.id for c in suite.cases] == ["1", "2", "10"]
    assert render_case(suite, suite.cases[2]) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 10 plus 10?"},
    ]
    assert [(a.case_id, a.replicate) for a in imported.answers] == [
        (c, e) for e in (0, 1) for c in ("1", "2", "10")
    ]
    first = imported.answers[0]
    assert (first.model, first.text, first.latency_ms) == ("tiny-1", "It is 2.", 250)
    assert score(imported, "It is 2.") == [1, None]
    assert score(imported, "2 it is") == [0, None]
    judge = build_scorers(suite)["model_graded_qa"]
    assert (judge.type, judge.expectation(suite.cases[2])) == ("rubric", "20")
    assert "instructions of model_graded_qa: a registered version judges" in told(imported)
    assert "solver my_agent" in told(imported)


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04 broken", b"{}", b"[]", b"\xff", log("deflate")[:-40], log("zstandard")[:60],
     json.dumps({**HEADER, "samples": []}).encode()],
    # Archives carry their time of writing: as names of tests they would differ between workers.
    ids=["broken", "object", "list", "not-utf8", "cut-deflate", "cut-zstandard", "no-samples"],
)  # fmt: skip
def test_a_damaged_or_empty_log_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(ImportRefused):
        read("inspect-log", data, "log.eval")


def test_a_member_that_unpacks_to_more_than_it_says_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        archive.writestr(
            "samples/1_epoch_1.json", zstandard.ZstdCompressor().compress(b" " * 10**7)
        )
        archive.infolist()[-1].compress_type = ZSTANDARD
        archive.infolist()[-1].file_size = 100
    with pytest.raises(ImportRefused, match="not as long as it says"):
        read("inspect-log", out.getvalue(), "log.eval")


RECORDED = [
    {"model": model, "id": str(n), "query": f'Is {n} prime? Answer "[Yes]" or "[No]".',
     "reference": "yes", "answer": answer, "temperature": 0.1, "latency_s": 1.5,
     "answered_at": "07/02/2023, 21:28:40"}
    for n in (3, 5)
    for model, answer in (("m-03", "Not [No], but [Yes]"), ("m-06", "[No]"))
]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_recordings_give_a_suite_and_the_answers_of_each_model(packed: bool) -> None:
    data = "\n".join(json.dumps(r) for r in RECORDED).encode()
    imported = read("recordings", gzip.compress(data) if packed else data)
    suite = imported.suite()
    assert [c.id for c in suite.cases] == ["3", "5"]
    assert [a.model for a in imported.answers] == ["m-03", "m-06"] * 2
    assert score(imported, imported.answers[0].text) == [1]
    assert score(imported, "[No]") == [0]
    assert imported.answers[0].parameters == {"temperature": 0.1}


def test_the_same_model_and_case_again_is_a_replicate() -> None:
    imported = read("recordings", [RECORDED[0], RECORDED[0]])
    assert [a.replicate for a in imported.answers] == [0, 1]


def test_another_question_under_the_same_id_is_left_out_and_said() -> None:
    imported = read("recordings", [RECORDED[0], {**RECORDED[1], "query": "Another?"}])
    assert len(imported.answers) == 1
    assert "another question stands under the same id" in told(imported)


@pytest.mark.parametrize("cut", [10, -8])
def test_a_recording_that_ends_too_early_is_refused(cut: int) -> None:
    data = gzip.compress("\n".join(json.dumps(r) for r in RECORDED).encode())
    with pytest.raises(ImportRefused, match="damaged"):
        read("recordings", data[:cut])


def test_a_table_is_read_with_a_template_or_with_whole_questions() -> None:
    table = "id,question,expected,tags,weight,note\na,1+1?,2,sum;easy,2,first\nb,,3,,,\n"
    imported = read("csv", table, "t.csv")
    case = imported.suite().cases[0]
    assert (case.id, case.tags, case.weight, case.note) == ("a", ("sum", "easy"), 2, "first")
    assert "the question is empty" in told(imported)
    suite = read("csv", "x;y;expect\n1;2;3\n", "t.csv", prompt="{{x}}+{{y}}?").suite()
    assert render_case(suite, suite.cases[0])[0]["content"] == "1+2?"


def test_a_table_comes_back_as_the_same_questions() -> None:
    suite = parse(document())
    data, losses = imports.write("csv", suite)
    assert data.decode().splitlines()[0] == "id,prompt,expect,tags,weight,note,claim"
    again = read("csv", data, "t.csv", prompt="Hail broke my van. => motor\n{{claim}} =>").suite()
    assert [render_case(again, c) for c in again.cases] == [
        render_case(suite, c) for c in suite.cases
    ]
    assert any("template" in str(loss) for loss in losses)


def test_choices_need_targets_that_differ() -> None:
    rows = [{"input": "a", "ideal": "motor"}, {"input": "b", "ideal": "health"}]
    imported = read("openai-evals", rows, scorer="choice")
    assert score(imported, "the motor desk") == [1]
    with pytest.raises(ImportRefused, match="2 to 200"):
        read("openai-evals", rows[:1], scorer="choice")


@pytest.mark.parametrize("name", list(imports.FORMATS))
@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"null", b'{"a": 1}', b"\x1f\x8b", b"a,b"]
)
def test_junk_is_refused_by_every_format(name: str, data: bytes) -> None:
    with pytest.raises(ImportRefused):
        read(name, data, "junk.bin")


@pytest.mark.parametrize(
    ("filename", "start", "name"),
    [
        ("a.eval", b"PK", "inspect-log"),
        ("a.yaml", b"prompts:", "promptfoo"),
        ("suite.yaml", b"schema: govtrack/suite@1\nprompts: x", ""),
        ("other.yaml", b"a: &a [x]", ""),
        ("a.jsonl", b'{"input": "", "ideal": ""}', "openai-evals"),
        ("a.jsonl", b'{"query": ""}', "recordings"),
        ("a.jsonl", b'{"input": "", "target": ""}', "inspect-dataset"),
        ("a.csv", b"a,b", "csv"),
        ("a.jsonl.gz", b"", "recordings"),
    ],
)
def test_a_format_is_guessed_by_name_and_beginning(filename: str, start: bytes, name: str) -> None:
    assert imports.guess(filename, start) == name
