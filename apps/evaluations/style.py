"""The style of a text as numbers: what a silent refresh of a model changes first.

Every feature is deterministic, needs no model and no language data, and takes time linear in the
text. Texts above MAX_CHARS are profiled on that prefix; only `chars` counts the whole.
"""

from __future__ import annotations

import re

MAX_CHARS = 200_000
_REFUSAL_WINDOW = 400

FEATURES: dict[str, str] = {
    "chars": "Characters",
    "words": "Words",
    "lines": "Lines that are not blank",
    "sentences": "Sentences",
    "words_per_sentence": "Words a sentence",
    "mean_word_length": "Characters a word",
    "type_token_ratio": "Different words among the first 1,000 words, share",
    "uppercase_share": "Upper-case letters among letters, share",
    "non_ascii_share": "Characters outside ASCII, share",
    "digit_share": "Digits among characters, share",
    "readability": "Flesch reading ease, estimated from vowel groups (English)",
    "markdown_marks": "Markdown marks (bold, italics, code, links)",
    "headings": "Markdown headings",
    "list_items": "List items",
    "code_fences": "Code fences",
    "table_rows": "Markdown table rows",
    "hedging": "Hedging words (perhaps, might, I think …)",
    "apology": "Apologies",
    "refusal": "Looks like a refusal (1 or 0)",
    "pleasantry": "Pleasantries (happy to help, great question …)",
    "exclamations": "Exclamation marks",
    "questions": "Question marks",
    "emoji": "Emoji",
    "first_person": "First-person words (I, we, my, our …)",
    "second_person": "Second-person words (you, your)",
    "starts_with_label": "Begins with a label such as 'Answer:' (1 or 0)",
    "ends_with_period": "Ends with a full stop (1 or 0)",
    "opens_with_letter": "Begins with a letter (1 or 0)",
    "opening_chars": "Characters of the first sentence or line",
    "closing_chars": "Characters of the last line",
    "ends_with_bracket": "Ends with a bracket, quote or dollar sign (1 or 0)",
    "modals": "Modal words (can, should, need …)",
    "function_word_share": "Function words (the, of, is …) among words, share",
    "punctuation_share": "Marks that are neither letter, digit nor blank, share",
    "formula_share": "Marks of formulae (= + ^ * / < > \\), share",
    "is_json": "Begins and ends like a JSON object or list (1 or 0)",
}

# Of an answer 0 or 1, or a part of its text: their means are shown as per cent.
SHARES = frozenset(
    name for name, words in FEATURES.items() if words.endswith(("(1 or 0)", ", share"))
)
UNITS: dict[str, str] = {
    **dict.fromkeys(("chars", "opening_chars", "closing_chars", "mean_word_length"), "chars"),
    **dict.fromkeys(("words", "words_per_sentence", "modals", "hedging"), "words"),
    **dict.fromkeys(("first_person", "second_person"), "words"),
    "lines": "lines",
    "sentences": "sentences",
    "list_items": "items",
    "markdown_marks": "marks",
    "exclamations": "marks",
    "headings": "headings",
    "code_fences": "fences",
    "table_rows": "rows",
}

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# The look-behind keeps it linear: a run of marks is tried from its first mark only.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++(?=[\s\"'”’)\]]|\Z)")
_ENDED = re.compile(r"[.!?…。！？][\s\"'”’)\]]*\Z")
_VOWELS = re.compile(r"[aeiouyà-öø-ÿ]+", re.IGNORECASE)
_INLINE_MARK = re.compile(r"\*\*|__|`|\]\(|(?<!\*)\*(?!\*)(?=\S)")
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]", re.MULTILINE)
_LIST_ITEM = re.compile(r"^[ \t]{0,12}(?:[-*+•]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_FENCE = re.compile(r"^[ ]{0,3}(?:```|~~~)", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]{0,3}\|[^\n]*\|[ \t]*$", re.MULTILINE)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\U0001f1e6-\U0001f1ff\u2b50\u2b55]")
_LABEL = re.compile(r"\A\s*[A-Z][A-Za-z]{0,20}(?: [A-Za-z]{1,20}){0,2}:(?=\s|\Z)")


def _phrases(*phrases: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(?:" + "|".join(phrases) + r")(?!\w)", re.IGNORECASE)


_HEDGING = _phrases(
    "perhaps", "maybe", "might", "may", "possibly", "probably", "likely", "seems?", "appears?",
    "generally", "typically", "usually", "could be", "i think", "i believe", "i guess",
    "in my opinion", "not sure", "it depends", "approximately", "roughly", "somewhat",
)  # fmt: skip
_APOLOGY = _phrases("sorry", "apolog(?:y|ies|i[sz]e|i[sz]es|i[sz]ing)", "regret", "excuse me")
_REFUSAL = _phrases(
    "i(?: am|['’]m) (?:sorry,? (?:but )?i )?(?:not able|unable) to",
    "i (?:can ?not|can['’]t|could not|couldn['’]t|won['’]t|will not|must decline to)"
    " (?:help|assist|provide|do|answer|comply|fulfil|fulfill|create|write|share|give|continue"
    "|engage|discuss|support|generate|offer)",
    "i (?:must|have to) (?:decline|refuse)", "i decline",
    "as an? (?:ai|artificial intelligence|language model|assistant)",
    "i do(?: not|n['’]t) feel comfortable", "against my (?:guidelines|policy|programming)",
    "sorry,? (?:but )?i (?:can ?not|can['’]t)",
)  # fmt: skip
_PLEASANTRY = _phrases(
    "happy to help", "glad to help", "great question", "good question", "of course", "certainly",
    "sure", "absolutely", "feel free", "hope (?:this|that) helps", "let me know",
    "thank you", "thanks", "you['’]re welcome",
)  # fmt: skip
_FIRST = _phrases("i", "me", "my", "mine", "we", "us", "our", "ours")
_SECOND = _phrases("you", "your", "yours")
_MODAL = _phrases(
    "can", "could", "may", "might", "must", "need", "should", "would", "will", "shall"
)  # fmt: skip
_FUNCTION_WORDS = frozenset(
    {
        "the", "a", "an", "of", "to", "in", "is", "are", "it", "that", "and", "or", "for", "by",
        "with", "as", "on", "this", "be", "not", "if",
    }
)  # fmt: skip
_OPENING_END = re.compile(r"[.!?:](?=\s|\Z)|\n")
_CLOSERS = frozenset(")]}$\"'”’»")
_FORMULA = frozenset("=+^*/<>\\")


def find_refusal(text: str) -> str | None:
    """The phrase near the beginning by which the assistant refuses, or None."""
    match = _REFUSAL.search(text[:_REFUSAL_WINDOW])
    return match.group(0) if match else None


def count_sentences(text: str) -> int:
    """Sentences by their end marks; a last one without a mark counts."""
    stripped = text.strip()
    sentences = len(_SENTENCE_END.findall(stripped))
    return sentences + 1 if stripped and not _ENDED.search(stripped[-20:]) else sentences


def style_profile(text: str) -> dict[str, float]:
    """All FEATURES of a text, each a finite number."""
    whole_chars = len(text)
    text = text[:MAX_CHARS]
    stripped = text.strip()
    words = _WORD.findall(text)
    letters = sum(map(str.isalpha, text))
    size = max(len(text), 1)
    word_count = len(words)
    sentences = count_sentences(stripped)
    per_sentence = word_count / max(sentences, 1)
    head = [w.casefold() for w in words[:1000]]

    def count(pattern: re.Pattern[str]) -> float:
        return float(sum(1 for _ in pattern.finditer(text)))

    ends = (stripped[:1], stripped[-1:])
    opening = _OPENING_END.search(stripped)
    marks = sum(1 for c in text if not c.isalnum() and not c.isspace())
    return {
        "chars": float(whole_chars),
        "words": float(word_count),
        "lines": float(sum(1 for line in text.split("\n") if line.strip())),
        "sentences": float(sentences),
        "words_per_sentence": per_sentence,
        "mean_word_length": sum(map(len, words)) / max(word_count, 1),
        "type_token_ratio": len(set(head)) / max(len(head), 1),
        "uppercase_share": sum(map(str.isupper, text)) / max(letters, 1),
        "non_ascii_share": sum(1 for c in text if c > "\x7f") / size,
        "digit_share": sum(map(str.isdecimal, text)) / size,
        "readability": _readability(words, per_sentence),
        "markdown_marks": count(_INLINE_MARK),
        "headings": count(_HEADING),
        "list_items": count(_LIST_ITEM),
        "code_fences": count(_FENCE),
        "table_rows": count(_TABLE_ROW),
        "hedging": count(_HEDGING),
        "apology": count(_APOLOGY),
        "refusal": float(find_refusal(text) is not None),
        "pleasantry": count(_PLEASANTRY),
        "exclamations": float(text.count("!")),
        "questions": float(text.count("?")),
        "emoji": count(_EMOJI),
        "first_person": count(_FIRST),
        "second_person": count(_SECOND),
        "starts_with_label": float(_LABEL.match(text) is not None),
        "ends_with_period": float(stripped.endswith(".")),
        "opens_with_letter": float(ends[0].isalpha()),
        "opening_chars": float(opening.start() if opening else len(stripped)),
        "closing_chars": float(len(stripped.rsplit("\n", 1)[-1])),
        "ends_with_bracket": float(ends[1] in _CLOSERS),
        "modals": count(_MODAL),
        "function_word_share": sum(w in _FUNCTION_WORDS for w in head) / max(len(head), 1),
        "punctuation_share": marks / size,
        "formula_share": sum(1 for c in text if c in _FORMULA) / size,
        "is_json": float(ends in (("{", "}"), ("[", "]"))),
    }


def _readability(words: list[str], per_sentence: float) -> float:
    """Flesch reading ease, kept within -100..120; 0 for a text without words."""
    if not words:
        return 0.0
    syllables = sum(max(1, len(_VOWELS.findall(word[:100]))) for word in words)
    ease = 206.835 - 1.015 * per_sentence - 84.6 * syllables / len(words)
    return min(120.0, max(-100.0, ease))
