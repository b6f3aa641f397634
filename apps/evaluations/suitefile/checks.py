"""What a schema cannot say: names that must exist, ids that must not repeat, scorers that compile.

Each check looks at a structurally valid suite and yields findings with the path they are about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from apps.evaluations.scorers.base import Scorer, ScorerError
from apps.evaluations.scorers.registry import build_scorer
from apps.evaluations.suitefile import turns
from apps.evaluations.suitefile.asking import asking_problems
from apps.evaluations.suitefile.errors import MAX_PROBLEMS, Finding
from apps.evaluations.suitefile.render import (
    BRACES,
    MAX_PROMPT_CHARS,
    VARIABLE,
    prompt_texts,
    rendered_size,
    variables,
)
from apps.evaluations.suitefile.types import Suite, TextPart


def findings(suite: Suite) -> list[Finding]:
    """All problems, up to a few more than are shown."""
    found = chain(
        _repeats(suite),
        _scorer_problems(suite),
        _metric_problems(suite),
        _prompt_problems(suite),
        asking_problems(suite.asking, ("defaults",), None),
        _case_problems(suite),
        turns.problems(suite),
    )
    return list(islice(found, MAX_PROBLEMS + 1))


def _repeats(suite: Suite) -> Iterator[Finding]:
    lists: list[tuple[str, str, Iterable[str]]] = [
        ("scorers", "key", (s.key for s in suite.scorers)),
        ("metrics", "key", (m.key for m in suite.metrics)),
        ("cases", "id", (c.id for c in suite.cases)),
        ("images", "sha256", (i.sha256 for i in suite.images)),
    ]
    for name, field, values in lists:
        first: dict[str, int] = {}
        for index, value in enumerate(values):
            if value in first:
                yield Finding(
                    (name, index, field),
                    f"The {field} '{value}' is used twice. Rename or remove one.",
                    (name, first[value], field),
                )
            first.setdefault(value, index)


def _built(suite: Suite) -> Iterator[tuple[int, str, Scorer | ScorerError]]:
    for index, spec in enumerate(suite.scorers):
        try:
            yield index, spec.key, build_scorer(spec.type, spec.params)
        except ScorerError as error:
            yield index, spec.key, error


def _scorer_problems(suite: Suite) -> Iterator[Finding]:
    for index, key, scorer in _built(suite):
        if isinstance(scorer, ScorerError):
            for path, message in scorer.problems:
                yield Finding(("scorers", index, *path), f"Scorer '{key}': {message}")


def _metric_problems(suite: Suite) -> Iterator[Finding]:
    keys = [s.key for s in suite.scorers]
    for index, metric in enumerate(suite.metrics):
        if metric.scorer not in keys:
            near = difflib.get_close_matches(metric.scorer, keys, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(keys[:20])}."
            yield Finding(
                ("metrics", index, "scorer"),
                f"There is no scorer with the key '{metric.scorer[:64]}'. {hint}",
            )
        if metric.bounds is not None and metric.bounds[0] >= metric.bounds[1]:
            yield Finding(
                ("metrics", index, "bounds"),
                "The lower bound is not below the upper one. Write [lowest, highest].",
            )


def _prompt_problems(suite: Suite) -> Iterator[Finding]:
    for index, message in enumerate(suite.prompt.messages if suite.prompt else ()):
        for place, part in message.placed_parts():
            if not isinstance(part, TextPart):
                continue
            for match in BRACES.finditer(part.text):
                if not VARIABLE.fullmatch(match.group()):
                    yield Finding(
                        ("prompt", "messages", index, *place),
                        f"'{match.group()[:60]}' is not a variable: a name is made of letters, "
                        "digits and underscores. Correct it, or move literal braces to 'prefix'.",
                    )


def _case_problems(suite: Suite) -> Iterator[Finding]:
    used = dict.fromkeys(
        name
        for text in (prompt_texts(suite.prompt) if suite.prompt else ())
        for name in variables(text)
    )
    scorers = [(k, s) for _, k, s in _built(suite) if not isinstance(s, ScorerError)]
    for index, case in enumerate(suite.cases):
        if case.messages is not None and case.vars:
            yield Finding(
                ("cases", index, "vars"),
                f"Case '{case.id}' has both 'vars' and 'messages'. Keep one of them.",
            )
        elif case.messages is None and suite.prompt is None:
            yield Finding(
                ("cases", index),
                f"Case '{case.id}' has no 'messages', and the suite has no 'prompt'. Add one.",
            )
        elif case.messages is None and suite.prompt is not None:
            for name in used:
                if name not in case.vars:
                    yield Finding(
                        ("cases", index, "vars"),
                        f"The template uses '{{{{{name}}}}}', but case '{case.id}' gives it no "
                        f"value. Add '{name}' to its 'vars', or correct the template.",
                    )
            size = rendered_size(suite.prompt, case)
            if size > MAX_PROMPT_CHARS:
                yield Finding(
                    ("cases", index),
                    f"The prompt of case '{case.id}' has {size:,} characters; "
                    f"{MAX_PROMPT_CHARS:,} are allowed. Shorten it.",
                )
        yield from asking_problems(case.asking, ("cases", index), suite.asking)
        for key, scorer in scorers:
            try:
                scorer.check_case(case)
            except ScorerError as error:
                for path, message in error.problems:
                    yield Finding(
                        ("cases", index, *path), f"Case '{case.id}', scorer '{key}': {message}"
                    )
