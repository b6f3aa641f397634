"""Each scorer's rule, and the trap that its file warns of."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.scorers import Answer, ScorerError, build_scorer
from apps.evaluations.suitefile import Case

from .samples import score, value


@pytest.mark.parametrize(
    ("text", "expect", "params", "wanted"),
    [
        ("motor", "motor", {}, 1),
        (" motor\n", "motor", {}, 1),
        (" motor", "motor", {"strip": False}, 0),
        ("Motor", "motor", {}, 0),
        ("Motor", "motor", {"casefold": True}, 1),
        ("motor.", "motor", {}, 0),
        ("cafe\u0301", "caf\u00e9", {}, 1),
        ("b", ["a", "b"], {}, 1),
        ("", "motor", {}, 0),
    ],
)
def test_exact_compares_whole_texts(text, expect, params, wanted):
    assert value("exact", text, expect, **params) == wanted


@pytest.mark.parametrize(
    ("text", "expect", "params", "wanted"),
    [
        ("This is not covered.", "covered", {}, 1),
        ("This is not covered.", {"all": "covered", "none": ["not covered"]}, {}, 0.5),
        ("A motorcycle", "motor", {}, 1),
        ("A motorcycle", "motor", {"words": True}, 0),
        ("A motorcycle, a motor", "motor", {"words": True}, 1),
        ("RIVER and bridge", ["river", "bridge", "morning", "fog"], {}, 0.5),
        ("RIVER", "river", {"casefold": False}, 0),
        ("two", {"any": ["one", "two"]}, {}, 1),
        ("three", {"any": ["one", "two"]}, {}, 0),
    ],
)
def test_contains_scores_the_share_of_conditions_that_hold(text, expect, params, wanted):
    assert value("contains", text, expect, **params) == wanted


def test_regex_without_a_group_is_content_with_a_match():
    assert value("regex", "Claim 4471", pattern=r"\d{4}") == 1
    assert value("regex", "Claim", pattern=r"\d{4}") == 0


def test_regex_with_a_group_compares_what_it_captured():
    params = {"pattern": r"kind:\s*(\w+)", "group": 1}
    assert value("regex", "kind: motor", "motor", **params) == 1
    assert value("regex", "kind: health", "motor", **params) == 0
    assert value("regex", "kind: MOTOR", "motor", **params, ignore_case=True) == 1


def test_a_dollar_sign_is_the_end_of_the_text_and_not_of_a_line():
    assert value("regex", "yes\nno", pattern="yes$") == 0
    assert value("regex", "yes\nno", pattern="(?m)yes$") == 1


def test_a_pattern_that_makes_other_engines_run_for_ever_is_linear():
    started = time.process_time()
    assert value("regex", "a" * 199_999 + "b", pattern="^(a+)+$") == 0
    assert time.process_time() - started < 5


LABELS = ["motor", "motorcycle", "health"]


@pytest.mark.parametrize(
    ("text", "params", "wanted", "label"),
    [
        (" motor\n", {}, 1, "motor"),
        ("**Motor**", {}, 1, "motor"),
        ("motorcycle", {}, 0, "motorcycle"),
        ("motors", {}, 0, None),
        ("It is motor", {}, 0, None),
        ("It is motor", {"where": "anywhere"}, 1, "motor"),
        ("motor, or health", {"where": "anywhere"}, 0, None),
        ("motor, yes, motor", {"where": "anywhere"}, 1, "motor"),
        ("MOTOR", {"casefold": False}, 0, None),
    ],
)
def test_choice_reads_one_label(text, params, wanted, label):
    result = score("choice", text, "motor", choices=LABELS, **params)
    assert (result.value, result.detail["label"]) == (wanted, label)


@pytest.mark.parametrize(
    ("text", "expect", "params", "wanted"),
    [
        ("42", 42, {}, 1),
        ("The answer is 42.", 42, {}, 1),
        ("60%", 60, {}, 0),
        ("60%", 60, {"percent": "number"}, 1),
        ("60 %", 0.6, {"percent": "fraction"}, 1),
        ("1,250.50", 1250.5, {}, 1),
        ("1.250,50", 1250.5, {"decimal_comma": True}, 1),
        ("1.250,50", 1250.5, {}, 0),
        ("1,2", 12, {}, 0),
        ("-5", -5, {}, 1),
        ("−5", -5, {}, 1),
        ("$5", 5, {}, 1),
        ("-$5", -5, {}, 1),
        ("5e3", 5000, {}, 1),
        (".5", 0.5, {}, 1),
        ("abc5", 5, {}, 0),
        ("3 of 4", 4, {}, 0),
        ("3 of 4", 4, {"which": "last"}, 1),
        ("3 of 4", 4, {"which": "any"}, 1),
        ("3 of 4", 3, {"which": "only"}, 0),
        ("10.4", 10, {"tolerance": 0.5}, 1),
        ("10.6", 10, {"tolerance": 0.5}, 0),
        ("105", 100, {"relative": 0.05}, 1),
        ("0.30000000000000004", 0.3, {}, 1),
        ("none", 5, {}, 0),
        ("1e999", 5, {}, 0),
        ("2024-05-03", 2024, {}, 1),
    ],
)
def test_numeric_reads_the_number_that_the_suite_means(text, expect, params, wanted):
    assert value("numeric", text, expect, **params) == wanted


def test_a_percent_sign_that_was_not_foreseen_is_named_in_the_explanation():
    assert "percent sign" in score("numeric", "60%", 60).explanation


METRES = {"units": {"km": 1, "m": 0.001, "mi": 1.609344}}


@pytest.mark.parametrize(
    ("text", "expect", "params", "wanted"),
    [
        ("It is 5 km.", 5, METRES, 1),
        ("It is 5km.", 5, METRES, 1),
        ("It is 5,000 m", 5, METRES, 1),
        ("About 3.1 mi", 5, {**METRES, "tolerance": 0.02}, 1),
        ("3 trips of 5 km", 5, METRES, 1),
        ("5", 5, METRES, 0),
        ("5", 5, {**METRES, "bare": "accept"}, 1),
        ("5 miles", 5, METRES, 0),
        ("5 mW", 5, {"units": {"MW": 1}}, 0),
        ("EUR 12.50", 12.5, {"units": {"EUR": 1, "€": 1}}, 1),
        ("€ 12.50", 12.5, {"units": {"EUR": 1, "€": 1}}, 1),
        ("12,50 €", 12.5, {"units": {"€": 1}, "decimal_comma": True}, 1),
        ("$ 12.50", 12.5, {"units": {"€": 1}}, 0),
        ("1 h 30 min", 60, {"units": {"h": 60, "min": 1}}, 1),
        ("a 5-km walk", 5, METRES, 1),
    ],
)
def test_numeric_reads_a_quantity_in_the_units_that_the_suite_names(text, expect, params, wanted):
    assert value("numeric", text, expect, **params) == wanted


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    number=st.floats(-1e6, 1e6, allow_nan=False).map(lambda n: round(n, 3)),
    unit=st.sampled_from(["km", "m", "mi"]),
    space=st.sampled_from(["", " ", "\u00a0"]),
)
def test_a_quantity_is_the_number_times_the_size_of_its_unit(number, unit, space):
    size = METRES["units"][unit]
    text = f"The way is {number:.3f}{space}{unit} long."
    assert value("numeric", text, number * size, **METRES) == 1
    assert value("numeric", text, number * size + 1, **METRES) == 0


@pytest.mark.parametrize("unit", ["", "5m", "%", " "])
def test_a_unit_that_cannot_be_told_from_a_number_is_refused(unit):
    with pytest.raises(ScorerError, match="A unit is text"):
        build_scorer("numeric", {"units": {unit: 1}})


KIND = {
    "type": "object",
    "properties": {"kind": {"enum": ["motor", "health"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "params", "wanted"),
    [
        ('{"kind": "motor"}', {}, 1),
        ('Sure! {"kind": "motor"} Anything else?', {}, 1),
        ('```json\n{"kind": "motor"}\n```', {}, 1),
        ('See [note]: {"kind": "motor"}', {}, 1),
        ('Sure! {"kind": "motor"}', {"extract": "whole"}, 0),
        ('{"kind": "boat"}', {}, 0),
        ('{"kind": "motor", "x": 1}', {}, 0),
        ('{"kind": "motor"', {}, 0),
        ('{"claim": {"kind": "motor"}', {}, 0),
        ("motor", {}, 0),
        ("", {}, 0),
    ],
)
def test_json_schema_judges_the_json_in_the_answer(text, params, wanted):
    assert value("json_schema", text, schema=KIND, **params) == wanted


def test_the_inside_of_json_that_was_cut_off_is_not_taken_for_the_answer():
    assert "cut off" in score("json_schema", '{"a": {"kind": "motor"}', schema=KIND).explanation


def test_a_schema_that_doubles_at_every_reference_is_given_up():
    steps = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(40)
    }
    schema = {"$ref": "#/$defs/s0", "$defs": {**steps, "s40": {"type": "object"}}}
    started = time.process_time()
    result = score("json_schema", "{}", schema=schema)
    assert result.value is None
    assert "Not scored" in result.explanation
    assert time.process_time() - started < 60


def test_a_schema_that_refers_to_itself_is_given_up():
    assert score("json_schema", "{}", schema={"$ref": "#"}).value is None


def test_a_schema_that_refers_to_nothing_is_given_up():
    assert score("json_schema", "{}", schema={"$ref": "#/$defs/none"}).value is None


def test_repeated_items_are_found_without_comparing_all_pairs():
    schema = {"uniqueItems": True}
    assert value("json_schema", "[1, 1.0]", schema=schema) == 0
    assert value("json_schema", "[1, true, [1], [true]]", schema=schema) == 1


def test_a_dialect_at_the_top_does_not_bring_the_backtracking_engine_back():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "items": {"$ref": "#"},  # by which jsonschema would look at '$schema' again
        "pattern": "^(a|aa)+$",
    }
    started = time.process_time()
    assert value("json_schema", '["' + "a" * 40 + 'b"]', schema=schema) == 0
    assert time.process_time() - started < 5


def test_a_dialect_inside_does_not_bring_the_backtracking_engine_back():
    with pytest.raises(ScorerError, match="schema"):
        build_scorer("json_schema", {"schema": {"items": {"$schema": "https://x", "type": "null"}}})


STRUCTURE = {"kind": "motor", "amount": 5, "parts": ["door", "roof"]}


@pytest.mark.parametrize(
    ("text", "params", "wanted"),
    [
        ('{"kind": "motor", "amount": 5, "parts": ["door", "roof"]}', {}, 1),
        ('{"parts": ["door", "roof"], "amount": 5.0, "kind": "motor"}', {}, 1),
        ('{"kind": "health", "amount": 5, "parts": ["door", "roof"]}', {}, 0.75),
        ('{"kind": "motor", "parts": ["door", "roof"]}', {}, 0.75),
        ('{"kind": "motor", "amount": 5, "parts": ["door", "roof"], "x": 1}', {}, 0.8),
        ('{"kind": "motor", "amount": true, "parts": ["door", "roof"]}', {}, 0.75),
        ('{"kind": "Motor", "amount": 5, "parts": ["door", "roof"]}', {"ignore_case": True}, 1),
        ('{"kind": "motor", "amount": 5.2, "parts": ["door", "roof"]}', {"tolerance": 0.5}, 1),
        ('{"kind": "motor", "amount": 5, "parts": ["roof", "door"]}', {"ignore_order": True}, 1),
        ("[]", {}, 0),
        ("no JSON", {}, 0),
    ],
)
def test_json_diff_is_the_share_of_values_that_are_right(text, params, wanted):
    assert value("json_diff", text, STRUCTURE, **params) == pytest.approx(wanted)


def test_an_answer_that_pads_the_structure_scores_low():
    padded = {**STRUCTURE, **{f"extra{n}": n for n in range(36)}}
    assert value("json_diff", json.dumps(padded), STRUCTURE) == pytest.approx(0.1)


def test_json_diff_says_where_and_what():
    detail = score("json_diff", '{"kind": "motor", "amount": 6, "parts": []}', STRUCTURE).detail
    change = next(c for c in detail["changes"] if c["path"] == "$['amount']")
    assert (change["expected"], change["found"]) == (5, 6)


@pytest.mark.parametrize(
    ("text", "expect", "params", "wanted"),
    [
        ("one two three", None, {"max": 3}, 1),
        ("one two three", None, {"max": 2}, 0),
        ("one two three", None, {"min": 3, "max": 3}, 1),
        ("", None, {"min": 1}, 0),
        ("One. Two! Three", {"max": 3}, {"unit": "sentences"}, 1),
        ("One. Two! Three", {"min": 4}, {"unit": "sentences"}, 0),
        ("a\nb\n", {"min": 2, "max": 2}, {"unit": "lines"}, 1),
    ],
)
def test_length_bounds_hold_with_their_ends_included(text, expect, params, wanted):
    assert value("length_bounds", text, expect, **params) == wanted


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(max_size=50), low=st.integers(0, 60), span=st.integers(0, 60))
def test_an_answer_is_within_bounds_exactly_when_its_length_is(text, low, span):
    length = value("length", text)
    assert length is not None
    inside = value("length_bounds", text, unit="chars", min=low, max=low + span)
    assert inside == float(low <= length <= low + span)


@pytest.mark.parametrize("expect", [5, {}, {"most": 3}, {"min": 5, "max": 2}, {"max": True}])
def test_bounds_that_are_none_are_refused(expect):
    with pytest.raises(ScorerError):
        value("length_bounds", "a", expect)
    with pytest.raises(ScorerError, match="smallest"):
        build_scorer("length_bounds", {"min": 5, "max": 2})


def test_length_counts_characters_words_or_lines():
    text = "One two.\nThree."
    assert value("length", text) == 15
    assert value("length", text, unit="words") == 3
    assert value("length", text, unit="lines") == 2
    assert value("length", "", unit="lines") == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I'm sorry, but I can't help with that.", 1),
        ("As an AI language model, I have no opinion.", 1),
        ("I cannot assist with this request.", 1),
        ("We cannot pay this claim.", 0),
        ("The door can't be opened, I think.", 0),
        ("Paris is the capital of France.", 0),
        ("x " * 300 + "I cannot assist with this.", 0),
    ],
)
def test_refusal_hears_the_assistant_and_not_the_claims_office(text, wanted):
    assert value("refusal", text) == wanted


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("de", "Dabei kann ich Ihnen leider nicht helfen.", 1),
        ("de", "Der Versicherer kann den Schaden leider nicht bezahlen.", 0),
        ("fr", "Je suis désolé, mais je ne peux pas vous aider.", 1),
        ("fr", "L'assureur ne peut pas payer ce sinistre.", 0),
        ("es", "Lo siento, pero no puedo ayudarte con eso.", 1),
        ("es", "La aseguradora no puede pagar este siniestro.", 0),
        ("it", "Mi dispiace, ma non posso aiutarti.", 1),
        ("it", "La compagnia non può pagare il danno.", 0),
        ("pt", "Desculpe, mas não posso ajudar com isso.", 1),
        ("pt", "A seguradora não pode pagar este sinistro.", 0),
        ("nl", "Daar kan ik u helaas niet mee helpen.", 1),
        ("nl", "Daarmee kan ik u helaas niet helpen.", 1),
    ],
)
def test_refusal_hears_other_languages_only_where_the_suite_names_them(language, text, wanted):
    assert value("refusal", text, languages=["en", language]) == wanted
    assert value("refusal", text) == 0


def test_an_answer_stopped_by_the_providers_filter_is_a_refusal():
    scorer = build_scorer("refusal", {})
    answer = Answer("", finish_reason="content_filter")
    assert scorer.score(answer, Case(id="c-1")).value == 1


def test_style_gives_the_raw_value_of_a_feature_with_or_without_prefix():
    assert value("style", "One two three.", feature="words") == 3
    assert value("style", "One two three.", feature="style.words") == 3
