"""The style profile: one number a feature, in linear time."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.evaluations.style import FEATURES, MAX_CHARS, style_profile

from .samples import HOSTILE


@pytest.mark.parametrize(
    ("feature", "text", "wanted"),
    [
        ("chars", "abc", 3),
        ("words", "It's a test, isn't it?", 5),
        ("lines", "a\n\nb\n", 2),
        ("sentences", "One. Two! Three", 3),
        ("sentences", "Wait... what?", 2),
        ("sentences", "Costs 3.50 today.", 1),
        ("words_per_sentence", "One two. Three four.", 2),
        ("mean_word_length", "ab abcd", 3),
        ("type_token_ratio", "The the cat cat", 0.5),
        ("uppercase_share", "ABcd", 0.5),
        ("digit_share", "a1b2", 0.5),
        ("non_ascii_share", "aé", 0.5),
        ("markdown_marks", "**bold** and `code`", 4),
        ("headings", "# One\ntext\n## Two", 2),
        ("list_items", "- a\n* b\n1. c\n2) d\n-no", 4),
        ("code_fences", "```py\nx\n```", 2),
        ("table_rows", "| a | b |\n|---|---|\ntext", 2),
        ("hedging", "Perhaps it might rain, I think.", 3),
        ("apology", "Sorry, we apologise.", 2),
        ("refusal", "I can't help with that.", 1),
        ("pleasantry", "Certainly! I hope this helps.", 2),
        ("exclamations", "Hi! Yes!!", 3),
        ("questions", "Why? How?", 2),
        ("emoji", "Good 👍🎉", 2),
        ("first_person", "We think our car and I", 3),
        ("second_person", "You and your car", 2),
        ("starts_with_label", "Answer: yes", 1),
        ("starts_with_label", "It is 12:30 now", 0),
        ("ends_with_period", "Done. ", 1),
        ("is_json", ' {"a": 1} ', 1),
    ],
)
def test_a_feature_counts_what_its_name_says(feature, text, wanted):
    assert style_profile(text)[feature] == pytest.approx(wanted)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_every_text_has_every_feature_as_a_finite_number(text):
    profile = style_profile(text)
    assert list(profile) == list(FEATURES)
    assert all(isinstance(v, float) and math.isfinite(v) for v in profile.values())
    shares = [k for k in FEATURES if k.endswith("_share")]
    assert all(0 <= profile[k] <= 1 for k in [*shares, "type_token_ratio"])
    assert style_profile(text) == profile


def test_simple_english_reads_easier_than_office_english():
    simple = style_profile("We got your note. We will pay you soon.")
    office = style_profile("Reimbursement authorisation necessitates supplementary documentation.")
    assert simple["readability"] > office["readability"] + 50


def test_a_longer_text_is_profiled_on_its_beginning_but_counted_whole():
    profile = style_profile("a " * MAX_CHARS)
    assert profile["chars"] == 2 * MAX_CHARS
    assert profile["words"] == MAX_CHARS / 2


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_makes_the_profile_slow(name):
    started = time.process_time()
    style_profile(HOSTILE[name])
    assert time.process_time() - started < 10
