"""The language scorer: which language an answer is written in, and when it does not say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.scorers import ScorerError, build_scorer
from apps.evaluations.scorers.language import COMMON, _identifier, rank
from apps.evaluations.suitefile import Case

from .samples import score, value

SENTENCES = {
    "en": "We have received your claim and will answer within two weeks.",
    "de": "Wir haben Ihre Schadensmeldung erhalten und antworten innerhalb von zwei Wochen.",
    "fr": "Nous avons bien reçu votre déclaration et répondrons sous deux semaines.",
    "es": "Hemos recibido su reclamación y le responderemos en dos semanas.",
    "it": "Abbiamo ricevuto la sua denuncia e risponderemo entro due settimane.",
    "pt": "Recebemos a sua reclamação e responderemos dentro de duas semanas.",
    "nl": "Wij hebben uw schademelding ontvangen en antwoorden binnen twee weken.",
    "cs": "Obdrželi jsme vaše hlášení a odpovíme do dvou týdnů.",
    "pl": "Otrzymaliśmy Państwa zgłoszenie i odpowiemy w ciągu dwóch tygodni.",
    "sv": "Vi har tagit emot din anmälan och svarar inom två veckor.",
    "ja": "ご連絡を受け取りました。二週間以内に返信します。",
    "ru": "Мы получили ваше заявление и ответим в течение двух недель.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_read_in_its_language(language):
    result = score("language", SENTENCES[language], language)
    assert (result.value, result.detail["language"]) == (1, language)
    assert value("language", SENTENCES[language], "tr") == 0


def test_a_few_letters_are_not_scored():
    result = score("language", "OK. 42", "en")
    assert result.value is None
    assert "too few" in result.explanation


def test_code_and_addresses_do_not_count():
    text = "```py\nfor claim in claims: print(claim.amount)\n```\n" + SENTENCES["de"]
    assert value("language", text, "de") == 1
    assert value("language", "```py\n" + SENTENCES["en"], "en") is None


def test_near_languages_can_be_expected_together_or_told_apart_among_few():
    text = "Jeg har modtaget din sag."
    assert value("language", text, ["da", "no"]) == 1
    assert value("language", text, "da", among=["da", "en"]) == 1


def test_a_language_that_is_not_looked_for_is_refused():
    for params, expect in (({}, "xx"), ({"among": ["de", "en"]}, "fr"), ({}, [])):
        with pytest.raises(ScorerError, match="Expected a language"):
            build_scorer("language", params).check_case(Case(id="c-1", expect=expect))


def test_every_language_that_a_suite_may_name_is_known_to_the_model():
    assert set(COMMON) <= set(_identifier().labels)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_has_probabilities_that_sum_to_one(text):
    found = rank(text, tuple(COMMON))
    assert len(found) == len(COMMON)
    assert sum(p for _, p in found) == pytest.approx(1)
    assert found == sorted(found, key=lambda pair: -pair[1])
