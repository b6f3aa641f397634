"""Ids, JSON on a line, and two answers side by side."""

from __future__ import annotations

import json
import re

from django.template.defaultfilters import stringfilter
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.web import charts
from apps.web.tags import MISSING, register
from apps.web.tags.states import icon


@register.filter
@stringfilter
def initials(name: str) -> str:
    """ "Ada Lovelace" → AL, "kyc-bot" → KB, "" → ?."""
    words = re.findall(r"\w+", name)
    letters = (words[0][0] + words[-1][0]) if len(words) > 1 else name.strip()[:2]
    return letters.upper() or "?"


@register.filter
def json_text(value: object) -> str:
    """A JSON value on one line, cut at 400 characters; a missing one as "–"."""
    if value is None:
        return "null"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 400 else text[:399] + "…"


@register.filter
def parts(content: object) -> list[dict[str, object]]:
    """The parts of a suite's message: text is one part, images have a sha256."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


@register.simple_tag
def copyid(value: object, label: str = "id") -> SafeString | str:
    """A long id, shown short, copied whole: ``{% copyid run.public_id %}``."""
    if not value:
        return MISSING
    return format_html(
        '<span class="copyid"><code class="copyid__text" title="{}">{}</code>'
        '<button class="copyid__button" type="button" data-copy="{}" aria-label="Copy {} {}"'
        " hidden>{}</button></span>",
        value,
        value,
        value,
        label,
        value,
        icon("copy"),
    )


APART = 40  # words


def _fold(text: str, *, first: bool, last: bool, keep: int = 12) -> SafeString:
    """A long equal stretch with its middle closed away; open with one click or in print."""
    words = list(re.finditer(r"\S+", text))
    start = 0 if first else words[keep - 1].end()
    stop = len(text) if last else words[-keep].start()
    hidden = sum(1 for word in words if start <= word.start() < stop)
    return format_html(
        '{}<details class="fold"><summary>{} words the same</summary><span>{}</span></details>{}',
        text[:start],
        f"{hidden:,}",
        text[start:stop],
        text[stop:],
    )


def diff_html(diff: charts.WordDiff, side: str = "both", fold: bool = True) -> SafeString:
    pieces: list[SafeString | str] = []
    shown = [
        part
        for part in diff.parts
        if part.kind == "same" or side == "both" or (part.kind == "gone") == (side == "before")
    ]
    for index, part in enumerate(shown):
        if part.kind == "same":
            text = part.before if side == "before" else part.text
            first, last = index == 0, index == len(shown) - 1
            long = len(re.findall(r"\S+", text)) > 60
            if fold and long and not (first and last):
                pieces.append(_fold(text, first=first, last=last))
            else:
                pieces.append(format_html("{}", text))
            continue
        body = part.text.lstrip(" \t")
        lead = part.text[: len(part.text) - len(body)]
        frame = "{}<del>{}</del>" if part.kind == "gone" else "{}<ins>{}</ins>"
        pieces.append(format_html(frame, lead, body.replace("\n", "↵\n")))
    html = format_html_join("", "{}", ((piece,) for piece in pieces))
    if diff.cut:
        html += format_html(
            '<span class="diff__cut">{} more characters were not compared</span>', f"{diff.cut:,}"
        )
    return html


@register.simple_tag
def word_diff(before: object, after: object, side: str = "both", fold: bool = True) -> SafeString:
    """Both texts in one, with <del> and <ins>; ``side="before"`` or ``"after"`` for one of them."""
    diff = charts.word_diff(_text(before), _text(after))
    return format_html('<div class="diff" tabindex="0">{}</div>', diff_html(diff, side, fold))


def _text(value: object) -> str:
    return "" if value is None else str(value)


@register.inclusion_tag("components/answers.html")
def answers(
    before: object,
    after: object,
    before_label: str = "Baseline",
    after_label: str = "Now",
    before_note: object = "",
    after_note: object = "",
    fold: bool = True,
) -> dict[str, object]:
    """Two answers side by side (stacked on narrow pages), what differs marked in each."""
    old, new = _text(before), _text(after)
    diff = charts.word_diff(old, new)
    # Where no word is kept, marking all of a long answer would only make it hard to read.
    apart = bool(old and new) and not diff.same and diff.gone + diff.new >= APART and not diff.cut
    return {
        "diff": diff,
        "apart": apart,
        "before": old if apart else diff_html(diff, "before", fold) if old else "",
        "after": new if apart else diff_html(diff, "after", fold) if new else "",
        "before_label": before_label,
        "after_label": after_label,
        "before_note": before_note,
        "after_note": after_note,
    }
