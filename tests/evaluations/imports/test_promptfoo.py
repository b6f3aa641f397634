"""promptfoo configurations: prompts × tests × asserts, and a list of what stayed behind."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from apps.evaluations import imports
from apps.evaluations.imports import Head, Imported, ImportRefused, promptfoo_export
from apps.evaluations.scorers import Answer
from apps.evaluations.suitefile import build_scorers, render_case, score_answer

ONE = """
description: Desk of a claim
prompts: ["Which desk takes this claim? {{ claim }}"]
providers: [some:model]
defaultTest:
  assert:
    - {type: not-icontains, value: as an AI}
tests:
  - description: hail
    vars: {claim: Hail on my van.}
    assert:
      - {type: equals, value: motor}
      - {type: javascript, value: output.length < 20}
  - vars: {claim: [New glasses., A filling.]}
    assert:
      - {type: contains-any, value: "health, dental"}
      - {type: llm-rubric, value: is polite}
"""


def read(text: str, files: dict[str, str] | None = None, **head: Any) -> Imported:
    beside = {k: v.encode() for k, v in (files or {}).items()}
    return imports.read(
        "promptfoo",
        text.encode(),
        filename="promptfooconfig.yaml",
        head=Head(license="CC0-1.0", personal_data=False, **head),
        files=beside.get,
    )


def lost(imported: Imported) -> str:
    return "\n".join(map(str, imported.losses))


def scores(imported: Imported, number: int, answer: str) -> dict[str, float]:
    suite = imported.suite()
    found = score_answer(build_scorers(suite), suite.cases[number], Answer(answer))
    return {k: r.value for k, r in found.items() if r.value is not None}


def test_one_prompt_stays_the_template_and_lists_of_values_become_cases() -> None:
    imported = read(ONE)
    suite = imported.suite()
    assert [c.id for c in suite.cases] == ["hail", "test-2", "test-2-2"]
    asked = [render_case(suite, c)[0]["content"] for c in suite.cases]
    assert asked[2] == "Which desk takes this claim? A filling."
    assert suite.slug == "desk-of-a-claim"
    assert imported.carried[:2] == ["1 prompt", "3 cases"]


def test_assertions_judge_answers_as_they_did() -> None:
    imported = read(ONE)
    assert scores(imported, 0, "motor") == {"not_icontains": 1, "equals": 1}
    assert scores(imported, 0, "Motor, as an AI") == {"not_icontains": 0, "equals": 0}
    assert scores(imported, 1, "dental desk") == {"not_icontains": 1, "contains_any": 1}


def test_what_cannot_be_carried_over_is_listed_with_its_reason_and_place() -> None:
    told = lost(read(ONE))
    assert "javascript: code from a file is never run here" in told
    assert "(hail)" in told
    assert "llm-rubric" not in told
    assert "providers: who answers is a model version here" in told


BY_JUDGES = """
prompts: ["{{ q }}"]
tests:
  - vars: {q: Hail}
    assert:
      - {type: llm-rubric, value: "names {{ q }} and is kind", provider: a:b, threshold: 0.8}
      - {type: similar, value: Hail fell on your van., threshold: 0.8}
  - vars: {q: Tooth}
    assert:
      - {type: llm-rubric, value: is short}
      - {type: factuality, value: A filling costs 80 euro.}
      - {type: g-eval, value: [is kind, is clear]}
      - {type: not-llm-rubric, value: is rude}
      - {type: context-recall, value: something}
"""


def test_what_a_judge_or_embeddings_decide_is_scored_after_the_run() -> None:
    imported = read(BY_JUDGES)
    suite = imported.suite()
    scorers = build_scorers(suite)
    assert {s.key: s.type for s in suite.scorers} == {
        "llm_rubric": "rubric",
        "similar": "embedding",
        "factuality": "rubric",
        "g_eval": "rubric",
    }
    asked = [
        {k: s.expectation(case) for k, s in scorers.items() if s.applies_to(case)}
        for case in suite.cases
    ]
    assert asked == [
        {"llm_rubric": "names Hail and is kind", "similar": "Hail fell on your van."},
        {
            "llm_rubric": "is short",
            "factuality": "A filling costs 80 euro.",
            "g_eval": "is kind\nis clear",
        },
    ]
    assert scores(imported, 0, "anything") == {}
    assert "4 metrics scored after the run, by a judge or by embeddings" in imported.carried
    told = lost(imported)
    for kind in ("provider of llm-rubric", "thresholds of assertions", "not-llm-rubric"):
        assert kind in told
    assert "context-recall: what it asks its judge is not in the file" in told


def test_judged_metrics_go_back_as_they_came() -> None:
    written, losses = promptfoo_export.write(read(BY_JUDGES).suite())
    assert not [loss for loss in losses if "scorer" in loss.what]
    rules = [
        {(a["type"], a["value"]) for a in test["assert"]}
        for test in yaml.safe_load(written)["tests"]
    ]
    assert rules == [
        {("llm-rubric", "names Hail and is kind"), ("similar", "Hail fell on your van.")},
        {
            ("llm-rubric", "is short"),
            ("factuality", "A filling costs 80 euro."),
            ("llm-rubric", "is kind\nis clear"),
        },
    ]


def test_several_prompts_are_written_out_into_their_cases() -> None:
    text = """
prompts:
  - 'Desk? {{claim}}'
  - - {role: system, content: Be short.}
    - {role: user, content: "Desk of {{claim}}"}
tests: [{vars: {claim: hail}}, {vars: {claim: tooth}}]
"""
    suite = read(text).suite()
    assert [c.id for c in suite.cases] == ["p1/test-1", "p2/test-1", "p1/test-2", "p2/test-2"]
    assert render_case(suite, suite.cases[3]) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Desk of tooth"},
    ]


def test_prompts_tests_and_defaults_are_read_from_files_that_came_along() -> None:
    text = "prompts: [file://p.txt]\ntests: file://t.csv\ndefaultTest: file://d.yaml\n"
    table = "claim,__expected,__expected2\nhail,icontains: Motor,not-contains: no\ntooth,health,\n"
    files = {
        "p.txt": "Desk? {{claim}}\n---\nWhere does it go: {{claim}}",
        "t.csv": table,
        "d.yaml": "vars: {claim: nothing}\n",
    }
    imported = read(text, files)
    assert len(imported.suite().cases) == 4
    assert scores(imported, 0, "the motor desk") == {"icontains": 1, "not_contains": 1}
    assert scores(imported, 2, "health") == {"equals": 1}


def test_a_file_that_did_not_come_along_is_said_and_not_guessed() -> None:
    imported = read("prompts: ['Desk? {{a}}', file://other.txt]\ntests: [{vars: {a: x}}]")
    assert "prompt other.txt: the file did not come along" in lost(imported)
    with pytest.raises(ImportRefused, match=r"prompt other.txt: the file did not come along"):
        read("prompts: [file://other.txt]\ntests: [{vars: {a: x}}]")


@pytest.mark.parametrize(
    ("assertion", "good", "bad"),
    [
        ("{type: icontains-all, value: [Hail, van]}", "hail and VAN", "rain"),
        ("{type: regex, value: '\\d{2}'}", "it is 42", "it is 4"),
        ("{type: starts-with, value: 'a.b'}", "a.b c", "axb"),
        ("{type: is-json}", '{"a": 1}', 'Sure: {"a": 1}'),
        ("{type: contains-json, value: {type: object, required: [a]}}", 'So: {"a": 1}', '{"b": 1}'),
        ("{type: equals, value: {a: 1}}", '{"a": 1}', '{"a": 2}'),
        ("{type: contains, value: 'is {{name}}'}", "it is Eve", "it is Bob"),
        ("{type: javascript, value: \"output.toLowerCase().includes('eve')\"}", "EVE", "Bob"),
        ("{type: not-contains, value: Bob}", "Eve", "Bob"),
    ],
)
def test_an_assertion_accepts_and_refuses_what_promptfoo_would(
    assertion: str, good: str, bad: str
) -> None:
    imported = read(
        f"prompts: ['Hi {{{{name}}}}']\ntests: [{{vars: {{name: Eve}}, assert: [{assertion}]}}]"
    )
    assert list(scores(imported, 0, good).values()) == [1]
    assert list(scores(imported, 0, bad).values()) == [0]


def test_templates_that_need_promptfoos_engine_are_left_out_with_the_reason() -> None:
    text = """
prompts: ["{% for x in xs %}{{x}}{% endfor %}", "Say {{ word | upper }} of {{ person.name }}"]
tests: [{vars: {word: hi, person: {name: Eve}}}, {vars: {word: hi}}]
"""
    imported = read(text)
    suite = imported.suite()
    assert [render_case(suite, c)[0]["content"] for c in suite.cases] == ["Say HI of Eve"]
    assert "it uses template statements" in lost(imported)
    assert "the test gives no value for 'person.name'" in lost(imported)


def test_assertion_templates_scenarios_and_named_metrics_carry_over() -> None:
    text = """
prompts: ["{{greeting}} {{name}}"]
assertionTemplates: {polite: {type: icontains, value: please, metric: Politeness}}
scenarios:
  - config: [{vars: {greeting: Hi}}, {vars: {greeting: Ho}}]
    tests: [{vars: {name: Eve}, assert: [{$ref: '#/assertionTemplates/polite'}]}]
"""
    imported = read(text)
    suite = imported.suite()
    assert len(suite.cases) == 2
    assert [(m.key, m.label) for m in suite.metrics] == [("politeness", "Politeness")]


def test_aliases_are_read_and_a_bomb_of_them_is_refused() -> None:
    shared = (
        "x: &a {type: contains, value: Eve}\nprompts: ['Hi']\ntests: [{vars: {}, assert: [*a]}]"
    )
    assert scores(read(shared), 0, "Eve") == {"contains": 1}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(ImportRefused, match="too many values"):
        read(bomb + "prompts: [x]\n")


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1", "tests: []", "prompts: []", "\x00", "prompts: [1]\ntests: 7\n- x"]
)
def test_what_is_no_configuration_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ImportRefused):
        read(text)


def test_an_export_asks_and_judges_the_same_when_it_is_read_back() -> None:
    suite = read(ONE).suite()
    data, losses = imports.write("promptfoo", suite)
    again = read(data.decode())
    assert [render_case(again.suite(), c) for c in again.suite().cases] == [
        render_case(suite, c) for c in suite.cases
    ]
    assert scores(again, 0, "motor") == {"not_icontains": 1, "equals": 1}
    assert any("margins" in str(loss) for loss in losses)
