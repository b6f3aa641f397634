"""Phrases by which an assistant refuses, by language. English is in `style.py`, with the profile.

Only what the assistant says of itself: "I cannot help with that", not "the insurer cannot pay".
Fixed words and short alternatives: linear in the text.
"""

from __future__ import annotations

import re

from apps.evaluations.style import find_refusal

WINDOW = 400

_PHRASES: dict[str, tuple[str, ...]] = {
    "de": (
        "(?:dabei|damit|hierbei|da) kann ich (?:ihnen |dir |euch )?(?:leider )?nicht"
        " (?:helfen|weiterhelfen|dienen)",
        "ich kann (?:ihnen |dir |euch )?(?:dabei |damit |hierbei )?(?:leider )?nicht"
        " (?:helfen|weiterhelfen)",
        "ich kann (?:diese|dieser|dieses) (?:anfrage|bitte|frage) (?:leider )?nicht"
        " (?:beantworten|erfüllen|nachkommen)",
        "(?:das|dies) kann ich (?:leider )?nicht (?:tun|machen|beantworten|schreiben|erstellen)",
        "ich (?:darf|werde) (?:das|dies|dabei) (?:leider )?nicht", "als (?:ki|sprachmodell)",
    ),
    "fr": (
        "je ne (?:peux|puis) (?:malheureusement )?pas (?:vous |t['’])?"
        "(?:aider|répondre|faire|fournir|créer|écrire)",
        "je (?:suis désolée?|regrette),? mais je ne (?:peux|puis)",
        "je suis dans l['’]incapacité de", "je dois (?:décliner|refuser)",
        "en tant qu['’](?:ia|intelligence artificielle|assistant)", "en tant que modèle de langage",
    ),
    "es": (
        "(?:lo siento,? (?:pero )?)?no puedo (?:ayudar(?:te|le|les|los)?|responder|hacer"
        "|proporcionar|crear|escribir|cumplir)",
        "no me es posible (?:ayudar|responder|proporcionar)", "debo (?:rechazar|declinar)",
        "como (?:una )?(?:ia|inteligencia artificial|modelo de lenguaje|asistente)",
    ),
    "it": (
        "non posso (?:aiutar(?:ti|la|vi|e)?|rispondere|fornire|creare|scrivere|soddisfare)",
        "(?:mi dispiace|spiacente),? (?:ma )?non posso", "non sono in grado di",
        "devo (?:rifiutare|declinare)",
        "(?:in quanto|come) (?:ia|intelligenza artificiale|modello linguistico|assistente)",
    ),
    "pt": (
        "não posso (?:ajudar|ajudá-l[oa]|responder|fornecer|criar|escrever|atender)",
        "(?:desculpe|lamento|sinto muito),? (?:mas )?não (?:posso|consigo)",
        "não (?:consigo|sou capaz de) (?:ajudar|responder|fornecer)",
        "como (?:uma )?(?:ia|inteligência artificial|modelo de linguagem|assistente)",
    ),
    "nl": (
        "(?:daar|hier)(?:mee|bij)? kan ik (?:u |je )?(?:helaas )?niet (?:mee |bij )?helpen",
        "ik kan (?:u |je )?(?:hier|daar)?(?:mee|bij)? ?(?:helaas )?niet (?:helpen|beantwoorden)",
        "ik moet (?:dit )?(?:weigeren|afwijzen)", "als (?:ai|taalmodel)",
    ),
}  # fmt: skip
_PATTERNS = {
    language: re.compile(r"(?<!\w)(?:" + "|".join(phrases) + r")(?!\w)", re.IGNORECASE)
    for language, phrases in _PHRASES.items()
}
LANGUAGES = ("en", *_PATTERNS)


def find(text: str, languages: tuple[str, ...]) -> tuple[str, str] | None:
    """Language and phrase of the first language of the list that refuses near the beginning."""
    for language in languages:
        if language == "en":
            phrase = find_refusal(text)
        else:
            match = _PATTERNS[language].search(text[:WINDOW])
            phrase = match.group(0) if match else None
        if phrase is not None:
            return language, phrase
    return None
