"""How answers are judged where a file holds only question and target: one rule by its name."""

from __future__ import annotations

import re
from typing import Any

from apps.evaluations.imports.base import Builder, ImportRefused, text_of

RULES = ("match", "includes", "exact", "numeric", "choice", "json", "none")
HELP = {
    "match": "the answer begins with the target",
    "includes": "the answer contains the target, upper and lower case alike",
    "exact": "the answer is the target",
    "numeric": "the last number of the answer is the target",
    "choice": "the answer names exactly one of all targets, and it is this case's",
    "json": "the answer is JSON with the target's values",
    "none": "nothing is judged; only the form of answers is watched",
}
Expectation = tuple[str, Any]
DEMAND = "The reference states what is demanded of an answer. A good answer meets all of it."
FACTS = (
    "The reference is right. A good answer to the question says what the reference says, in "
    "whatever words, and contradicts none of it. It may say more."
)
"""What a judge is told where each case has its own demand or facts: one metric for all."""


def demand(values: list[Any]) -> str:
    """What a judge is shown of a case's demands, one a line; "" where there is none."""
    return "\n".join(text_of(v) for v in values if v not in (None, ""))


def rule_named(name: str, default: str) -> str:
    """Raises ImportRefused."""
    rule = name or default
    if rule not in RULES:
        raise ImportRefused(f"There is no rule '{rule[:40]}'. Choose one of: {', '.join(RULES)}.")
    return rule


def expectations(
    builder: Builder, rule: str, targets: list[Any], where: str, key: str = ""
) -> list[Expectation]:
    """What a case expects by a rule; a target that the rule cannot take is a loss. `key` names the
    scorer, where it has a name of its own."""
    texts = [text_of(t) for t in targets if t not in (None, "")]
    if rule == "none" or not texts:
        if rule != "none":
            builder.lose("cases without a target", "they are asked, but not judged", where)
        return []
    if rule == "match":
        pattern = r"\A\s*(?:" + "|".join(re.escape(t) for t in texts) + ")"
        if len(pattern) > 2000:
            builder.lose("targets", "a target of over 2,000 characters is not matched", where)
            return []
        return [(builder.scorer(key or "match", "regex", "Begins with the target"), pattern)]
    if rule == "includes":
        if len(texts) > 50:
            builder.lose("targets", "only 50 alternatives can be looked for", where)
        name = builder.scorer(
            key or "includes", "contains", "Contains the target", {"casefold": True}
        )
        return [(name, {"any": texts[:50]})]
    if rule == "exact":
        return [(builder.scorer(key or "exact", "exact", "Is the target"), texts)]
    if rule == "numeric":
        number = number_of(texts[0])
        if number is None:
            builder.lose("targets that are no number", "they are asked, but not judged", where)
            return []
        return [
            (builder.scorer(key or "numeric", "numeric", "Right number", {"which": "last"}), number)
        ]
    if rule == "json":
        if isinstance(targets[0], dict | list):
            return [(builder.scorer(key or "json", "json_diff", "Right values"), targets[0])]
        builder.lose("targets that are no JSON", "they are asked, but not judged", where)
        return []
    return [("choice", texts[0])]  # its labels are known only at the end: see `settle_choice`


def number_of(text: str) -> float | int | None:
    found = re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?", text)
    if len(found) != 1:
        return None
    value = float(found[0].replace(",", ""))
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def choice_scorer(builder: Builder, targets: list[str]) -> None:
    """Declare the scorer that `expectations` names for the rule 'choice'. Raises ImportRefused."""
    labels = list(dict.fromkeys(t.strip() for t in targets if t.strip()))
    folded = {label.casefold() for label in labels}
    if not 2 <= len(labels) <= 200:
        raise ImportRefused(
            f"The rule 'choice' needs 2 to 200 different targets; there are {len(labels)}."
        )
    params: dict[str, Any] = {"choices": labels, "where": "anywhere"}
    if len(folded) < len(labels):
        params["casefold"] = False
    builder.scorer("choice", "choice", "Names the target", params)
