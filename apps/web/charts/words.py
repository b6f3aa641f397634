"""Two texts, word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DiffKind = Literal["same", "gone", "new"]

#: Longer texts are compared up to here; the rest is shown as not compared.
DIFF_CHARACTERS = 40_000
DIFF_TOKENS = 3_000
_TOKEN = re.compile(r"\n|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class DiffPart:
    """``before``: how the first text writes an equal part; its blanks may differ."""

    kind: DiffKind
    text: str
    words: int
    before: str = ""


@dataclass(frozen=True, slots=True)
class WordDiff:
    """``cut``: how many characters at the end were too many to compare (longer side)."""

    parts: list[DiffPart]
    gone: int
    new: int
    same: int
    cut: int

    @property
    def equal(self) -> bool:
        return self.cut == 0 and all(part.kind == "same" for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Token:
    key: str
    lead: str  # the blanks before it: shown, not compared


def _tokens(text: str) -> tuple[list[_Token], str, int]:
    """Tokens of the text, the blanks after the last one, and the number of characters left out."""
    cut = max(0, len(text) - DIFF_CHARACTERS)
    text = text[:DIFF_CHARACTERS].replace("\r\n", "\n")
    tokens: list[_Token] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if len(tokens) == DIFF_TOKENS:
            return tokens, "", cut + len(text) - at
        tokens.append(_Token(match.group(), text[at : match.start()]))
        at = match.end()
    return tokens, text[at:], cut


def word_diff(before: str, after: str) -> WordDiff:
    """What a reader sees as changed: words and marks and line breaks, not blanks.

    Bounded by DIFF_TOKENS a side, whatever the input. Two changes that leave a word or two between
    them are joined, because "three words became four" reads better than confetti.
    """
    old, old_tail, old_cut = _tokens(before)
    new, new_tail, new_cut = _tokens(after)
    old_keys, new_keys = [t.key for t in old], [t.key for t in new]
    head = 0
    while head < min(len(old), len(new)) and old_keys[head] == new_keys[head]:
        head += 1
    tail = 0
    while (
        tail < min(len(old), len(new)) - head
        and old_keys[len(old) - 1 - tail] == new_keys[len(new) - 1 - tail]
    ):
        tail += 1
    matcher = difflib.SequenceMatcher(
        None, old_keys[head : len(old) - tail], new_keys[head : len(new) - tail]
    )
    # (old range, new range, are they equal)
    blocks: list[tuple[int, int, int, int, bool]] = []
    if head:
        blocks.append((0, head, 0, head, True))
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        blocks.append((a1 + head, a2 + head, b1 + head, b2 + head, tag == "equal"))
    if tail:
        blocks.append((len(old) - tail, len(old), len(new) - tail, len(new), True))
    blocks = _joined(blocks, new_keys)

    parts: list[DiffPart] = []
    counts = {"same": 0, "gone": 0, "new": 0}

    def add(kind: DiffKind, tokens: list[_Token], twins: Sequence[_Token] = ()) -> None:
        if not tokens:
            return
        words = sum(1 for token in tokens if token.key[0].isalnum() or token.key[0] == "_")
        counts[kind] += words
        parts.append(DiffPart(kind, _joined_text(tokens), words, _joined_text(twins)))

    for a1, a2, b1, b2, equal in blocks:
        if equal:
            add("same", new[b1:b2], old[a1:a2])
        else:
            add("gone", old[a1:a2])
            add("new", new[b1:b2])
    if parts and parts[-1].kind == "same":
        last = parts[-1]
        parts[-1] = DiffPart("same", last.text + new_tail, last.words, last.before + old_tail)
    return WordDiff(parts, counts["gone"], counts["new"], counts["same"], max(old_cut, new_cut))


def _joined_text(tokens: Sequence[_Token]) -> str:
    return "".join(token.lead + token.key for token in tokens)


def _joined(
    blocks: list[tuple[int, int, int, int, bool]], new_keys: list[str]
) -> list[tuple[int, int, int, int, bool]]:
    """Swallow an equal stretch of at most two tokens between two larger changes."""
    result: list[tuple[int, int, int, int, bool]] = []
    for index, block in enumerate(blocks):
        a1, a2, b1, b2, equal = block
        if equal and 0 < index < len(blocks) - 1 and b2 - b1 <= 2:
            before, after = blocks[index - 1], blocks[index + 1]
            sizes = [max(n[1] - n[0], n[3] - n[2]) for n in (before, after)]
            if min(sizes) > b2 - b1 and "\n" not in new_keys[b1:b2]:
                equal = False
        if result and not equal and not result[-1][4]:
            last = result.pop()
            result.append((last[0], a2, last[2], b2, False))
        else:
            result.append((a1, a2, b1, b2, equal))
    return result
