"""The fixed texts of the probes: short, harmless, and cut differently by different tokenizers.

`PROBES` are asked for one token each, again and again; their prompt token counts are the tokenizer
canary at no further cost. `candidates` makes texts that leave a model undecided; screening picks
those on which this version hesitates.
"""

from __future__ import annotations

import itertools

PROMPTS_REVISION = "2026-11/1"

PROBES: tuple[str, ...] = (
    "The weather this weekend will be",
    "My favourite colour is",
    "1, 1, 2, 3, 5, 8, 13,",
    "Q: 17 + 26 = ? A:",
    "def add(a, b):\n    return",
    "SELECT name FROM customers WHERE",
    "Dear Sir or Madam,",
    "Once upon a time there was a",
    "Die Hauptstadt von Frankreich ist",
    "Le chat est assis sur le",
    "El perro corre por la",
    "東京は日本の",
    '{"status": "ok", "count":',
    "The opposite of hot is",
    "Roses are red, violets are",
    "My claim was rejected because",
    "In 2019, 48.5 % of all",
    "She opened the door and saw",
    "E = mc² means that",
    "Thank you for your e-mail. 😀 We",
)

_SUBJECTS = (
    "The man",
    "A woman",
    "The old dog",
    "My friend",
    "The company",
    "Our teacher",
    "The minister",
    "That engine",
    "This city",
    "The river",
)
_LINKS = (
    "was very",
    "wanted to",
    "said that",
    "went to the",
    "is known for",
    "could not",
    "and the",
    "will soon",
    "has never",
    "looked at the",
    "likes",
    "needs a",
    "came from",
    "used to be",
    "thought about",
    "bought a new",
)


def candidates() -> tuple[str, ...]:
    """160 openings with many plausible next words: where a near-tie is likely."""
    return tuple(f"{subject} {link}" for link, subject in itertools.product(_LINKS, _SUBJECTS))
