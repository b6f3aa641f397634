"""The answer is written in the expected language.

Read by py3langid (naive Bayes over byte n-grams; its model is in the package, nothing is fetched).

Trap: a few words say little: "OK", "Ja" and "motor" belong to many languages, so an answer with
fewer than `min_letters` letters is not scored. Near languages are mixed up (Danish and Norwegian,
Croatian and Serbian): expect a list of them, or name the languages that can occur in `among`. Code
and addresses are left out before reading. A translated sentence that quotes the original counts
for the language that fills more of it; a mixture is not told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apps.evaluations.scorers.base import Answer, Scorer, ScoreResult, verdict

# ISO 639-1 codes that are looked for unless `among` says otherwise: languages in wide written use.
# The model knows 139, and with all of them short texts land in small neighbours.
# fmt: off
COMMON = [
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr",
    "he", "hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "nl", "no", "pl", "pt",
    "ro", "ru", "sk", "sl", "sr", "sv", "sw", "ta", "th", "tr", "uk", "ur", "vi", "zh",
]
# fmt: on
MAX_CHARS = 20_000
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,200}`|https?://\S+", re.DOTALL)
_LANGUAGE = {"type": "string", "pattern": "^[a-z]{2,3}$"}


@dataclass(frozen=True)
class Language(Scorer):
    among: tuple[str, ...] = ()
    min_letters: int = 15

    type = "language"
    summary = "The answer is written in the expected language."
    properties = {
        "among": {
            "type": "array",
            "items": {**_LANGUAGE, "enum": COMMON},
            "minItems": 2,
            "maxItems": len(COMMON),
            "description": "Languages that can occur (ISO 639-1). Default: 42 in wide use.",
        },
        "min_letters": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "description": "Answers with fewer letters are not scored. Default 15.",
        },
    }

    def check_expect(self, expected: Any) -> str | None:
        wanted = expected if isinstance(expected, list) else [expected]
        known = self.among or COMMON
        if wanted and all(isinstance(w, str) and w in known for w in wanted):
            return None
        return f"Expected a language, or a list of them, out of: {', '.join(known)}."

    def judge(self, text: str, expected: Any, answer: Answer) -> ScoreResult:
        wanted = expected if isinstance(expected, list) else [expected]
        prose = _CODE.sub(" ", text[:MAX_CHARS])
        letters = sum(map(str.isalpha, prose))
        if letters < self.min_letters:
            explanation = f"Not scored: {letters} letters are too few to tell a language."
            return ScoreResult(None, explanation, {"letters": letters})
        ranked = rank(prose, self.among or tuple(COMMON))
        language, probability = ranked[0]
        return verdict(
            language in wanted,
            f"Reads as '{language}' ({probability:.0%}), expected {' or '.join(wanted)}.",
            language=language,
            probability=round(probability, 4),
            next=ranked[1][0],
        )


def rank(text: str, among: tuple[str, ...]) -> list[tuple[str, float]]:
    """The languages, the likeliest first, with probabilities that sum to 1 over `among`."""
    found = [pair for pair in _identifier().rank(text) if pair[0] in among]
    total = sum(p for _, p in found) or 1.0
    return [(name, p / total) for name, p in found]


@lru_cache(maxsize=1)
def _identifier() -> Any:
    # Half a second and 18 MB, once a process, and only where a suite asks for it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
