"""Bytes that are hostile or broken: each gets a sentence with its place, in bounded time."""

from __future__ import annotations

import gc
import io
import json
import time
import tracemalloc
from pathlib import Path

import pytest
import yaml

from apps.evaluations.suitefile import (
    MAX_CASES_BYTES,
    SuiteError,
    content_hash,
    load_suite,
    load_suite_dir,
    pack_suite,
    parse_document,
    parse_suite_bytes,
)
from apps.evaluations.suitefile import events as events_module

from .samples import DOCUMENT, document, problem_of, problems_of

YAML = yaml.safe_dump(DOCUMENT, sort_keys=False)
WITHOUT_CASES = yaml.safe_dump(document(cases=None)).encode()


def place(problem) -> tuple[int, int]:
    return problem.line, problem.column


def test_a_file_above_ten_megabytes_is_refused_before_it_is_read_as_text():
    started = time.process_time()
    problem = problem_of(b"\xff" * (50 * 1024 * 1024))
    assert "larger than 10 MB" in problem.message
    assert time.process_time() - started < 8


def test_a_cases_file_above_a_hundred_megabytes_is_refused_and_named():
    problem = problem_of(WITHOUT_CASES, cases=b" " * (MAX_CASES_BYTES + 1))
    assert problem.file == "cases.jsonl"
    assert "larger than 100 MB" in problem.message


def test_a_huge_file_in_a_directory_is_never_read_whole(tmp_path: Path):
    with (tmp_path / "suite.yaml").open("wb") as file:
        file.truncate(2 * 1024**3)
    with pytest.raises(SuiteError, match="larger than 10 MB"):
        load_suite_dir(tmp_path)


def test_an_alias_bomb_is_refused_at_its_first_anchor():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for here, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{here}: &{here} [{', '.join(['*' + before] * 9)}]\n"
    problem = problem_of(bomb.encode())
    assert place(problem) == (1, 4)
    assert "anchor '&a'" in problem.message


def test_an_alias_is_refused_with_its_line():
    problem = problem_of(b"a: 1\nb: *base\n")
    assert place(problem) == (2, 4)
    assert "alias '*base'" in problem.message


def test_a_merge_key_is_only_an_unknown_key():
    problems = problems_of(YAML.encode() + b"<<: {evil: 1}\n")
    assert [p.path for p in problems] == ["<<"]


def test_a_tag_that_would_build_an_object_is_refused():
    problem = problem_of(b"name: !!python/object/apply:os.system [ls]\n")
    assert "!!python/object" in problem.message
    assert place(problem) == (1, 7)


@pytest.mark.parametrize(
    ("data", "filename", "where"),
    [
        (b"name: a\nslug: x\nname: b\n", "suite.yaml", (3, 1)),
        (b'{"name": "a",\n "name": "b"}', "suite.json", (2, 2)),
    ],
)
def test_a_duplicate_key_is_refused_where_it_repeats(data, filename, where):
    problem = problem_of(data, filename)
    assert place(problem) == where
    assert problem.path == "name"
    assert "appears twice" in problem.message


def test_a_duplicate_key_in_a_nested_mapping_names_its_path():
    problem = problem_of(b'{"cases": [{"vars": {"a": 1, "a": 2}}]}', "suite.json")
    assert problem.path == "cases[0].vars.a"


def test_bytes_that_are_not_utf8_are_refused_with_their_offset():
    problem = problem_of(b"name: caf\xe9\n")
    assert "byte 9" in problem.message
    assert "0xe9" in problem.message
    assert place(problem) == (1, 10)


def test_cases_that_are_not_utf8_name_the_cases_file():
    problem = problem_of(WITHOUT_CASES, cases=b'{"id": "a"}\n{"id": "\xff"}')
    assert (problem.file, problem.line) == ("cases.jsonl", 2)


def test_utf16_is_named_as_such():
    assert "UTF-16" in problem_of(YAML.encode("utf-16")).message


def test_a_byte_order_mark_of_utf8_is_skipped():
    assert parse_suite_bytes(b"\xef\xbb\xbf" + YAML.encode(), filename="s.yaml").slug == "claims"


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b"margin: .nan", "suite.yaml"),
        (b"margin: -.inf", "suite.yaml"),
        (b"margin: 1e999", "suite.yaml"),
        (b'{"margin": NaN}', "suite.json"),
        (b'{"margin": -Infinity}', "suite.json"),
        (b'{"margin": 1e999}', "suite.json"),
    ],
)
def test_nan_and_infinity_are_refused_in_every_spelling(data, filename):
    problem = problem_of(data, filename)
    assert "NaN and Infinity" in problem.message
    assert problem.column > 1


def test_nan_in_a_case_line_names_the_case_and_its_line():
    problem = problem_of(WITHOUT_CASES, cases=b'\n{"id": "a", "weight": NaN}\n')
    assert problem.path == "cases[0]"
    assert place(problem) == (2, 23)


def test_a_tab_used_to_indent_is_explained():
    problem = problem_of(b"prompt:\n\tprefix: x\n")
    assert "tab" in problem.message
    assert problem.line == 2


@pytest.mark.parametrize("data", [b"", b"  \n\n", b"# only a comment\n", b"---\n"])
def test_an_empty_file_is_called_empty(data):
    assert "empty" in problem_of(data).message


@pytest.mark.parametrize("data", [b"[1, 2]", b"just text", b"42"])
def test_a_file_that_is_no_mapping_says_how_a_suite_begins(data):
    assert "schema: govtrack/suite@1" in problem_of(data).message


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b'name: "\\ud800"', "suite.yaml"),
        (b'{"name": "\\ud800"}', "suite.json"),
        (b'{"name": {"\\udfff": 1}}', "suite.json"),
    ],
)
def test_a_lone_surrogate_is_refused(data, filename):
    assert "lone surrogate" in problem_of(data, filename).message


def test_a_whole_pair_of_surrogates_in_json_is_one_character():
    data = json.dumps(document(name="\U0001f600")).encode()
    assert b"\\ud83d\\ude00" in data
    assert parse_suite_bytes(data, filename="suite.json").name == "\U0001f600"


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b"name: a\x00b", "suite.yaml"),
        (b'name: "a\\0b"', "suite.yaml"),
        (b'{"name": "a\\u0000b"}', "suite.json"),
        (b'{"a\\u0000": 1}', "suite.json"),
    ],
)
def test_a_nul_character_is_refused_however_it_is_written(data, filename):
    assert "NUL" in problem_of(data, filename).message


def test_a_control_character_is_refused_with_its_code():
    assert "U+0007" in problem_of(b"name: a\x07b").message


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b"[" * 1_000_000, "suite.yaml"),
        (b"- " * 500_000, "suite.yaml"),
        (b"{a: " * 500_000, "suite.yaml"),
        (b"[" * 1_000_000, "suite.json"),
        (b'{"a":' * 200_000, "suite.json"),
        (b"[" * 41 + b"]" * 41, "suite.json"),
    ],
)
def test_a_nesting_bomb_is_refused_quickly(data, filename):
    started = time.process_time()
    problem = problem_of(data, filename)
    assert "deeper than 40 levels" in problem.message
    assert time.process_time() - started < 8


def test_a_file_with_millions_of_values_is_given_up(monkeypatch):
    monkeypatch.setattr(events_module, "MAX_VALUES", 1000)
    assert "more than 1,000 values" in problem_of(b"a: [" + b"1, " * 2000 + b"1]").message


def test_ten_megabytes_of_small_yaml_values_end_in_bounded_time():
    started = time.process_time()
    problem = problem_of(b"a:\n" + b"- 1\n" * 2_000_000)
    assert "values" in problem.message
    assert time.process_time() - started < 20


@pytest.mark.parametrize("text", ["007", "0x1F", "0o17", "-012"])
def test_a_number_with_a_leading_zero_must_say_what_it_is(text):
    assert "quotation marks" in problem_of(f"a: {text}".encode()).message


def test_words_that_old_yaml_takes_for_something_else_stay_text():
    text = YAML.replace("claim: A deer hit my car.", "claim: no")
    text = text.replace("claim: The dentist sent a bill.", "claim: 2026-01-01")
    suite = parse_suite_bytes(text.encode(), filename="suite.yaml")
    assert [c.vars["claim"] for c in suite.cases] == ["no", "2026-01-01"]


def test_a_whole_number_too_large_for_json_readers_is_refused():
    assert "2^53" in problem_of(b"a: 9007199254740993").message
    assert "2^53" in problem_of(b'{"a": ' + b"9" * 5000 + b"}", "suite.json").message


@pytest.mark.parametrize("data", [b"1: a", b"true: a", b"? [x]\n: a"])
def test_a_key_that_is_not_text_is_refused(data):
    assert "not text" in problem_of(data).message


def test_a_second_document_in_one_file_is_refused():
    assert problem_of(YAML.encode() + b"---\na: 1\n").message.startswith("A second document")


@pytest.mark.parametrize(
    "data", [b'{"a": 1,}', b'{"a" 1}', b'{"a": 1} x', b"{'a': 1}", b'{"a": 01}']
)
def test_broken_json_says_where(data):
    problem = problem_of(data, "suite.json")
    assert problem.message.startswith("Not valid JSON")
    assert problem.line == 1
    assert problem.column > 1


def test_a_broken_case_line_does_not_hide_the_next_one():
    problems = problems_of(WITHOUT_CASES, cases=b'{"id": }\n{"id": "b", "vars": {}}\n{"id"}\n')
    assert [p.line for p in problems] == [1, 3]


def test_cases_alone_are_sent_back_for_their_suite():
    assert "without a suite" in problem_of(b'{"id": "a"}\n', "cases.jsonl").message


def test_cases_both_inline_and_beside_are_refused():
    assert "Keep one" in problem_of(YAML.encode(), cases=b'{"id": "a"}').message


def test_a_path_in_an_uploaded_name_is_cut_off():
    assert problem_of(b"", "C:\\secret\\x.yaml").file == "x.yaml"
    assert problem_of(b"", "../../etc/x.yaml").file == "x.yaml"


def test_a_line_separator_inside_json_text_does_not_end_the_line():
    cases = '{"id": "a", "vars": {"claim": "one\u2028two"}, "expect": "motor"}\r\n\n'
    suite = parse_suite_bytes(WITHOUT_CASES, filename="s.yaml", cases=cases.encode())
    assert suite.cases[0].vars["claim"] == "one\u2028two"


def test_a_missing_directory_and_a_missing_file_are_told_apart(tmp_path: Path):
    with pytest.raises(SuiteError, match="not a directory"):
        load_suite_dir(tmp_path / "nowhere")
    with pytest.raises(SuiteError, match=r"no suite\.yaml"):
        load_suite_dir(tmp_path)
    with pytest.raises(SuiteError, match="no such file"):
        load_suite(tmp_path / "suite.json")


def test_a_directory_is_read_with_its_cases(tmp_path: Path):
    (tmp_path / "suite.yaml").write_bytes(WITHOUT_CASES)
    lines = "\n".join(json.dumps(case) for case in DOCUMENT["cases"])
    (tmp_path / "cases.jsonl").write_text(lines)
    inline = parse_suite_bytes(YAML.encode(), filename="suite.yaml")
    assert load_suite(tmp_path).content_hash == inline.content_hash


def test_at_most_fifty_problems_are_shown_and_the_rest_counted():
    cases = [{"id": f"c-{n}", "wrong": 1} for n in range(200)]
    data = json.dumps(document(cases=cases)).encode()
    with pytest.raises(SuiteError) as caught:
        parse_suite_bytes(data, filename="suite.json")
    assert len(caught.value.problems) == 50
    assert "more problems" in str(caught.value)


def test_ten_thousand_cases_are_read_in_seconds():
    line = '{{"id": "c-{}", "vars": {{"claim": "A deer hit my car."}}, "expect": "motor"}}'
    cases = "\n".join(line.format(n) for n in range(10_000)).encode()
    started = time.process_time()
    suite = parse_suite_bytes(WITHOUT_CASES, filename="suite.yaml", cases=cases)
    assert len(suite.cases) == 10_000
    assert suite.content_hash.startswith("sha256:")
    assert time.process_time() - started < 20


def lines_of(count: int) -> bytes:
    line = '{{"id": "c-{}", "vars": {{"claim": "A deer hit my car."}}, "expect": "motor"}}'
    return "\n".join(line.format(n) for n in range(count)).encode()


def read_with_peak(cases: bytes) -> int:
    """Bytes in memory at most while the cases are read, beyond those that the suite holds."""
    gc.collect()
    tracemalloc.start()
    try:
        suite = parse_suite_bytes(WITHOUT_CASES, filename="suite.yaml", cases=io.BytesIO(cases))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert suite.cases[-1].id.startswith("c-")
    return peak - held


def test_beside_the_cases_reading_them_takes_hardly_any_memory():
    read_with_peak(lines_of(10))  # what is made once
    few, many = read_with_peak(lines_of(1_500)), read_with_peak(lines_of(6_000))
    # The ids are looked at for repeats. All plain values at once would take 280 bytes a case.
    assert (many - few) / 4_500 < 150


def test_the_hash_of_a_suite_is_that_of_its_canonical_form():
    # It is taken a case at a time, so that 100,000 of them are never in memory as text.
    for text in (YAML, YAML.replace("personal_data: false", "personal_data: true")):
        suite = parse_suite_bytes(text.encode(), filename="suite.yaml")
        assert suite.content_hash == content_hash(suite.canonical())


def test_a_line_that_does_not_fit_is_named_wherever_it_lies():
    lines = lines_of(1_200).split(b"\n")
    lines[1_100] = b'  {"id": "c-1100", "wrong": 1}'
    problem = problem_of(WITHOUT_CASES, cases=b"\n\n" + b"\n".join(lines))
    assert (problem.file, problem.line, problem.path) == ("cases.jsonl", 1_103, "cases[1100].wrong")


def test_an_edited_suite_may_hold_more_values_than_one_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events_module, "MAX_VALUES", 200)
    cases = [{"id": f"c-{n}", "vars": {"claim": "Hail."}, "expect": "motor"} for n in range(100)]
    suite = parse_document(document(cases=cases))
    assert len(suite.cases) == 100
    frame, lines = pack_suite(suite)
    assert parse_suite_bytes(frame, filename="suite.json", cases=lines) == suite

    cases[99]["tags"] = [1]
    with pytest.raises(SuiteError) as caught:
        parse_document(document(cases=cases), filename="edited")
    problem = caught.value.problems[0]
    assert (problem.file, problem.path) == ("edited.json", "cases[99].tags[0]")
